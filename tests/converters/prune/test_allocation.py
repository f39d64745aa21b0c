"""Budgets are kept, losses are least, and matrices that bear zeros get more of them."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from edgert.converters.prune.allocation import Sensitivity, allocate, levels, sensitivity
from edgert.converters.prune.patterns import UNSTRUCTURED, Pattern
from edgert.converters.prune.scores import magnitude
from edgert.errors import ConversionError


def curve(weights: int, strength: float) -> Sensitivity:
    return Sensitivity(weights, {s: strength * s**3 for s in levels(0.5)})


def test_the_budget_is_kept_and_the_sensitive_spared() -> None:
    found = {"hard": curve(100, 8.0), "easy": curve(300, 1.0), "middle": curve(200, 2.0)}
    chosen = allocate(found, 0.5)
    assert sum(chosen[name] * s.weights for name, s in found.items()) == pytest.approx(300)
    assert chosen["hard"] < chosen["middle"] < chosen["easy"]
    assert all(0.4 <= s <= 0.6 for s in chosen.values())


def test_the_sum_of_losses_is_least() -> None:
    found = {"a": curve(100, 3.0), "b": curve(100, 1.0), "c": curve(50, 0.2)}
    chosen = allocate(found, 0.5)

    def loss(sparsities: dict[str, float]) -> float:
        each = found.items()
        return sum(
            s.weights * float(np.interp(sparsities[k], list(s.errors), list(s.errors.values()))) for k, s in each
        )

    best = loss(chosen)
    for a, b in product(np.linspace(0.4, 0.6, 21), repeat=2):
        c = (0.5 * 250 - 100 * a - 100 * b) / 50
        if 0.4 <= c <= 0.6:
            assert best <= loss({"a": a, "b": b, "c": c}) + 1e-9


def test_losses_that_are_not_convex() -> None:
    """A measured bump is no reason to stop before it."""
    bump = Sensitivity(100, dict(zip(levels(0.5), (0.1, 0.5, 0.5, 0.55, 0.6), strict=True)))
    chosen = allocate({"bump": bump, "line": curve(100, 1.0)}, 0.5)
    assert sum(chosen.values()) == pytest.approx(1.0)


def test_one_matrix_gets_the_budget() -> None:
    assert allocate({"only": curve(10, 1.0)}, 0.5) == pytest.approx({"only": 0.5})
    with pytest.raises(ConversionError, match="found none"):
        allocate({}, 0.5)


def test_measured(rng: np.random.Generator, moments: np.ndarray) -> None:
    """A matrix with few large weights bears more zeros than one whose weights are alike."""

    def prune(rows: np.ndarray, sparsity: float) -> np.ndarray:
        return np.where(Pattern("block", 4, 4).keep(magnitude(rows), sparsity), rows, np.float32(0))

    alike = rng.standard_normal((200, 64)).astype(np.float32)
    heavy = np.where(UNSTRUCTURED.keep(rng.random((200, 64)), 0.8), alike, alike / 50).astype(np.float32)
    found = {name: sensitivity(w, moments, 0.5, prune) for name, w in (("alike", alike), ("heavy", heavy))}
    assert list(found["alike"].errors) == sorted(found["alike"].errors)
    assert all(0 < error <= 2 for error in found["alike"].errors.values())
    assert found["alike"].weights == alike.size
    zero = sensitivity(0 * alike, moments, 0.5, prune)
    assert set(zero.errors.values()) == {0.0}
    chosen = allocate(found, 0.5)
    assert sum(chosen.values()) == pytest.approx(1.0)
