"""Times of commands by a device's clock, of several in turn, so that what else runs disturbs all of them alike.

What is compared, and what is done with the times, is tune.py and probes.py.
"""

from __future__ import annotations

from collections.abc import Sequence as Listed
from dataclasses import dataclass
from math import inf

from edgert.errors import DeviceError
from edgert.kernels_gpu.sequence import Sequence

ROUNDS = 4
"""Each runs at least so many times; the first one warms up, the best of the others counts."""
MORE_ROUNDS = 16
"""Short ones run up to so many times: what disturbs them is over soon."""
SHORT = 10_000.0
"""Microseconds that all of them may take for that, together."""


@dataclass(frozen=True)
class Times:
    """Microseconds of each, infinite for those that the device refused; the first refusal."""

    us: list[float]
    fault: DeviceError | None


def best_times(sequences: Listed[Sequence]) -> Times:
    """The best time of each, run after run of the first, the second ..., the first again."""
    best, fault = [inf] * len(sequences), None
    refused: set[int] = set()
    spent, rounds = 0.0, 0
    while rounds < ROUNDS or (rounds < MORE_ROUNDS and spent < SHORT):
        for index, sequence in enumerate(sequences):
            if index in refused:
                continue
            try:
                us = sum(sequence.profile())
            except DeviceError as error:
                refused.add(index)
                best[index], fault = inf, fault or error
                continue
            spent += us
            if rounds:
                best[index] = min(best[index], us)
        rounds += 1
    return Times(best, fault)
