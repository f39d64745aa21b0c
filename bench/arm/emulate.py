"""A Python of 64-bit ARM Linux under an emulator that counts instructions, all of it pulled; see insn.c.

`run(...)` gives what a script printed, and how often each block of guest code was executed.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgert.assets.fetch import pull

TIMEOUT_S = 1800
_V82 = "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp"
CPUINFO = {
    "cortex-a72": ("0xd08", "fp asimd evtstrm aes pmull sha1 sha2 crc32"),
    "cortex-a76": ("0xd0b", _V82),
    "max": ("0xd0b", f"{_V82} i8mm"),
}
"""Part number and features in /proc/cpuinfo: other runtimes read them, and crash on those of another architecture."""


@dataclass(frozen=True)
class Counts:
    """What one process executed: all instructions, and of every block of guest code (address, instructions) how often
    it ran. text: what it printed."""

    instructions: int
    blocks: Mapping[tuple[int, int], int]
    text: str


def plugin() -> Path:
    """The compiled insn.c. Raises CalledProcessError where there is no C compiler."""
    source = Path(__file__).with_name("insn.c")
    built = Path(tempfile.gettempdir()) / f"edgert-insn-{source.stat().st_mtime_ns}.so"
    if not built.exists():
        subprocess.run(["cc", "-O2", "-shared", "-fPIC", "-o", str(built), str(source)], check=True)
    return built


def site(folder: Path, *assets: str) -> Path:
    """A folder with the wheels of these assets unpacked."""
    target = folder / "-".join(assets)
    if not target.exists():
        for asset in assets:
            for wheel in sorted(pull(asset).glob("*.whl")):
                zipfile.ZipFile(wheel).extractall(target)
    return target


def run(
    cpu: str,
    arguments: Sequence[str | Path],
    packages: Sequence[Path],
    *,
    cpuinfo: bool = False,
    **environment: str | Path,
) -> Counts:
    """Runs `python *arguments` on processor `cpu`. cpuinfo: with that processor's /proc/cpuinfo, which takes root.
    The cache of edgert is empty and thrown away: nothing measured in an emulator may reach a plan."""
    programs, root = pull("qemu-plugins"), pull("arm64-python")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        out, info = folder / "blocks", folder / "cpuinfo"
        own = {
            "PYTHONPATH": os.pathsep.join(map(str, packages)), "PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1",
            "OPENBLAS_NUM_THREADS": "1", "EDGERT_CACHE": folder / "cache", "LD_LIBRARY_PATH": "", **environment,
        }  # fmt: skip
        given = [word for name, value in own.items() for word in ("-E", f"{name}={value}")]
        command = [
            str(programs / "usr/bin/qemu-aarch64"), "-cpu", cpu, "-plugin", f"{plugin()},out={out}", "-L", str(root),
            *given, str(root / "usr/bin/python3.11"), *map(str, arguments),
        ]  # fmt: skip
        if cpuinfo:
            part, features = CPUINFO[cpu]
            processor = f"BogoMIPS\t: 108.00\nFeatures\t: {features}\nCPU implementer\t: 0x41\nCPU architecture: 8\n"
            processor += f"CPU variant\t: 0x4\nCPU part\t: {part}\nCPU revision\t: 1\n\n"
            info.write_text("".join(f"processor\t: {i}\n{processor}" for i in range(2)))
            script = f'mount --bind "{info}" /proc/cpuinfo && exec "$@"'
            command = ["unshare", "-m", "bash", "-c", script, "bash", *command]
        libraries = {"LD_LIBRARY_PATH": str(programs / "usr/lib/x86_64-linux-gnu")}
        done = subprocess.run(
            command, env={**os.environ, **libraries}, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
        )
        if done.returncode != 0:
            raise RuntimeError(
                f"{arguments[0]} on {cpu} ended with {done.returncode}: {(done.stdout + done.stderr)[-2000:]}"
            )
        return Counts(*read_blocks(out.read_text()), done.stdout)


def read_blocks(text: str) -> tuple[int, dict[tuple[int, int], int]]:
    """What insn.c wrote: all instructions, executions by (address, instructions of the block)."""
    first, *lines = text.splitlines()
    blocks: dict[tuple[int, int], int] = {}
    for line in lines:
        address, count, executions = line.split()
        key = int(address, 16), int(count)
        blocks[key] = blocks.get(key, 0) + int(executions)
    return int(first.split()[1]), blocks
