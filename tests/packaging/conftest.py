"""Wheels and source archives as a release has them, and a fresh environment with NumPy and click alone.

They are built from a copy of the checkout, so that no build folder is left; libraries are those of the kernel tests.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "kernels"))

from checkout import copy_sources, fill_device
from release import ARM, HOST, Build, link, pip_wheel, run


@pytest.fixture(scope="session")
def source(tmp_path_factory: pytest.TempPathFactory, repo_root: Path) -> Path:
    """A copy of what the packages are made from."""
    return copy_sources(repo_root, tmp_path_factory.mktemp("source"))


@pytest.fixture(scope="session")
def device_files(source: Path, default_model: Callable[[str], Path]) -> Path:
    """build/device of the copy, as `make wheels` fills it, but with one level of this machine and two of ARM only."""
    return fill_device(source, dict.fromkeys((HOST, *ARM)), default_model)


@pytest.fixture(scope="session")
def wheel(source: Path, device_files: Path, tmp_path_factory: pytest.TempPathFactory) -> Build:
    """wheel(kind): the wheel that EDGERT_WHEEL=kind gives; each is built once."""
    return cache(lambda kind: pip_wheel(source, tmp_path_factory.mktemp("wheel"), kind))


@pytest.fixture(scope="session")
def fresh(wheel: Build, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of a fresh environment that holds NumPy, click, and the wheel for this machine; pip finds
    nothing else that it needs."""
    folder = tmp_path_factory.mktemp("fresh")
    run([sys.executable, "-m", "venv", "--without-pip", folder])
    python = folder / "bin" / "python"
    (site,) = folder.glob("lib/python*/site-packages")
    for name in ("numpy", "click"):
        link(name, site)
    pip = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-index"]
    run([*pip, wheel("")])
    return python


@pytest.fixture(scope="session")
def testing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that gives the fresh environment pytest and hypothesis, by PYTHONPATH."""
    folder = tmp_path_factory.mktemp("testing")
    for name in ("pytest", "hypothesis", "pluggy", "iniconfig", "packaging", "sortedcontainers", "pygments"):
        link(name, folder)
    return folder
