"""What pyproject.toml can not say: the packages, and what a wheel for one kind of machine carries besides the sources.

`make wheels` leaves compiled kernels and ready models in build/device; from them `pip wheel .` takes what fits the
machine that EDGERT_WHEEL names. Without them the wheel is one of sources, and kernels are compiled on the machine.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from setuptools import Distribution, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
FOLDERS = {
    "edgert": "edgert",
    "edgert.kernels_cpu": "kernels_cpu",
    "edgert.kernels_gpu": "kernels_gpu",
    "edgert.converters": "converters",
    "edgert.apps": "apps",
}

DEVICE = ROOT / "build" / "device"
"""lib/ holds libraries and their manifest, as `edgert compile` writes them; models/ what `edgert quickstart` keeps."""

# The libraries call no libc, so the oldest manylinux is an honest tag; numpy asks for a newer one anyway.
PLATFORMS = {
    "x86_64": "manylinux_2_17_x86_64.manylinux2014_x86_64",
    "aarch64": "manylinux_2_17_aarch64.manylinux2014_aarch64",
    "armv7l": "manylinux_2_17_armv7l.manylinux2014_armv7l",
    "android": "android_21_arm64_v8a",
}
"""Value of EDGERT_WHEEL -> platform tag of the wheel. 'any' is the wheel of sources."""
ARCHITECTURE = {"x86_64": "x86_64", "aarch64": "aarch64", "armv7l": "armv7", "android": "aarch64"}
"""Value of EDGERT_WHEEL -> `arch` of its libraries in the manifest."""
READY = ("fashion_mnist-int8.edge", "fashion_mnist-sparse-int8.edge")
"""Models that run as they are, see edgert/models."""
LEFT_OUT = ("x86-64-amx",)
"""Levels without a library in wheels: those servers use the next one, or the compiler of edgert[jit]. It would be
0.45 MB more in every wheel for x86-64, which is to stay under 3."""
CONVERTED = (".onnx", ".npz")
"""Of edgert/models: what the ready models were converted from and calibrated with. A device has no converter."""


def packages_under(name: str, folder: Path) -> list[str]:
    """Dotted names of the package in `folder` and below. Symlinks repeat another folder: skipped."""
    found = [name]
    for child in sorted(folder.iterdir()):
        if child.is_dir() and not child.is_symlink() and (child / "__init__.py").is_file():
            found += packages_under(f"{name}.{child.name}", child)
    return found


def manifest() -> dict[str, Any]:
    """What build/device/lib holds; no libraries where nothing was compiled."""
    path = DEVICE / "lib" / "manifest.json"
    found: dict[str, Any] = json.loads(path.read_text("utf-8")) if path.is_file() else {"libraries": []}
    return found


def libraries(kind: str) -> list[dict[str, Any]]:
    """Rows of the manifest for one kind of wheel."""
    rows: list[dict[str, Any]] = manifest()["libraries"]
    return [row for row in rows if row["arch"] == ARCHITECTURE.get(kind) and row["level"] not in LEFT_OUT]


def wheel_kind() -> str:
    """EDGERT_WHEEL; without it this machine's own, if libraries for it were compiled."""
    kind = os.environ.get("EDGERT_WHEEL", "")
    if not kind:
        machine = platform.machine() if sys.platform == "linux" else ""
        return machine if machine in PLATFORMS and libraries(machine) else "any"
    if kind not in (*PLATFORMS, "any"):
        raise SystemExit(f"EDGERT_WHEEL={kind!r}: expected one of {', '.join(PLATFORMS)}, or any")
    if kind != "any" and not libraries(kind):
        raise SystemExit(
            f"EDGERT_WHEEL={kind}: build/device/lib holds no libraries for it; make them with: make wheels"
        )
    return kind


KIND = wheel_kind()


class DeviceFiles(build_py):
    """Adds the libraries, their part of the manifest and the ready models, in place of what models are made from."""

    def run(self) -> None:
        super().run()
        if KIND != "any" and not self.editable_mode:
            self.add_libraries(Path(self.build_lib, "edgert", "kernels_cpu", "lib"))
            self.add_models(Path(self.build_lib, "edgert", "models"))

    def add_libraries(self, folder: Path) -> None:
        compiled = (DEVICE / "lib" / "manifest.json").stat().st_mtime
        edited = [path for path in (ROOT / "kernels_cpu").rglob("*.py") if path.stat().st_mtime > compiled]
        if edited:
            raise SystemExit(
                f"{edited[0].relative_to(ROOT)} is newer than the libraries in build/device/lib; compile them again "
                "with: make wheels, or leave them out with: EDGERT_WHEEL=any"
            )
        folder.mkdir()
        rows = libraries(KIND)
        for row in rows:
            shutil.copyfile(DEVICE / "lib" / row["file"], folder / row["file"])
        text = json.dumps({**manifest(), "libraries": rows}, indent=1)
        (folder / "manifest.json").write_text(text + "\n", "utf-8")

    def add_models(self, folder: Path) -> None:
        for path in folder.iterdir():
            if path.suffix in CONVERTED:
                path.unlink()
        for name in READY:
            if not (DEVICE / "models" / name).is_file():
                raise SystemExit(f"build/device/models holds no {name}; make it with: make wheels")
            shutil.copyfile(DEVICE / "models" / name, folder / name)


class DeviceDistribution(Distribution):
    """To setuptools, what is compiled is an extension module: it decides which folder a wheel installs into."""

    def has_ext_modules(self) -> bool:
        return KIND != "any"


class PlatformWheel(bdist_wheel):
    """Named py3-none-PLATFORM: any Python 3, no extension module, one kind of processor."""

    def get_tag(self) -> tuple[str, str, str]:
        return ("py3", "none", PLATFORMS.get(KIND, "any"))


# A build folder of its own: setuptools would take along what another build, of another kind, has left in its.
with TemporaryDirectory(prefix="edgert-build-") as folder:
    setup(
        packages=[p for name, path in FOLDERS.items() for p in packages_under(name, ROOT / path)],
        distclass=DeviceDistribution,
        cmdclass={"build_py": DeviceFiles, "bdist_wheel": PlatformWheel},
        options={"build": {"build_base": folder}},
    )
