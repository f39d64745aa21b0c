"""Rounding of float matrices to groups of 32 with a scale: q8g, q4 and q4m, by round-to-nearest with a search.
It looks at weights alone; quantization that looks at activations is in `compress/`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np

from edgert.converters.llm.checkpoint import ExactBlocks
from edgert.errors import ConversionError
from edgert.graph.ir import Array

GROUP = 32
ROWS = 1024
"""Rows rounded at a time: bounds the memory of the search."""

Q4_FACTORS = np.linspace(0.8, 1.12, 9)
"""Scales tried for q4, relative to the one with which the largest value is exactly -8 steps."""

GroupEncoding = Literal["q4", "q4m", "q8g"]
Rounded = tuple[Array, Array, Array | None]


def round_to_groups(weights: Array, encoding: GroupEncoding) -> ExactBlocks:
    """Float `weights` [N, K] in `encoding`; the last group of a row may be short.

    Raises ConversionError when a scale is beyond the range of float16.
    """
    rows, columns = weights.shape
    groups = -(-columns // GROUP)
    values = np.empty((rows, columns), np.int8 if encoding == "q8g" else np.uint8)
    scale = np.empty((rows, groups), np.float16)
    minimum = np.empty((rows, groups), np.float16) if encoding == "q4m" else None
    for start in range(0, rows, ROWS):
        part = slice(start, start + ROWS)
        block = np.asarray(weights[part], np.float32)
        # The last value fills up a short group: it widens no range.
        filled = np.pad(block, ((0, 0), (0, groups * GROUP - columns)), mode="edge") if columns else block
        with np.errstate(over="ignore", invalid="ignore"):
            v, s, m = ROUND[encoding](filled.reshape(len(block), groups, GROUP))
        values[part], scale[part] = v.reshape(len(block), -1)[:, :columns], s
        if minimum is not None and m is not None:
            minimum[part] = m
    if not np.isfinite(scale).all() or (minimum is not None and not np.isfinite(minimum).all()):
        raise ConversionError(
            f"expected weights below {65504 * 7} for {encoding}, found {np.abs(weights).max():g}; keep them as f32"
        )
    return ExactBlocks(encoding, values, scale, minimum)


def round_q8g(x: Array) -> Rounded:
    """x [N, G, 32]: scale = max|x| / 127."""
    scale = (np.abs(x).max(axis=2) / 127).astype(np.float16)
    return np.clip(steps(x, scale), -127, 127).astype(np.int8), scale, None


def round_q4(x: Array) -> Rounded:
    """x [N, G, 32]: the scale of `Q4_FACTORS` with the least squared error. -8 is where the largest value is."""
    at = np.abs(x).argmax(axis=2, keepdims=True)
    extreme = np.take_along_axis(x, at, axis=2)[..., 0] / -8
    best: tuple[Array, Array, Array] | None = None
    for factor in Q4_FACTORS:
        scale = (extreme * np.float32(factor)).astype(np.float16)
        values = np.clip(steps(x, scale), -8, 7)
        error = squared(x - values * scale.astype(np.float32)[..., None])
        best = better(best, (values + 8, scale, error))
    assert best is not None
    return best[0].astype(np.uint8), best[1], None


def round_q4m(x: Array) -> Rounded:
    """x [N, G, 32]: from the smallest to the largest value in 15 steps, or in fewer where these fit better.

    Values that lie on a grid of up to 16 levels, as those of Q4_K, are found again, though the file's groups
    need not use the outer levels.
    """
    low, high = x.min(axis=2), x.max(axis=2)
    minimum = low.astype(np.float16)
    best: tuple[Array, Array, Array] | None = None
    for count in range(15, 7, -1):
        scale = ((high - low) / count).astype(np.float16)
        values = np.clip(steps(x - minimum.astype(np.float32)[..., None], scale), 0, 15)
        fitted = values * scale.astype(np.float32)[..., None] + minimum.astype(np.float32)[..., None]
        best = better(best, (values, scale, squared(x - fitted)))
    assert best is not None
    return best[0].astype(np.uint8), best[1], minimum


ROUND: dict[GroupEncoding, Callable[[Array], Rounded]] = {"q8g": round_q8g, "q4": round_q4, "q4m": round_q4m}


def steps(x: Array, scale: Array) -> Array:
    """x / scale rounded to even; 0 where the scale is 0."""
    wide = scale.astype(np.float32)[..., None]
    return np.asarray(np.rint(np.divide(x, wide, out=np.zeros_like(x), where=wide != 0)))


def squared(error: Array) -> Array:
    """The sum of squares of each group."""
    return np.asarray(np.einsum("ngk,ngk->ng", error, error))


def better(best: tuple[Array, Array, Array] | None, other: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
    """Of each group (values, scale, error), the one with the smaller error."""
    if best is None:
        return other
    wins = other[2] < best[2]
    return (
        np.where(wins[..., None], other[0], best[0]),
        np.where(wins, other[1], best[1]),
        np.where(wins, other[2], best[2]),
    )
