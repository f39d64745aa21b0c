"""Progress of programs for OpenCL devices: silent while it is quick, then a line that says how far it is."""

from __future__ import annotations

import pytest

from edgert.cli import common
from edgert.cli.common import building


def said(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, seconds: float, *, watched: bool = False
) -> str:
    """What is said of 60 ops that take `seconds` in all."""
    now = [100.0]
    monkeypatch.setattr(common.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(common, "interactive", lambda: watched)
    capsys.readouterr()
    progress = building()
    for done in range(61):
        progress(done, 60)
        now[0] += seconds / 60
    found = capsys.readouterr()
    assert found.out == ""
    return found.err


def test_quick_ones_are_silent(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert said(capsys, monkeypatch, 0.9) == ""


def test_slow_ones_say_how_far_they_are(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert said(capsys, monkeypatch, 24.0).splitlines() == [
        "building OpenCL programs: 3/60 ops ...",
        "building OpenCL programs: 28/60 ops ...",
        "building OpenCL programs: 53/60 ops ...",
        "built OpenCL programs of 60 ops in 24 s",
    ]


def test_a_terminal_has_one_line(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    lines = said(capsys, monkeypatch, 6.0, watched=True)
    assert lines.count("\n") == 1 and lines.count("ops ...\r") > 10
    assert lines.endswith("ops ...\rbuilt OpenCL programs of 60 ops in 6 s\n")
