"""Exchanges of weights against the paper's criteria written weight by weight, and what they are good for."""

from __future__ import annotations

import numpy as np
import pytest

from edgert.converters.prune.dsnot import CYCLES, THRESHOLD, Inputs, refine
from edgert.converters.prune.patterns import BLOCK_4X4, FANIN, UNSTRUCTURED, Pattern
from edgert.converters.prune.scores import wanda
from edgert.errors import ConversionError


def naive(weights: np.ndarray, keep: np.ndarray, x: np.ndarray, m: int = 0) -> np.ndarray:
    """Equations 4 and 5 for one row after the other, inputs x [n, K]."""
    keep, mean, var, norm = keep.copy(), x.mean(0), x.var(0), np.linalg.norm(x, axis=0)
    for row, stays in zip(weights.astype(np.float64), keep, strict=True):
        moved: set[int] = set()
        error = first = sum(row[k] * mean[k] for k in range(len(row)) if not stays[k])
        for _ in range(CYCLES):
            if abs(error) <= THRESHOLD * abs(first):
                break
            sign = np.sign(error)
            gone = [k for k in range(len(row)) if not stays[k] and k not in moved]
            if not gone:
                break
            back = max(gone, key=lambda k: sign * row[k] * mean[k] / var[k])
            kept = [k for k in range(len(row)) if stays[k] and k not in moved]
            kept = [k for k in kept if (k // m == back // m if m else sign * row[k] * mean[k] < 0)]
            if not kept:
                break
            away = min(kept, key=lambda k: abs(row[k]) * norm[k])
            after = error - row[back] * mean[back] + row[away] * mean[away]
            moved.add(back)
            if np.sign(after) == sign and abs(after) < abs(error):
                moved.add(away)
                stays[back], stays[away], error = True, False, after
    return keep


@pytest.fixture
def about(inputs: np.ndarray, moments: np.ndarray) -> Inputs:
    return Inputs(inputs.mean(0), moments)


@pytest.mark.parametrize("pattern", [UNSTRUCTURED, FANIN, Pattern("nm", n=2, m=4), Pattern("nm", n=6, m=8)])
def test_it_is_the_papers(pattern: Pattern, weights: np.ndarray, inputs: np.ndarray, about: Inputs) -> None:
    keep = pattern.keep(wanda(weights, about.moments), 0.5, by_row=True)
    found = refine(weights, keep, about, pattern)
    np.testing.assert_array_equal(found, naive(weights, keep, inputs, pattern.m))
    assert (found != keep).any()
    np.testing.assert_array_equal(found.sum(axis=1), keep.sum(axis=1))


def test_the_mean_of_the_output_comes_back(weights: np.ndarray, about: Inputs) -> None:
    keep = UNSTRUCTURED.keep(wanda(weights, about.moments), 0.5, by_row=True)
    found = refine(weights, keep, about, UNSTRUCTURED)
    before, after = (np.abs(np.where(mask, 0, weights) @ about.mean) for mask in (keep, found))
    assert (after <= before + 1e-6).all()
    assert after.mean() < 0.5 * before.mean()


def test_nothing_to_exchange(weights: np.ndarray, about: Inputs) -> None:
    every = np.ones(weights.shape, bool)
    assert refine(weights, every, about, UNSTRUCTURED).all()
    assert not refine(weights, ~every, about, UNSTRUCTURED).any()
    still = Inputs(np.zeros(64), about.moments)
    keep = UNSTRUCTURED.keep(np.square(weights), 0.5)
    np.testing.assert_array_equal(refine(weights, keep, still, UNSTRUCTURED), keep)


def test_blocks_are_not_exchanged(weights: np.ndarray, about: Inputs) -> None:
    with pytest.raises(ConversionError, match="exchanges single weights, found the pattern 4x4"):
        refine(weights, weights > 0, about, BLOCK_4X4)
