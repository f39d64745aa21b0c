"""What one pip command downloads and installs on 64-bit ARM: edgert beside other runtimes, each with all it requires.

    make wheels && python -m bench.install_size

pip resolves for the board from any machine; sizes are of the wheels and of the files in them. No time is measured.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

from bench.measure import save

PYTHON = "3.11"
PLATFORMS = [f"manylinux_2_{minor}_aarch64" for minor in range(36, 16, -1)] + ["manylinux2014_aarch64"]
"""Of Debian 12 and Raspberry Pi OS, with glibc 2.36, the newest first."""
DIST = Path("dist")
OUT = Path("bench/results/install-size-aarch64.json")
PEERS = {
    "ncnn": "ncnn",
    "LiteRT": "ai-edge-litert",
    "ONNX Runtime": "onnxruntime",
}
"""Name in the table -> requirement. edgert comes first, from DIST."""


def main() -> None:
    """Resolves, downloads and prints one runtime after the other; raw numbers go to OUT."""
    wheels = sorted(DIST.glob("edgert-*aarch64.whl"))
    if len(wheels) != 1:
        raise SystemExit(f"{DIST}/ holds {len(wheels)} wheels of edgert for aarch64, expected one; run: make wheels")
    ours = wheels[0]
    requirements = {"edgert": str(ours), **PEERS, "edgert, compiling its kernels": f"{ours}[jit]"}
    record: dict[str, Any] = {
        "target": f"aarch64, glibc 2.36, CPython {PYTHON}",
        "command": "python -m bench.install_size",
        "results": {},
    }
    for name, requirement in requirements.items():
        record["results"][name] = {"requirement": Path(requirement).name, **sizes(requirement)}
        save(OUT, record)
    record["edgert wheels"] = {path.name: size_of(path) for path in sorted(DIST.glob("edgert-*.whl"))}
    save(OUT, record)
    print(table(record["results"]))


def sizes(requirement: str) -> dict[str, Any]:
    """Bytes of the wheel itself and of all wheels together, packed and unpacked, and each wheel by name."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--only-binary=:all:", "--dest", folder]
        target = ["--python-version", PYTHON, "--implementation", "cp"]
        platforms = [word for platform in PLATFORMS for word in ("--platform", platform)]
        subprocess.run([*command, *target, *platforms, requirement], check=True)
        found = {path.name: size_of(path) for path in sorted(Path(folder).glob("*.whl"))}
    name = Path(requirement).name.split("[")[0].split("-")[0] if ".whl" in requirement else requirement
    (own,) = (size for wheel, size in found.items() if wheel.lower().replace("_", "-").startswith(f"{name}-"))
    return {
        "wheel": own["packed"],
        "download": sum(size["packed"] for size in found.values()),
        "installed": sum(size["unpacked"] for size in found.values()),
        "wheels": found,
    }


def size_of(wheel: Path) -> dict[str, int]:
    """Bytes of the file, and of the files in it."""
    with zipfile.ZipFile(wheel) as archive:
        return {"packed": wheel.stat().st_size, "unpacked": sum(info.file_size for info in archive.infolist())}


def table(results: dict[str, dict[str, Any]]) -> str:
    """Sizes as text, in MB of a million bytes."""
    lines = [f"{'':30}{'wheel':>9}{'download':>10}{'installed':>11}{'packages':>10}"]
    for name, row in results.items():
        cells = (f"{row[key] / 1e6:{width}.1f}" for key, width in (("wheel", 9), ("download", 10), ("installed", 11)))
        lines.append(f"{name:30}{''.join(cells)}{len(row['wheels']):10}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
