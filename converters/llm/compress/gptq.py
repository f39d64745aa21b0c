"""GPTQ: columns are rounded one after the other, and those still to come make good the error in the output.
Frantar et al. 2022, "GPTQ", algorithm 1; groups get their scales as the columns come (section 4)."""

from __future__ import annotations

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
from edgert.errors import ConversionError
from edgert.graph.ir import Array

DAMPING = 0.01
"""Added to the diagonal of the Hessian, relative to its mean: the paper's."""
FACTORS = (1.0, 0.94, 0.88, 0.82, 0.76)
"""Scales tried for each group, relative to the best by round-to-nearest."""


def gptq(weights: Array, moments: Array, encoding: GroupEncoding, damping: float = DAMPING) -> ExactBlocks:
    """`weights` float32 [N, K] in `encoding`, close in their outputs for inputs with the `moments` [K, K].

    The scale of a group is the one that, of a few, leaves the least error of the output once all later columns
    have made good what they can: sum of ((w - rounded w) / u)^2 over its columns, u the diagonal of the factor.
    Raises ConversionError for weights that are not finite or moments that no damping makes positive definite.
    """
    rows, columns = weights.shape
    if not np.isfinite(weights).all():
        raise ConversionError("expected finite weights, found NaN or infinity; the source may be damaged")
    factor = inverse_factor(moments, damping)
    importance = np.asarray(np.diag(moments), np.float32)
    rest = np.array(weights.T, np.float32, order="C")  # [K, N]: a column of the matrix is a line of memory
    values = np.empty((columns, rows), np.int8 if encoding == "q8g" else np.uint8)
    groups = -(-columns // GROUP)
    scale = np.empty((groups, rows), np.float16)
    minimum = np.empty((groups, rows), np.float16) if encoding == "q4m" else None
    for g in range(groups):
        part = slice(g * GROUP, min((g + 1) * GROUP, columns))
        s, m = candidates(rest[part], importance[part], encoding)
        codes, errors = round_columns(rest[part], s, m, factor[part, part], encoding)
        best = np.einsum("kcn,kcn->cn", errors, errors).argmin(axis=0)
        every = np.arange(rows)
        values[part], scale[g] = stored(codes[:, best, every], encoding), s[best, every]
        if minimum is not None and m is not None:
            minimum[g] = m[best, every]
        rest[part.stop :] -= factor[part, part.stop :].T @ errors[:, best, every]
    blocks = ExactBlocks(
        encoding,
        np.ascontiguousarray(values.T),
        np.ascontiguousarray(scale.T),
        None if minimum is None else np.ascontiguousarray(minimum.T),
    )
    return checked(blocks, weights)


def inverse_factor(moments: Array, damping: float) -> Array:
    """The upper triangular U, float32, with U' U = inverse(moments + damping * mean of their diagonal).

    Channels that are always 0 count as if they were of mean size: what becomes of their weights does not matter.
    """
    hessian = np.array(moments, np.float64)
    diagonal = np.einsum("kk->k", hessian)
    mean = float(diagonal.mean()) or 1.0
    diagonal[diagonal == 0] = mean
    diagonal += damping * mean
    try:
        return np.ascontiguousarray(np.linalg.cholesky(np.linalg.inv(hessian)).T, np.float32)
    except np.linalg.LinAlgError:
        raise ConversionError(
            f"expected second moments of {len(moments)} inputs that are positive definite, found others; "
            "give more calibration text"
        ) from None


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
    columns: Array, scale: Array, minimum: Array | None, factor: Array, encoding: GroupEncoding
) -> tuple[Array, Array]:
    """Rounds the columns [k, N] of one group in order, with each of C grids: (steps, errors) float32 [k, C, N].

    An error is what is left of a column divided by the diagonal of `factor` [k, k].
    """
    rest = np.repeat(columns[:, None, :], len(scale), axis=1)
    codes, errors = np.empty_like(rest), np.empty_like(rest)
    for j in range(len(rest)):
        codes[j] = nearest(rest[j][..., None], scale, minimum, encoding)[..., 0]
        errors[j] = (rest[j] - values_of(codes[j][..., None], scale, minimum)[..., 0]) / factor[j, j]
        rest[j + 1 :] -= factor[j, j + 1 :, None, None] * errors[j]
    return codes, errors
