"""The probe: plausible, short, kept; and the self-test of an installation."""

from __future__ import annotations

from dataclasses import astuple
from pathlib import Path

import pytest

from edgert.cache import cache_root
from edgert.kernels_cpu.levels import active_level
from edgert.kernels_cpu.library import open_library
from edgert.plan.cost import load_peaks, peaks_path
from edgert.runtime import selftest
from edgert.runtime.calibrate import calibrate, ensure_peaks


def test_peaks_are_plausible() -> None:
    level = active_level()
    peaks = calibrate(level, open_library(level, cache_root()))
    assert peaks.source == "measured"
    for value in astuple(peaks)[:3]:
        assert 1e8 < value < 1e14


def test_peaks_are_measured_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    level = active_level()
    library = open_library(level, cache_root())
    monkeypatch.setattr("edgert.plan.cost.cache_root", lambda: tmp_path)
    first = ensure_peaks(level, library)
    assert peaks_path(level).is_relative_to(tmp_path)
    assert ensure_peaks(level, library) == first == load_peaks(level)


def test_an_unwritable_cache_does_not_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    level = active_level()
    library = open_library(level, cache_root())
    (tmp_path / "file").write_text("")
    monkeypatch.setattr("edgert.plan.cost.cache_root", lambda: tmp_path / "file")
    assert ensure_peaks(level, library).source == "measured"


def test_the_self_test_passes() -> None:
    assert selftest.self_test() == []


def test_the_self_test_can_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    real = selftest.run_graph
    monkeypatch.setattr(selftest, "run_graph", lambda g, f: {k: v + v.dtype.type(1) for k, v in real(g, f).items()})
    faults = selftest.self_test()
    assert len(faults) == 4
    assert "differs by" in faults[0]
