"""GPTQ: columns are rounded one after the other, and those still to come make good the error in the output.
Frantar et al. 2022, "GPTQ", algorithm 1; groups get their scales as the columns come (section 4). The sweep over the
columns is `prune/sparsegpt.py`, so that the same one may remove weights and round those that stay."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgert.converters.llm.checkpoint import ExactBlocks
from edgert.converters.llm.compress.round_to_nearest import (
    best_grid,
    checked,
    extreme,
    nearest,
    plain_grid,
    stored,
    values_of,
)
from edgert.converters.llm.groups import GROUP, GroupEncoding
from edgert.converters.prune.scores import DAMPING, inverse_factor
from edgert.converters.prune.sparsegpt import Kept, Mask, sweep
from edgert.errors import ConversionError
from edgert.graph.ir import Array

FACTORS = (1.0, 0.94, 0.88, 0.82, 0.76)
"""Scales tried for each group, relative to the best by round-to-nearest."""


def gptq(
    weights: Array,
    moments: Array,
    encoding: GroupEncoding,
    damping: float = DAMPING,
    mask: Mask | None = None,
    keep: Array | None = None,
) -> ExactBlocks:
    """`weights` float32 [N, K] in `encoding`, close in their outputs for inputs with the `moments` [K, K].

    mask, or keep bool [N, K]: what is pruned in the same sweep, see `sparsegpt.sweep`; such weights are exactly 0.
    Raises ConversionError for weights that are not finite, moments that no damping makes positive definite, and
    pruning in q4m, whose groups need not have a 0.
    """
    if encoding == "q4m" and (mask is not None or keep is not None):
        raise ConversionError(
            "pruned weights need an encoding that has a 0, found asymmetric int4; leave out asymmetric"
        )
    rounded = Rounded.empty(weights.shape, np.asarray(np.diag(moments), np.float32), encoding)
    sweep(weights, inverse_factor(moments, damping), rounded, mask, keep)
    return checked(rounded.blocks, weights)


@dataclass(frozen=True)
class Rounded:
    """Columns that are rounded as they become final, a group of 32 at a time.

    The scale of a group is the one that, of a few, leaves the least error of the output once all later columns
    have made good what they can: the sum of the squared errors of its columns. values [K, N], scale and minimum
    [K / 32, N]: a column of the matrix is a line of memory. importance: the mean square of each input, [K].
    """

    encoding: GroupEncoding
    importance: Array
    values: Array
    scale: Array
    minimum: Array | None
    width: int = GROUP

    @classmethod
    def empty(cls, shape: tuple[int, ...], importance: Array, encoding: GroupEncoding) -> Rounded:
        rows, columns = shape
        groups = -(-columns // GROUP)
        values = np.empty((columns, rows), np.int8 if encoding == "q8g" else np.uint8)
        minimum = np.empty((groups, rows), np.float16) if encoding == "q4m" else None
        return cls(encoding, importance, values, np.empty((groups, rows), np.float16), minimum)

    def settle(self, start: int, columns: Array, keep: Array, factor: Array) -> Array:
        part, g = slice(start, start + len(columns)), start // GROUP
        reach = columns
        if not keep.all():  # what is kept grows when it makes good what goes: the grid must reach that far
            alone = Kept(np.empty_like(columns))
            alone.settle(0, columns, keep, factor)
            reach = alone.values
        s, m = candidates(reach, self.importance[part], self.encoding)
        codes, errors = round_columns(columns, keep, s, m, factor, self.encoding)
        best = np.einsum("kcn,kcn->cn", errors, errors).argmin(axis=0)
        every = np.arange(columns.shape[1])
        self.values[part], self.scale[g] = stored(codes[:, best, every], self.encoding), s[best, every]
        if self.minimum is not None and m is not None:
            self.minimum[g] = m[best, every]
        return np.asarray(errors[:, best, every])

    @property
    def blocks(self) -> ExactBlocks:
        minimum = None if self.minimum is None else np.ascontiguousarray(self.minimum.T)
        return ExactBlocks(
            self.encoding, np.ascontiguousarray(self.values.T), np.ascontiguousarray(self.scale.T), minimum
        )


def candidates(columns: Array, importance: Array, encoding: GroupEncoding) -> tuple[Array, Array | None]:
    """Grids to try for a group, its `columns` [<= 32, N]: (scale, minimum) float16 [C, N]."""
    x = np.ascontiguousarray(columns.T)[:, None, :]
    with np.errstate(over="ignore", invalid="ignore"):
        if encoding == "q8g":
            return plain_grid(x, encoding)[0].T, None
        scale, minimum = best_grid(x, encoding, importance[None])
        plain, low = plain_grid(x, encoding)
        if minimum is None or low is None:
            others = [extreme(x) / -8 * np.float32(f) for f in FACTORS]
            return np.concatenate([scale, plain, *(o.astype(np.float16) for o in others)], axis=1).T, None
        return np.concatenate([scale, plain], axis=1).T, np.concatenate([minimum, low], axis=1).T


def round_columns(
    columns: Array, keep: Array, scale: Array, minimum: Array | None, factor: Array, encoding: GroupEncoding
) -> tuple[Array, Array]:
    """Rounds the columns [k, N] of one group in order, with each of C grids: (steps, errors) float32 [k, C, N].

    An error is what is left of a column divided by the diagonal of `factor` [k, k]. Where `keep` [k, N] is False the
    step is 0, which symmetric grids take for the number 0.
    """
    rest = np.repeat(columns[:, None, :], len(scale), axis=1)
    codes, errors = np.empty_like(rest), np.empty_like(rest)
    for j in range(len(rest)):
        codes[j] = nearest(rest[j][..., None], scale, minimum, encoding)[..., 0] * keep[j]
        errors[j] = (rest[j] - values_of(codes[j][..., None], scale, minimum)[..., 0]) / factor[j, j]
        rest[j + 1 :] -= factor[j, j + 1 :, None, None] * errors[j]
    return codes, errors
