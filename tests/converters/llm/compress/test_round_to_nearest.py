"""Rounding with a search is never worse than without, whatever errors are weighted by."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edgert.converters.llm.compress.round_to_nearest import moments_of_groups, round_to_nearest
from edgert.converters.llm.groups import round_to_groups
from edgert.converters.llm.weights import dequantized
from edgert.errors import ConversionError

SHAPES = [(1, 1), (3, 32), (5, 40), (17, 96)]


def moments(rng: np.random.Generator, size: int) -> np.ndarray:
    x = rng.standard_normal((3 * size, size)) @ rng.standard_normal((size, size)) * rng.exponential(1.0, size)
    return np.asarray(x.T @ x / len(x))


@pytest.mark.parametrize("encoding", ["q4", "q4m", "q8g"])
@pytest.mark.parametrize("shape", SHAPES)
def test_search_is_never_worse(encoding: Any, shape: tuple[int, int], rng: np.random.Generator) -> None:
    weights = rng.standard_normal(shape).astype(np.float32)
    weights[0] = 0
    error = np.square(dequantized(round_to_nearest(weights, encoding, search=False)) - weights)
    found = np.square(dequantized(round_to_nearest(weights, encoding)) - weights)
    first = np.square(dequantized(round_to_groups(weights, encoding)) - weights)
    for start in range(0, shape[1], 32):
        part = slice(start, start + 32)
        assert np.all(found[:, part].sum(1) <= error[:, part].sum(1) * (1 + 1e-4) + 1e-9)
        if encoding != "q8g":
            assert np.all(found[:, part].sum(1) <= first[:, part].sum(1) * (1 + 1e-4) + 1e-9)


@pytest.mark.parametrize("encoding", ["q4", "q4m"])
def test_importance(encoding: Any, rng: np.random.Generator) -> None:
    """Each way of weighting errors gives the least of the errors it weights."""
    weights, seen = rng.standard_normal((64, 96)).astype(np.float32), moments(rng, 96)
    blocks, diagonal = moments_of_groups(seen), np.diag(seen)
    assert blocks.shape == (3, 32, 32)
    np.testing.assert_allclose(blocks[1], seen[32:64, 32:64], rtol=1e-6)
    ways = [round_to_nearest(weights, encoding, way) for way in (None, diagonal, blocks)]
    errors = [dequantized(way) - weights for way in ways]
    squares = [float(np.square(e).sum()) for e in errors]
    weighted = [float((np.square(e) * diagonal).sum()) for e in errors]
    parts = [e.reshape(64, 3, 32) for e in errors]
    outputs = [float(np.einsum("ngk,gkl,ngl->", e, blocks, e)) for e in parts]
    assert np.argmin(squares) == 0
    assert np.argmin(weighted) == 1
    assert np.argmin(outputs) == 2


def test_exact_grids_are_found(rng: np.random.Generator) -> None:
    values = rng.integers(-8, 8, (4, 64)).astype(np.float32)
    values[:, ::32] = -8
    weights = values * np.float32(0.125)
    np.testing.assert_array_equal(dequantized(round_to_nearest(weights, "q4")), weights)


def test_errors() -> None:
    weights = np.ones((2, 32), np.float32)
    with pytest.raises(ConversionError, match="float16 scales for q4"):
        round_to_nearest(weights * np.float32(1e8), "q4")
    weights[1, 3] = np.nan
    with pytest.raises(ConversionError, match="finite weights, found NaN"):
        round_to_nearest(weights, "q4m")
