"""Round-to-nearest: every weight goes to the nearest step of its group, and only the steps are searched for.
What one rounding error can make good of another is in `gptq.py`; the grids themselves are in `llm/groups.py`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeAlias

import numpy as np

from edgert.converters.llm.checkpoint import ExactBlocks
from edgert.converters.llm.groups import GROUP, ROUND, ROWS, GroupEncoding, steps
from edgert.errors import ConversionError
from edgert.graph.ir import Array

FACTORS = np.linspace(0.56, 1.16, 16)
"""Scales tried, relative to the one that reaches the largest value: below 1 the largest values are clipped."""
REFITS = 2
"""Rounds of: scale by least squares, then the nearest steps again. A third changes next to nothing."""

Grid: TypeAlias = tuple[Array, Array | None]
"""(scale, minimum) of groups, float16 [...]; minimum is None for symmetric encodings."""


def round_to_nearest(
    weights: Array, encoding: GroupEncoding, importance: Array | None = None, search: bool = True
) -> ExactBlocks:
    """`weights` float32 [N, K] in `encoding`, each group of 32 on the grid with the least weighted squared error.

    importance: None for plain squares; float [K], a weight for each column, such as the mean square of its input;
    or float [ceil(K/32), 32, 32], the moments of the inputs of each group, with which the error of a group is what
    it adds to the squared error of the output. search=False takes the grid that just reaches the largest value.
    Scales and minima are rounded to float16 before the steps are chosen.
    Raises ConversionError when a scale is beyond the range of float16 or a weight is not finite.
    """
    rows, columns = weights.shape
    if not np.isfinite(weights).all():
        raise ConversionError("expected finite weights, found NaN or infinity; the source may be damaged")
    groups = -(-columns // GROUP)
    if importance is None and columns % GROUP:
        importance = np.ones(columns)
    metric = importance_of_groups(importance, groups)
    values = np.empty((rows, columns), np.int8 if encoding == "q8g" else np.uint8)
    scale = np.empty((rows, groups), np.float16)
    minimum = np.empty((rows, groups), np.float16) if encoding == "q4m" else None
    for start in range(0, rows, ROWS):
        part = slice(start, start + ROWS)
        x = to_groups(weights[part])
        with np.errstate(over="ignore", invalid="ignore"):
            s, m = best_grid(x, encoding, metric) if search else plain_grid(x, encoding)
            v = nearest(x, s, m, encoding)
        values[part], scale[part] = stored(v, encoding).reshape(len(x), -1)[:, :columns], s
        if minimum is not None and m is not None:
            minimum[part] = m
    return checked(ExactBlocks(encoding, values, scale, minimum), weights)


def checked(blocks: ExactBlocks, weights: Array) -> ExactBlocks:
    """`blocks`. Raises ConversionError if a scale or minimum of them is infinite."""
    parts = [part for part in (blocks.scale, blocks.minimum) if part is not None]
    if not all(np.isfinite(part).all() for part in parts):
        raise ConversionError(
            f"expected weights within the range of float16 scales for {blocks.encoding}, found "
            f"{np.abs(weights).max():g}; keep the matrix with --override NAME=f32"
        )
    return blocks


def to_groups(weights: Array) -> Array:
    """[N, K] -> float32 [N, ceil(K/32), 32]; the last value fills up a short group, as it widens no range."""
    rows, columns = weights.shape
    groups = -(-columns // GROUP)
    filled = np.pad(weights, ((0, 0), (0, groups * GROUP - columns)), mode="edge")
    return np.ascontiguousarray(filled, np.float32).reshape(rows, groups, GROUP)


def importance_of_groups(importance: Array | None, groups: int) -> Array | None:
    """float32 [groups, 32] or [groups, 32, 32]; columns that fill up a short group count nothing."""
    if importance is None or importance.ndim == 3:
        return None if importance is None else np.asarray(importance, np.float32)
    filled = np.pad(importance, (0, groups * GROUP - len(importance)))
    return np.asarray(filled, np.float32).reshape(groups, GROUP)


def moments_of_groups(moments: Array) -> Array:
    """The blocks of 32 on the diagonal of `moments` [K, K]: float32 [ceil(K/32), 32, 32]."""
    groups = -(-len(moments) // GROUP)
    filled = np.pad(moments, (0, groups * GROUP - len(moments)))
    blocks = filled.reshape(groups, GROUP, groups, GROUP)
    at = np.arange(groups)
    return np.asarray(blocks[at, :, at, :], np.float32)


# ---- grids
def plain_grid(x: Array, encoding: GroupEncoding) -> Grid:
    """Of groups x [N, G, 32]: the grid whose ends are the largest value, or the smallest and the largest."""
    if encoding == "q8g":
        return (np.abs(x).max(axis=2) / 127).astype(np.float16), None
    if encoding == "q4":
        return (extreme(x) / -8).astype(np.float16), None
    low, high = x.min(axis=2), x.max(axis=2)
    return ((high - low) / 15).astype(np.float16), low.astype(np.float16)


def extreme(x: Array) -> Array:
    """The value of each group with the largest magnitude, signed: it gets the step -8, of which there is no +8."""
    at = np.abs(x).argmax(axis=2, keepdims=True)
    return np.asarray(np.take_along_axis(x, at, axis=2)[..., 0])


def grids(x: Array, encoding: GroupEncoding) -> Iterator[Grid]:
    """Grids worth trying for groups x [N, G, 32], the plain one and that of `llm/groups.py` among them."""
    yield plain_grid(x, encoding)
    if encoding == "q8g":
        return
    _, scale, minimum = ROUND[encoding](x)
    yield scale, minimum
    if encoding == "q4":
        reach = extreme(x) / -8
        for factor in FACTORS:
            yield (reach * np.float32(factor)).astype(np.float16), None
        return
    low, high = x.min(axis=2), x.max(axis=2)
    for factor in FACTORS[FACTORS < 1]:
        for cut_low, cut_high in ((1.0, factor), (factor, 1.0), (factor, factor)):
            a, b = low * np.float32(cut_low), high * np.float32(cut_high)
            yield ((b - a) / 15).astype(np.float16), a.astype(np.float16)


def best_grid(x: Array, encoding: GroupEncoding, metric: Array | None) -> Grid:
    """The grid of least error for each group of x [N, G, 32], refitted. `metric` as `importance_of_groups` has it."""
    best: tuple[Array, Array | None, Array] | None = None
    for scale, minimum in grids(x, encoding):
        codes = nearest(x, scale, minimum, encoding)
        best = _better(best, (scale, minimum, error_of(x, codes, scale, minimum, metric)))
    assert best is not None
    for _ in range(REFITS if encoding != "q8g" else 0):
        codes = nearest(x, best[0], best[1], encoding)
        scale, minimum = refit(x, codes, encoding, metric, best[:2])
        codes = nearest(x, scale, minimum, encoding)
        best = _better(best, (scale, minimum, error_of(x, codes, scale, minimum, metric)))
    return best[:2]


def refit(x: Array, codes: Array, encoding: GroupEncoding, metric: Array | None, old: Grid) -> Grid:
    """The grid that fits x [N, G, 32] best with steps `codes` given: weighted least squares, `old` if singular."""
    weighted = codes if metric is None else _apply(codes, metric)
    qq, qx = _dot(codes, weighted), _dot(x, weighted)
    if encoding != "q4m":
        scale = np.divide(qx, qq, out=old[0].astype(np.float32), where=qq > 0)
        return scale.astype(np.float16), None
    assert old[1] is not None
    ones = np.ones_like(x[:1, :, :])
    flat = np.broadcast_to(ones if metric is None else _apply(ones, metric), x.shape)
    q1, one, x1 = _dot(codes, flat), _dot(np.broadcast_to(ones, x.shape), flat), _dot(x, flat)
    area = qq * one - q1 * q1
    fits = area > 1e-6 * qq * one
    scale = np.divide(qx * one - x1 * q1, area, out=old[0].astype(np.float32), where=fits)
    minimum = np.divide(x1 * qq - qx * q1, area, out=old[1].astype(np.float32), where=fits)
    return scale.astype(np.float16), minimum.astype(np.float16)


# ---- steps
def nearest(x: Array, scale: Array, minimum: Array | None, encoding: GroupEncoding) -> Array:
    """The nearest steps of x [..., 32], float32: 0..15 with a minimum, else -8..7, or -127..127 for q8g."""
    if minimum is not None:
        return np.asarray(np.clip(steps(x - minimum.astype(np.float32)[..., None], scale), 0, 15))
    low, high = (-127, 127) if encoding == "q8g" else (-8, 7)
    return np.asarray(np.clip(steps(x, scale), low, high))


def values_of(codes: Array, scale: Array, minimum: Array | None) -> Array:
    """What steps stand for, float32 [..., 32]."""
    values = codes * scale.astype(np.float32)[..., None]
    return np.asarray(values if minimum is None else values + minimum.astype(np.float32)[..., None])


def stored(codes: Array, encoding: GroupEncoding) -> Array:
    """Steps as the encoding stores them: int8, or 0..15."""
    return codes.astype(np.int8) if encoding == "q8g" else (codes + 8 * (encoding == "q4")).astype(np.uint8)


def error_of(x: Array, codes: Array, scale: Array, minimum: Array | None, metric: Array | None) -> Array:
    """The weighted squared error of each group: float32 [N, G]; infinite where the grid is."""
    error = x - values_of(codes, scale, minimum)
    total = _dot(error, error if metric is None else _apply(error, metric))
    return np.where(np.isnan(total), np.float32(np.inf), total)


def _apply(x: Array, metric: Array) -> Array:
    """x [N, G, 32] times the weights [G, 32] or moments [G, 32, 32] of its groups."""
    if metric.ndim == 2:
        return np.asarray(x * metric)
    return np.asarray(np.matmul(x.swapaxes(0, 1), metric).swapaxes(0, 1))


def _dot(a: Array, b: Array) -> Array:
    return np.asarray(np.einsum("ngk,ngk->ng", a, b))


def _better(
    best: tuple[Array, Array | None, Array] | None, other: tuple[Array, Array | None, Array]
) -> tuple[Array, Array | None, Array]:
    """Of each group (scale, minimum, error), the one with the smaller error; the first of equals."""
    if best is None:
        return other
    wins = other[2] < best[2]
    minimum = None if best[1] is None or other[1] is None else np.where(wins, other[1], best[1])
    return np.where(wins, other[0], best[0]), minimum, np.where(wins, other[2], best[2])
