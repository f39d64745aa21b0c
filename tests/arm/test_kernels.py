"""The kernel tests themselves run on emulated ARM processors, on the installed wheel and its libraries."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from release import link

pytestmark = pytest.mark.long

PYTEST = ("pytest", "pluggy", "iniconfig", "packaging", "pygments")
"""What runs tests: pure Python, so this machine's own copies serve there."""
MINUTES = 60
LEAST = 1500
"""Tests that must have run: a run that skips them all is no success. The rest is for x86-64."""


@pytest.fixture(scope="module")
def testing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with pytest."""
    folder = tmp_path_factory.mktemp("testing")
    for name in PYTEST:
        link(name, folder)
    return folder


CPUS = [("aarch64", cpu) for cpu in ("cortex-a53", "cortex-a72", "cortex-a76")] + [("armv7l", "cortex-a7")]


@pytest.mark.parametrize(("arch", "cpu"), CPUS)
def test_kernels(arch: str, cpu: str, device: Callable[[str], Any], testing: Path, repo_root: Path) -> None:
    emulator = device(arch)
    libraries = emulator.site / "edgert" / "kernels_cpu" / "lib"
    done = emulator.python(
        cpu, "-m", "pytest", "-q", "-p", "no:cacheprovider", repo_root / "tests" / "kernels",
        packages=[testing], timeout=MINUTES * 60, EDGERT_TEST_KERNELS=libraries, EDGERT_KERNEL_FOLDER=libraries,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-1000:]
    (passed,) = re.findall(r"(\d+) passed", done.stdout)
    assert int(passed) >= LEAST
