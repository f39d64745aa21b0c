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
SMALL = 32 << 10
"""Bytes of all operands of a record that Oclgrind interprets in a second or two."""


def run(environment: dict[str, str], **settings: object) -> set[str]:
    """The twins that ran; they were right. settings: of tests/kernels/twins.py."""
    environment |= {f"EDGERT_TEST_{key.upper()}": str(value) for key, value in settings.items()}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(KERNELS)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    print(done.stdout[-200:])
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    (names,) = re.findall(r"^twins: (.*)$", done.stdout, re.M)
    return set(names.split())


def test_a_share_of_the_tests(device: DeviceInfo) -> None:
    assert run(dict(os.environ), device=device.spec, share=SHARE)


@pytest.mark.long
def test_all_tests_and_every_twin(device: DeviceInfo) -> None:
    missing = set(twins()) - run(dict(os.environ), device=device.spec)
    assert missing == set(), "twins that no test runs"


@pytest.mark.long
@pytest.mark.skipif(os.environ.get(opencl.DRIVER) == opencl.INTEL, reason="Oclgrind is the same beside every driver")
def test_every_twin_under_oclgrind(tmp_path: Path) -> None:
    """Hundreds of small records: no races, nothing beyond a buffer."""
    log = tmp_path / "log"
    missing = set(twins()) - run(opencl.oclgrind(log), device="opencl:0", small=SMALL)
    assert missing == set(), "twins that no small test runs"
    assert not log.read_text("utf-8"), log.read_text("utf-8")[:4000]
