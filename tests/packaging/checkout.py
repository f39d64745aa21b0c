"""What wheels are built from in tests: a copy of the checkout, so that no build folder is left there, and what
`make wheels` puts into build/device of it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

from harness import CACHE

from edgert.kernels_cpu.aot_build import build_all
from edgert.kernels_cpu.levels import LEVELS

COPIED = ("pyproject.toml", "setup.py", "README.md", "LICENSE")
FOLDERS = ("edgert", "kernels_cpu", "kernels_gpu", "converters", "apps")


def copy_sources(repo_root: Path, folder: Path) -> Path:
    """Copies what the packages are made from into `folder`."""
    for name in COPIED:
        shutil.copy(repo_root / name, folder)
    skip = shutil.ignore_patterns("__pycache__", "lib")
    for name in FOLDERS:
        shutil.copytree(repo_root / name, folder / name, symlinks=True, ignore=skip)
    return folder


def fill_device(source: Path, levels: Iterable[str], default_model: Callable[[str], Path]) -> Path:
    """build/device of a copy: libraries of `levels`, from the objects that kernel tests compile, and the models."""
    device = source / "build" / "device"
    build_all([LEVELS[name] for name in levels], device / "lib", cache=CACHE)
    (device / "models").mkdir()
    for form in ("float", "int8", "sparse int8"):
        shutil.copy(default_model(form), device / "models" / f"fashion_mnist-{form.replace(' ', '-')}.edge")
    return device
