"""Times of several in turn: the best of each, and what the device refused apart."""

from __future__ import annotations

from collections.abc import Iterator
from math import inf
from typing import Any

from edgert.errors import DeviceError
from edgert.kernels_gpu.measure import MORE_ROUNDS, ROUNDS, best_times

SEEN: list[str] = []


class Stand:
    """Stands in for a sequence: its times, one after the other, then the last one."""

    def __init__(self, name: str, *us: float | Exception) -> None:
        self.name, self.left = name, list(us)

    def profile(self) -> list[float]:
        SEEN.append(self.name)
        us = self.left.pop(0) if len(self.left) > 1 else self.left[0]
        if isinstance(us, Exception):
            raise us
        return [us]


def measured(*stands: Any) -> tuple[list[float], DeviceError | None]:
    SEEN.clear()
    times = best_times(stands)
    return times.us, times.fault


def test_they_take_turns() -> None:
    us, fault = measured(Stand("a", 100.0, 70.0, 50.0, 60.0), Stand("b", 1.0, 80.0))
    assert (us, fault) == ([50.0, 80.0], None), "the first run is not counted"
    assert SEEN[:6] == ["a", "b"] * 3


def test_short_ones_run_more_often() -> None:
    measured(Stand("a", 5.0))
    assert len(SEEN) == MORE_ROUNDS
    measured(Stand("a", 1e6), Stand("b", 5.0))
    assert len(SEEN) == 2 * ROUNDS


def test_a_disturbance_of_some_rounds_decides_nothing() -> None:
    disturbed: Iterator[float] = iter([900.0] * 3)
    us, _ = measured(Stand("a", 50.0), Stand("b", *disturbed, 40.0))
    assert us == [50.0, 40.0]


def test_what_is_refused() -> None:
    us, fault = measured(Stand("a", DeviceError("first")), Stand("b", 7.0), Stand("c", 3.0, DeviceError("later")))
    assert us == [inf, 7.0, inf]
    assert str(fault) == "first"
    assert SEEN.count("a") == 1
