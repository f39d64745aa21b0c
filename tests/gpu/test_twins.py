"""The tests of the CPU's kernels on the twins: a share of them, or with the marker `long` all of them.

In a process of its own, where tests/kernels/twins.py puts the device in the place of the processor's levels.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import opencl
import pytest

from edgert.kernels_gpu.device import DeviceInfo
from edgert.kernels_gpu.table import twins

KERNELS = Path(__file__).parents[1] / "kernels"
SHARE = 150
"""One test of so many runs in the short form."""


def run(device: DeviceInfo, share: int, log: Path | None = None) -> set[str]:
    """The twins that ran; they were right. log: of Oclgrind, which then is the device."""
    environment = dict(os.environ) if log is None else opencl.oclgrind(log)
    spec = device.spec if log is None else "opencl:0"
    environment |= {"EDGERT_TEST_DEVICE": spec, "EDGERT_TEST_SHARE": str(share)}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(KERNELS)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    (names,) = re.findall(r"^twins: (.*)$", done.stdout, re.M)
    return set(names.split())


def test_a_share_of_the_tests(device: DeviceInfo) -> None:
    assert run(device, SHARE)


@pytest.mark.long
def test_all_tests_and_every_twin(device: DeviceInfo) -> None:
    assert set(twins()) - run(device, 1) == set(), "twins that no test runs"


@pytest.mark.long
def test_a_share_of_the_tests_under_oclgrind(device: DeviceInfo, tmp_path: Path) -> None:
    log = tmp_path / "log"
    assert run(device, SHARE, log)
    assert not log.read_text("utf-8"), log.read_text("utf-8")[:4000]
