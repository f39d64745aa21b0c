"""The kernel tests themselves run on emulated ARM processors, on the installed wheel and its libraries."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest
from harness import CACHE
from release import link

from edgert.kernels_cpu.aot_build import build_all
from edgert.kernels_cpu.levels import LEVELS

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


def passed(done: CompletedProcess[str]) -> int:
    """How many tests a run of pytest passed."""
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-1000:]
    (count,) = re.findall(r"(\d+) passed", done.stdout)
    return int(count)


CPUS = [("aarch64", cpu) for cpu in ("cortex-a53", "cortex-a72", "cortex-a76")] + [("armv7l", "cortex-a7")]


@pytest.mark.parametrize(("arch", "cpu"), CPUS)
def test_kernels(arch: str, cpu: str, device: Callable[[str], Any], testing: Path, repo_root: Path) -> None:
    emulator = device(arch)
    libraries = emulator.site / "edgert" / "kernels_cpu" / "lib"
    done = emulator.python(
        cpu, "-m", "pytest", "-q", "-p", "no:cacheprovider", repo_root / "tests" / "kernels",
        packages=[testing], timeout=MINUTES * 60, EDGERT_TEST_KERNELS=libraries, EDGERT_KERNEL_FOLDER=libraries,
    )  # fmt: skip
    assert passed(done) >= LEAST


PAIRS = "conv2d_q8_k4p gemm_q4_n16k64 gemm_q4m_n16k64 gemm_q8g_n16k64"
BESIDE = "depthwise_q8_k4p planes_x4 quantize_f32_g32 matvec_q4_n16k64 matvec_q4m_n16k64 matvec_q8g_n16k64"
TESTS = "test_int8 or test_sums or test_groups or test_the_largest or (bits_of_a_row and not f16)"


def test_kernels_with_matrix_products(arm64: Any, testing: Path, repo_root: Path, tmp_path: Path) -> None:
    """Those with a form of their own at the Armv8.6 level, which the emulator of the kernel tests does not know, and
    what their tests call beside them."""
    build_all([LEVELS["armv8.6-i8mm"]], tmp_path, cache=CACHE, names=f"{PAIRS} {BESIDE}".split())
    done = arm64.python(
        "max", "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", TESTS,
        *(repo_root / "tests" / "kernels" / name for name in ("test_conv.py", "test_grouped_gemm.py")),
        packages=[testing], EDGERT_TEST_KERNELS=tmp_path, EDGERT_KERNEL_FOLDER=tmp_path,
    )  # fmt: skip
    assert passed(done) >= 100
