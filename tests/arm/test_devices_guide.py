"""`edgert doctor` says on emulated processors what docs/devices.md shows of boards that have them."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "devices.md"
BLOCKS = dict(re.findall(r"^```console (\S+)\n(.*?)^```$", GUIDE.read_text("utf-8"), re.DOTALL | re.MULTILINE))


@pytest.mark.long
@pytest.mark.parametrize("cpu", BLOCKS)
def test_doctor_says_what_the_guide_shows(cpu: str, device: Callable[[str], Any]) -> None:
    emulator = device("armv7l" if cpu == "cortex-a7" else "aarch64")
    done = emulator.python(cpu, "-m", "edgert.cli.main", "doctor", "--no-test")
    assert done.returncode == 0, done.stderr
    carried = {
        path.name.removeprefix("libedgert_").removesuffix(".so") for path in emulator.site.rglob("libedgert_*.so")
    }
    for line in BLOCKS[cpu].splitlines():
        words = line.split()
        if words[0] == "processor" or (words[0] == "library" and words[1] not in carried):
            continue  # that of this machine; and of a level that the test's wheel leaves out
        assert line in done.stdout.splitlines()


def test_the_guide_has_every_architecture() -> None:
    assert {"cortex-a72", "cortex-a76", "cortex-a7"} <= BLOCKS.keys()
