"""What the activation layout g32 holds: rows of int8 in groups of 32, with a scale and a sum per group.
Not an operator: a form that a value takes on its way into a product with grouped weights."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

GROUP = 32
"""Values that share a scale."""
BLOCK = 64
"""Rows are padded to whole blocks with zeros."""
SMALLEST = np.float32(2.0**-100)
"""A group whose magnitudes are all below this is zero: 127 / magnitude must be a float32."""


class G32(NamedTuple):
    """x[..., 32 * g + i] is about scale[..., g] * values[..., 32 * g + i]; sums are those of the values of a group."""

    values: npt.NDArray[np.int8]
    """[..., K64], K64 = K rounded up to 64."""
    scale: npt.NDArray[np.float32]
    """[..., K64 / 32]."""
    sums: npt.NDArray[np.int32]
    """[..., K64 / 32]."""

    @classmethod
    def of(cls, rows: npt.NDArray[np.uint8]) -> G32:
        """What the bytes of rows, [..., 1.25 * K64], hold."""
        padded = rows.shape[-1] * 4 // 5
        values, scale, sums = np.split(rows, [padded, padded * 9 // 8], axis=-1)
        groups = [np.ascontiguousarray(part).view(np.float32) for part in (scale, sums)]
        return cls(values.view(np.int8), groups[0], groups[1].view(np.int32))

    def rows(self) -> npt.NDArray[np.uint8]:
        """The bytes of each row, [..., 1.25 * K64]: values | scale | sums."""
        parts: list[Any] = [np.ascontiguousarray(part).view(np.uint8) for part in self]
        return np.concatenate(parts, axis=-1)

    def dense(self) -> npt.NDArray[np.float32]:
        """The values that were meant, float32 [..., K64]."""
        return np.asarray(self.values * np.repeat(self.scale, GROUP, axis=-1), np.float32)


def quantize_g32x2(x: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    """float32 [..., K] as rows of two terms [..., 2.5 * K64]: the bytes of its g32, and behind them those of the g32
    of what is left over, x - scale * value in float32. Together they are about 16 bits."""
    first = quantize_g32(x)
    with np.errstate(all="ignore"):
        left = x - first.dense()[..., : x.shape[-1]]
    return np.concatenate([first.rows(), quantize_g32(left.astype(np.float32)).rows()], axis=-1)


def quantize_g32(x: npt.NDArray[np.float32]) -> G32:
    """float32 [..., K] in groups of 32 along the last axis, every step in float32:

    scale = largest magnitude / 127, value = round_half_even(x * (127 / largest magnitude)). A group below SMALLEST
    is zero. A group with a NaN or an infinity has that as its scale and zeros as values, so that every product with
    it is NaN.
    """
    padded = np.zeros((*x.shape[:-1], -(-x.shape[-1] // BLOCK) * BLOCK), np.float32)
    padded[..., : x.shape[-1]] = x
    groups = padded.reshape(*x.shape[:-1], padded.shape[-1] // GROUP, GROUP)
    largest = np.max(np.abs(groups), axis=-1)
    with np.errstate(all="ignore"):
        usable = np.isfinite(largest) & (largest >= SMALLEST)
        factor = np.where(usable, np.float32(127) / largest, np.float32(0))
        scaled = np.rint(groups * factor[..., None])
        scale = np.where(largest < SMALLEST, np.float32(0), largest / np.float32(127))
    values = np.where(np.isnan(scaled), np.float32(0), scaled).astype(np.int8)
    return G32(values.reshape(padded.shape), scale, values.sum(axis=-1, dtype=np.int32))
