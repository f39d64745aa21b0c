"""From a histogram of a tensor to the range of real values its 8 bits will span.
Nagel et al. 2021, A White Paper on Neural Network Quantization, section 3.1: min-max, percentile, MSE."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from edgert.converters.calibrate.histogram import BINS, Histogram
from edgert.errors import ConversionError
from edgert.graph.ir import Quantization

LEVELS = 255
"""Steps of a uint8 tensor."""

PERCENTILE = 99.99
SMALLEST_RANGE = 1e-6
"""A tensor that is always zero still gets a positive scale."""


class Range(NamedTuple):
    """low <= 0 <= high: zero is always exact, as padding needs it."""

    low: float
    high: float

    def quantization(self) -> Quantization:
        """scale and zero point of a uint8 tensor over this range."""
        scale = np.asarray(max(self.high - self.low, SMALLEST_RANGE) / LEVELS, np.float32)
        zero = int(np.clip(np.rint(-self.low / float(scale)), 0, LEVELS))
        return Quantization(scale, np.asarray(zero, np.int32))


Observer: TypeAlias = Callable[[Histogram], Range]


def minmax(histogram: Histogram) -> Range:
    """Everything seen."""
    return Range(histogram.low, histogram.high)


def percentile(histogram: Histogram, percent: float = PERCENTILE) -> Range:
    """All but the outermost values: (100 - percent) % are clipped on each side."""
    tail = 1.0 - percent / 100.0
    return Range(min(histogram.quantile(tail), 0.0), max(histogram.quantile(1.0 - tail), 0.0))


def mse(histogram: Histogram) -> Range:
    """The range of least mean squared error of rounding and clipping together.

    Both ends shrink by one factor first, then each is refined with the other held.
    """
    if histogram.reach == 0.0:
        return Range(0.0, 0.0)
    used = np.flatnonzero(histogram.counts)
    centres, counts = histogram.centres()[used], histogram.counts[used]
    best = minmax(histogram)
    factors = np.linspace(0.2, 1.0, 81)
    for low_moves, high_moves in ((True, True), (True, False), (False, True)):
        full = minmax(histogram)
        candidates = [
            Range(full.low * f if low_moves else best.low, full.high * f if high_moves else best.high) for f in factors
        ]
        errors = [squared_error(candidate, centres, counts) for candidate in candidates]
        best = min(zip(errors, candidates, strict=True), key=lambda pair: (pair[0], -pair[1].high))[1]
    return best


def squared_error(r: Range, centres: npt.NDArray[np.float64], counts: npt.NDArray[np.float64]) -> float:
    """Sum over the histogram of (x - dequantized(quantized(x)))^2."""
    q = r.quantization()
    scale, zero = float(q.scale), float(q.zero_point)
    stored = np.clip(np.rint(centres / scale) + zero, 0, LEVELS)
    return float(np.sum(counts * (centres - (stored - zero) * scale) ** 2))


OBSERVERS: dict[str, Observer] = {"minmax": minmax, "percentile": percentile, "mse": mse}


def observer_named(name: str) -> Observer:
    """Raises ConversionError for a name that is none of OBSERVERS."""
    if name not in OBSERVERS:
        raise ConversionError(f"expected an observer among {', '.join(OBSERVERS)}, found {name!r}")
    return OBSERVERS[name]


assert BINS // 4 >= 8 * LEVELS
