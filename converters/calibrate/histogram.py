"""A histogram of activations that grows with what it sees: bounded memory for any amount of data.
Which range follows from it is the business of `observers.py`."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from edgert.graph.ir import Array

BINS = 8192
"""Even, for halving. At least 2048 of them lie within the data on each side that has any, so a quantization
step of 1/255 of the range spans 8 or more."""


class Histogram:
    """Counts over [-reach, reach] in BINS equal bins, and the exact minimum and maximum.

    When a value lies beyond the reach, neighbouring bins are merged and the reach doubles: no second
    pass over the data, and the counts do not depend on the order of the batches once it has settled.
    """

    def __init__(self) -> None:
        self.counts: npt.NDArray[np.float64] = np.zeros(BINS)
        self.reach = 0.0
        self.low = 0.0
        self.high = 0.0

    def add(self, values: Array) -> None:
        """Counts the finite values of an array of any shape."""
        flat = np.asarray(values, np.float32).reshape(-1)
        if not np.isfinite(flat).all():
            flat = flat[np.isfinite(flat)]
        if not flat.size:
            return
        low, high = float(flat.min()), float(flat.max())
        self.low, self.high = min(self.low, low), max(self.high, high)
        largest = max(-low, high)
        if self.reach == 0.0:
            if largest == 0.0:
                self.counts[BINS // 2] += flat.size
                return
            self.reach = float(2.0 ** np.ceil(np.log2(largest)))
        while largest > self.reach:
            self._double()
        self.counts += np.histogram(flat, BINS, (-self.reach, self.reach))[0]

    def _double(self) -> None:
        pairs = self.counts.reshape(-1, 2).sum(1)
        self.counts = np.zeros(BINS)
        self.counts[BINS // 4 : BINS - BINS // 4] = pairs
        self.reach *= 2.0

    def centres(self) -> npt.NDArray[np.float64]:
        """The middle of each bin."""
        width = 2.0 * self.reach / BINS
        return np.asarray((np.arange(BINS) + 0.5) * width - self.reach, np.float64)

    def quantile(self, fraction: float) -> float:
        """The value below which `fraction` of the counts lie, between the exact minimum and maximum."""
        total = self.counts.sum()
        if total == 0.0 or self.reach == 0.0:
            return 0.0
        cumulated = np.concatenate([[0.0], np.cumsum(self.counts)]) / total
        edges = np.linspace(-self.reach, self.reach, BINS + 1)
        return float(np.clip(np.interp(fraction, cumulated, edges), self.low, self.high))
