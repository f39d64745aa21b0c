"""Dynamic sparse no training: a mask gets better by exchanging weights, as the mean of the inputs says; nothing is
trained. Zhang et al. 2023, "Dynamic Sparse No Training: Training-Free Fine-tuning for Sparse LLMs", section 3."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgert.converters.prune.patterns import Pattern
from edgert.converters.prune.scores import wanda
from edgert.errors import ConversionError
from edgert.graph.ir import Array

CYCLES = 50
"""Exchanges per row, at most: the paper's."""
THRESHOLD = 0.1
"""A row is done when this much is left of its expected error. The paper takes 0.1 as it is; relative to the error at
the beginning it means the same for activations of any size."""


@dataclass(frozen=True)
class Inputs:
    """What is known of the inputs x of a matrix. mean: of x, [K]; moments: of x x', [K, K]."""

    mean: Array
    moments: Array

    @property
    def variance(self) -> Array:
        return np.asarray(np.maximum(np.diag(self.moments) - np.square(self.mean), 0.0))


def refine(weights: Array, keep: Array, inputs: Inputs, pattern: Pattern) -> Array:
    """`keep` bool [N, K] after exchanges between what stays and what goes of `weights`; rows keep their counts.

    The error of a row is what its output is expected to lack: the sum of w E[x] over what goes. Back comes the weight
    that makes good most of it and varies least, the largest sign(error) w E[x] / Var[x] (equation 4); for it goes, of
    the weights whose loss lowers the error as well, the one with the least |w| |x| (equation 5). With n:m the latter
    is the one with the least |w| |x| of the same m. No exchange may turn the sign of the error.
    Raises ConversionError for patterns whose cells are larger than a weight.
    """
    if pattern.rows * pattern.columns != 1:
        raise ConversionError(
            f"refinement exchanges single weights, found the pattern {pattern}; refine unstructured, nm or fanin"
        )
    keep = keep.copy()
    means = np.asarray(weights * inputs.mean, np.float32)
    size = wanda(weights, inputs.moments)
    variance = inputs.variance
    spread = np.asarray(np.maximum(variance, 1e-6 * float(variance.max(initial=0.0)) or 1.0), np.float32)
    error = np.where(keep, np.float32(0), means).sum(axis=1)
    sign, least = np.sign(error), THRESHOLD * np.abs(error)
    fresh = np.ones(keep.shape, bool)  # not exchanged yet: no weight moves twice
    rows = np.flatnonzero(np.abs(error) > 0)
    for _ in range(CYCLES):
        if not len(rows):
            break
        gain = sign[rows, None] * means[rows]
        back = _best(gain / spread, ~keep[rows] & fresh[rows])
        goes = keep[rows] & fresh[rows]
        if pattern.kind == "nm":
            goes &= np.arange(keep.shape[1]) // pattern.m == back[:, None] // pattern.m
        else:
            goes &= gain < 0
        away = _best(-size[rows], goes)
        after = error[rows] - means[rows, back] + means[rows, away]
        possible = goes.any(axis=1) & (~keep[rows] & fresh[rows]).any(axis=1)
        wins = possible & (np.sign(after) == sign[rows]) & (np.abs(after) < np.abs(error[rows]))
        fresh[rows, back] = False
        keep[rows[wins], back[wins]], keep[rows[wins], away[wins]] = True, False
        fresh[rows[wins], away[wins]] = False
        error[rows[wins]] = after[wins]
        rows = rows[possible & (np.abs(error[rows]) > least[rows])]
    return keep


def _best(scores: Array, allowed: Array) -> Array:
    """The column of the largest score that is allowed, for each row; any where none is."""
    return np.asarray(np.where(allowed, scores, -np.inf).argmax(axis=1))
