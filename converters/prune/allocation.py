"""How many zeros each matrix gets when all together have a budget: few where they cost much, more where little.
How a matrix is pruned is the caller's business; it is asked what that does to the outputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, TypeAlias

import numpy as np

from edgert.errors import ConversionError
from edgert.graph.ir import Array

Allocation: TypeAlias = Literal["uniform", "sensitivity"]
ALLOCATIONS: tuple[Allocation, ...] = ("uniform", "sensitivity")

DOWN, UP = (0.8, 0.9), (0.1, 0.2)
"""Sparsities that are measured: these shares of the budget's, and this much of the way from it to 1. Far from the
budget errors of matrices no longer add up, so that no matrix goes beyond the outermost."""
ROWS, RUN = 512, 64
"""Rows that a matrix is judged by, in runs that hold whole blocks."""

Prune: TypeAlias = Callable[[Array, float], Array]
"""prune(rows of a matrix float32 [n, K], sparsity) -> the same rows pruned."""


@dataclass(frozen=True)
class Sensitivity:
    """What zeros do to one matrix. errors: sparsity -> squared error of the outputs relative to their square."""

    weights: int
    errors: Mapping[float, float]


def levels(sparsity: float) -> tuple[float, ...]:
    """The sparsities to measure for a budget of `sparsity`, ascending."""
    return (*(f * sparsity for f in DOWN), sparsity, *(sparsity + f * (1 - sparsity) for f in UP))


def sensitivity(weights: Array, moments: Array, sparsity: float, prune: Prune) -> Sensitivity:
    """Measures `weights` [N, K] for inputs with `moments` [K, K], around a budget of `sparsity`."""
    runs = -(-len(weights) // RUN)
    step = -(-runs // (ROWS // RUN))
    rows = np.concatenate([weights[i * RUN : (i + 1) * RUN] for i in range(0, runs, step)])
    metric = np.asarray(moments, np.float32)
    size = _square(rows, metric)
    errors = {level: _square(rows - prune(rows, level), metric) / size if size else 0.0 for level in levels(sparsity)}
    return Sensitivity(weights.size, errors)


def allocate(found: Mapping[str, Sensitivity], sparsity: float) -> dict[str, float]:
    """The sparsity of each matrix: all weights together have `sparsity`, and the sum of losses is least.

    The model: the loss of the network is the sum of the matrices' relative squared errors times their numbers of
    weights, each error on the lower convex hull of what was measured. Going from one sparsity to the next costs so
    much for every weight; the cheapest steps of all matrices are taken until the budget is spent, which is the exact
    minimum for convex losses.
    Raises ConversionError when nothing was measured.
    """
    if not found:
        raise ConversionError("expected matrices to share a budget of zeros, found none that is pruned")
    budget = sparsity * sum(s.weights for s in found.values())
    chosen, steps = {}, []
    for name, s in found.items():
        points = _hull(sorted(s.errors.items()))
        chosen[name] = points[0][0]
        budget -= chosen[name] * s.weights
        for (a, low), (b, high) in pairwise(points):
            steps.append(((high - low) / (b - a), name, b - a))
    for _, name, width in sorted(steps, key=lambda step: step[0]):
        taken = min(width, max(budget, 0.0) / found[name].weights)
        chosen[name] += taken
        budget -= taken * found[name].weights
    return chosen


def _square(rows: Array, metric: Array) -> float:
    return float(np.einsum("nk,nk->", rows @ metric, rows, dtype=np.float64))


def _hull(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The lower convex hull of points in ascending order."""
    hull: list[tuple[float, float]] = []
    for x, y in points:
        while len(hull) > 1:
            (x0, y0), (x1, y1) = hull[-2:]
            if (y1 - y0) * (x - x1) < (y - y1) * (x1 - x0):
                break
            hull.pop()
        hull.append((x, y))
    return hull
