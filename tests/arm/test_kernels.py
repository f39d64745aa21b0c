"""The kernel tests themselves run on emulated ARM processors, on the installed wheel and its libraries."""

from __future__ import annotations

import re
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


@pytest.mark.parametrize("cpu", ["cortex-a53", "cortex-a72", "cortex-a76", "max"])
def test_kernels(cpu: str, arm64: Any, testing: Path, repo_root: Path) -> None:
    libraries = arm64.site / "edgert" / "kernels_cpu" / "lib"
    done = arm64.python(
        cpu, "-m", "pytest", "-q", "-p", "no:cacheprovider", repo_root / "tests" / "kernels",
        packages=[testing], timeout=MINUTES * 60, EDGERT_TEST_KERNELS=libraries, EDGERT_KERNEL_FOLDER=libraries,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-1000:]
    (passed,) = re.findall(r"(\d+) passed", done.stdout)
    assert int(passed) >= LEAST
