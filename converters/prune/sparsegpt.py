"""The column sweep of GPTQ and SparseGPT: columns become final one after the other, later ones make good the error.
What goes is chosen block by block on the way, what is kept may be rounded: by a `Columns`, of which GPTQ has one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import numpy as np

from edgert.converters.prune.patterns import Pattern
from edgert.converters.prune.scores import DAMPING, inverse_factor, surgeon
from edgert.errors import ConversionError
from edgert.graph.ir import Array

LAZY = 128
"""Columns whose errors are gathered before all later ones are updated: one large product instead of many small."""


class Columns(Protocol):
    """Makes columns final, `width` at a time, and keeps them. Widths divide 128."""

    @property
    def width(self) -> int: ...

    def settle(self, start: int, columns: Array, keep: Array, factor: Array) -> Array:
        """Makes `columns` [w, N], of which the first is column `start`, final: zeros where `keep` [w, N] is False.

        Returns their errors, float32 [w, N]: what is left of each, once those before it are made good, divided by the
        diagonal of `factor` [w, w].
        """


Choose: TypeAlias = Callable[[Array, Array], Array]
"""choose(columns [k, N], factor [k, k]) -> which of them stay, bool [k, N]."""


@dataclass(frozen=True)
class Mask:
    """What a sweep removes: weights that `choose` names, asked once for every `span` columns before they settle."""

    span: int
    choose: Choose

    def ahead(self, columns: Array, factor: Array) -> Array:
        """What stays of `columns` that settle together though they are more than `span`: as if they settled one after
        the other. Chosen all at once they lost more."""
        return sweep(columns.T, factor, Kept(np.empty_like(columns), self.span), self).T


@dataclass
class Kept:
    """Kept weights stay as they are: pruning alone. values: float32 [K, N], filled as the columns come."""

    values: Array
    width: int = 32

    def settle(self, start: int, columns: Array, keep: Array, factor: Array) -> Array:
        rest, errors = np.array(columns), np.empty_like(columns)
        for j in range(len(rest)):
            errors[j] = np.where(keep[j], np.float32(0), rest[j] / factor[j, j])
            rest[j + 1 :] -= factor[j, j + 1 :, None] * errors[j]
        self.values[start : start + len(rest)] = np.where(keep, rest, np.float32(0))
        return errors


def sweep(
    weights: Array, factor: Array, columns: Columns, mask: Mask | None = None, keep: Array | None = None
) -> Array:
    """Brings all columns of `weights` [N, K] into `columns`; `factor` is the upper triangular one of `inverse_factor`.

    mask: chooses what stays on the way (Frantar and Alistarh 2023, algorithm 1); or keep: bool [N, K], known before.
    With neither everything stays. Returns what stayed, bool [N, K].
    Raises ConversionError for weights that are not finite.
    """
    if not np.isfinite(weights).all():
        raise ConversionError("expected finite weights, found NaN or infinity; the source may be damaged")
    rest = np.array(weights.T, np.float32, order="C")  # [K, N]: a column of the matrix is a line of memory
    stay = np.ones(rest.shape, bool) if keep is None else np.ascontiguousarray(keep.T)
    count, width = len(rest), columns.width
    for first in range(0, count, LAZY):
        block = slice(first, min(first + LAZY, count))
        errors = np.empty_like(rest[block])
        for start in range(block.start, block.stop, width):
            part = slice(start, min(start + width, block.stop))
            if mask is not None and start % max(mask.span, width) == 0:
                ahead = slice(start, min(start + max(mask.span, width), count))
                choose = mask.choose if mask.span >= width else mask.ahead
                stay[ahead] = choose(rest[ahead], factor[ahead, ahead])
            found = columns.settle(start, rest[part], stay[part], factor[part, part])
            errors[start - first : part.stop - first] = found
            rest[part.stop : block.stop] -= factor[part, part.stop : block.stop].T @ found
        rest[block.stop :] -= factor[block, block.stop :].T @ errors
    return np.ascontiguousarray(stay.T)


def choosing(pattern: Pattern, sparsity: float, columns: int, parts: Sequence[int] = ()) -> Mask:
    """The mask of SparseGPT for a matrix of `columns`: what costs the output least goes, as `pattern` allows it."""

    def choose(rest: Array, factor: Array) -> Array:
        scores = surgeon(np.ascontiguousarray(rest.T), factor, pattern.columns)
        return pattern.keep(scores, sparsity, parts).T

    return Mask(pattern.span(columns), choose)


def sparsegpt(
    weights: Array,
    moments: Array,
    pattern: Pattern,
    sparsity: float,
    *,
    parts: Sequence[int] = (),
    keep: Array | None = None,
    damping: float = DAMPING,
    factor: Array | None = None,
) -> tuple[Array, Array]:
    """(`weights` float32 [N, K] pruned, what stays of them bool [N, K]); kept weights make good what the others did.

    moments: mean of x x' of the inputs, [K, K]. parts: as in `Pattern.keep`. keep: the mask if it is chosen already.
    factor: that of `inverse_factor`, if it is known.
    Raises ConversionError for weights that are not finite or moments that no damping makes positive definite.
    """
    settled = Kept(np.empty(weights.shape[::-1], np.float32))
    mask = choosing(pattern, sparsity, weights.shape[1], parts) if keep is None else None
    if mask is not None:
        settled.width = min(settled.width, mask.span)
    factor = inverse_factor(moments, damping) if factor is None else factor
    stay = sweep(weights, factor, settled, mask, keep)
    return np.ascontiguousarray(settled.values.T), stay
