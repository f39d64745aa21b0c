"""The baseline: what a run uses next is read when it is wanted, one buffered read after the other, and nothing stays.

Plan, kernels and memory layout are edgert's. What the page cache keeps of the file is the system's affair.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from edgert.llm import plans, streamed
from edgert.plan import residency
from edgert.stream.source import DirectSource
from edgert.stream.stages import Division
from edgert.stream.store import WeightStore


class NaiveStore(WeightStore):
    """Reads in acquire(), and has no readers at work while others compute."""

    def __init__(self, source: DirectSource, division: Division, *given: Any, **options: Any) -> None:
        super().__init__(source, division, *given, **options)
        self._file = os.open(source.file, os.O_RDONLY)

    def begin(self, stages: Sequence[int]) -> None:
        """See WeightStore."""

    def acquire(self, stage: int) -> None:
        """See WeightStore."""
        for extent in self.division.stages[stage].extents:
            view, done = self._ring.memory.view[extent.at : extent.at + extent.nbytes], 0
            while done < len(view) and (count := os.preadv(self._file, [view[done:]], extent.start + done)):
                done += count

    def release(self, stage: int) -> None:
        """See WeightStore."""


def install() -> None:
    """Makes this process load naively whatever it streams, in the least memory."""
    streamed.WeightStore = NaiveStore  # type: ignore[misc]
    plans.divide = lambda parts, space: residency.divide(parts, min(space, residency.least(parts)))  # type: ignore[assignment]
