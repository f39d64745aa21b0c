"""One matrix pruned: what stays, what the rest makes good, and gains and biases that restore its outputs.
Patterns, scores and the sweep are those of `converters/prune`; which matrices there are is in `layers.py`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgert.converters.network_prune.options import NetworkPruning
from edgert.converters.prune.dsnot import Inputs, refine
from edgert.converters.prune.scores import DAMPING, inverse_factor, magnitude, surgeon, wanda
from edgert.converters.prune.sparsegpt import Kept, sweep
from edgert.graph.ir import Array

WEIGHT_LIMIT = 127
"""Of the int8 grid: symmetric, without -128."""

MOST_GAIN = 3.0
"""By which outputs are scaled up to their former size; more would blow up what is left of a dead channel."""


@dataclass
class Rounded:
    """Kept weights are rounded to int8 of a scale per row as they settle, so that later ones make that good as well.
    values: float32 [K, N], filled as the columns come; scale: float32 [N]. Used by `sweep`."""

    values: Array
    scale: Array
    width: int = 32

    def settle(self, start: int, columns: Array, keep: Array, factor: Array) -> Array:
        """See `sparsegpt.Columns`."""
        rest, errors = np.array(columns), np.empty_like(columns)
        for j in range(len(rest)):
            stored = np.clip(np.rint(rest[j] / self.scale), -WEIGHT_LIMIT, WEIGHT_LIMIT)
            value = np.where(keep[j], stored * self.scale, np.float32(0)).astype(np.float32)
            errors[j] = (rest[j] - value) / factor[j, j]
            rest[j + 1 :] -= factor[j, j + 1 :, None] * errors[j]
            self.values[start + j] = value
        return errors


def moments(rows: Array) -> Array:
    """The mean of x x' over windows [P, K], float32 [K, K]."""
    return np.asarray(rows.T @ rows / np.float32(len(rows)))


def pruned_matrix(
    weights: Array, pruning: NetworkPruning, sparsity: float, rows: Array | None, scale: Array | None = None
) -> Array:
    """`weights` float32 [N, K] with a share of `sparsity` zeros.

    rows: windows of the inputs [P, K], which all but magnitude needs. scale: float32 [N], the int8 grid on which
    SparseGPT puts what it keeps.
    """
    if rows is None:
        return np.where(pruning.pattern.keep(magnitude(weights), sparsity), weights, np.float32(0))
    second = moments(rows)
    if pruning.criterion == "sparsegpt":
        factor = inverse_factor(second)
        keep = pruning.pattern.keep(surgeon(weights, factor, pruning.pattern.columns), sparsity)
    else:
        scores = magnitude(weights) if pruning.criterion == "magnitude" else wanda(weights, second)
        keep = pruning.pattern.keep(scores, sparsity)
    if pruning.refine:
        keep = refine(weights, keep, Inputs(rows.mean(0), second), pruning.pattern)
    if pruning.criterion != "sparsegpt":
        return np.where(keep, weights, np.float32(0))
    empty = np.empty(weights.shape[::-1], np.float32)
    settled = Kept(empty) if scale is None else Rounded(empty, scale)
    sweep(weights, factor, settled, keep=keep)
    return np.ascontiguousarray(settled.values.T)


def row_scale(weights: Array) -> Array:
    """float32 [N]: the largest magnitude of each row becomes 127; 1 for rows of zeros."""
    largest = np.abs(weights).max(1, initial=0.0)
    return np.where(largest > 0, largest / WEIGHT_LIMIT, 1.0).astype(np.float32)


@dataclass(frozen=True)
class Restored:
    """gain, shift [N]: outputs times gain plus shift have the mean and the size they had. error: what is left of
    the squared error of the outputs, relative to their variance."""

    gain: Array
    shift: Array
    error: float


def restored(before: Array, after: Array) -> Restored:
    """For products [P, N] of the original matrix and of the pruned one. Rows of zeros keep the mean alone.

    Setting means and variances again is what Jordan et al. 2022, "REPAIR", and batch norm tuning after pruning do.
    """
    old_mean, new_mean = before.mean(0, dtype=np.float64), after.mean(0, dtype=np.float64)
    old_std, new_std = before.std(0, dtype=np.float64), after.std(0, dtype=np.float64)
    gain = np.clip(old_std / np.maximum(new_std, 1e-12), 1 / MOST_GAIN, MOST_GAIN)
    gain[(new_std <= 1e-6 * np.maximum(old_std, 1e-12)) | (old_std == 0)] = 1.0
    shift = old_mean - gain * new_mean
    error = np.square(after * gain + shift - before).mean() / max(float(np.square(before - old_mean).mean()), 1e-30)
    return Restored(gain.astype(np.float32), shift.astype(np.float32), float(error))


def matched(weights: Array, before: Array, after: Array) -> Array:
    """The weights that give, for windows `after` [P, K], what `weights` [N, K] gave for `before`: least squares with
    the damping of the sweep. So later layers make good what earlier ones changed, as GPTAQ, Li et al. 2025, has it."""
    if after is before:
        return weights
    second = moments(after).astype(np.float64)
    second[np.diag_indices(len(second))] += DAMPING * max(float(np.trace(second)) / len(second), 1e-30)
    lacking = (before - after) @ weights.T
    return np.asarray(weights + np.linalg.solve(second, after.T @ lacking / len(after)).T, np.float32)
