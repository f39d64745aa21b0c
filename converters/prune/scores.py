"""How much each weight of a matrix matters: magnitude, Wanda, and the optimal-brain-surgeon score of SparseGPT.
All are squares, so that the scores of a cell of weights add up; what stays under a pattern is `patterns.py`."""

from __future__ import annotations

from typing import Literal, TypeAlias

import numpy as np

from edgert.errors import ConversionError
from edgert.graph.ir import Array

Criterion: TypeAlias = Literal["magnitude", "wanda", "sparsegpt"]
CRITERIA: tuple[Criterion, ...] = ("magnitude", "wanda", "sparsegpt")

DAMPING = 0.01
"""Added to the diagonal of the Hessian, relative to its mean: that of the papers of GPTQ and SparseGPT."""


def magnitude(weights: Array) -> Array:
    """w^2 of `weights` [N, K]: the order of |w|."""
    return np.square(weights, dtype=np.float32)


def wanda(weights: Array, moments: Array) -> Array:
    """(|w| |x_k|)^2 of `weights` [N, K] for inputs with `moments` [K, K]: what a weight adds to the output's square
    if inputs were independent. Sun et al. 2023, "A Simple and Effective Pruning Approach", equation 1."""
    return np.asarray(np.square(weights, dtype=np.float32) * np.diag(moments).astype(np.float32))


def surgeon(weights: Array, factor: Array, columns: int = 1) -> Array:
    """What the output loses when cells of `columns` weights go and all later ones make good what they can.

    weights [N, K]; factor: upper triangular [K, K], see `inverse_factor`. For single weights (w / u_kk)^2, Frantar and
    Alistarh 2023, "SparseGPT", equation 3. For a cell the squares of w U^-1, U being its part of the factor: these are
    the errors of its columns in a sweep that removes them all.
    """
    if columns == 1:
        return np.asarray(np.square(weights / np.diag(factor), dtype=np.float32))
    n, k = weights.shape
    short = -k % columns
    filled = np.pad(weights, ((0, 0), (0, short))).reshape(n, -1, columns)
    widened = np.eye(k + short, dtype=np.float64)
    widened[:k, :k] = factor
    at = np.arange(filled.shape[1])
    parts = widened.reshape(len(at), columns, len(at), columns)[at, :, at, :]
    errors = np.matmul(filled.transpose(1, 0, 2), np.linalg.inv(parts).astype(np.float32))
    return np.asarray(np.square(errors.transpose(1, 0, 2).reshape(n, -1)[:, :k], dtype=np.float32))


def inverse_factor(moments: Array, damping: float = DAMPING) -> Array:
    """The upper triangular U, float32, with U' U = inverse(moments + damping * mean of their diagonal).

    Channels that are always 0 count as if they were of mean size: what becomes of their weights does not matter.
    Raises ConversionError for moments that no damping makes positive definite.
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
            "give more calibration data"
        ) from None
