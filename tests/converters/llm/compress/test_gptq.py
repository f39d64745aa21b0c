"""GPTQ against round-to-nearest: correlated inputs let later columns make good the errors of earlier ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edgert.converters.llm.compress.awq import output_error
from edgert.converters.llm.compress.gptq import gptq
from edgert.converters.llm.compress.round_to_nearest import moments_of_groups, round_to_nearest
from edgert.converters.llm.weights import dequantized
from edgert.converters.prune.patterns import UNSTRUCTURED, parse_pattern
from edgert.converters.prune.scores import inverse_factor
from edgert.converters.prune.sparsegpt import choosing, sparsegpt
from edgert.errors import ConversionError


def correlated(rng: np.random.Generator, size: int) -> np.ndarray:
    x = rng.standard_normal((8 * size, size // 4)) @ rng.standard_normal((size // 4, size))
    x += 0.3 * rng.standard_normal(x.shape)
    return np.asarray(x.T @ x / len(x))


@pytest.mark.parametrize("encoding", ["q4", "q4m", "q8g"])
@pytest.mark.parametrize("size", [96, 72])
def test_better_than_round_to_nearest(encoding: Any, size: int, rng: np.random.Generator) -> None:
    weights, moments = rng.standard_normal((48, size)).astype(np.float32), correlated(rng, size)
    ours = gptq(weights, moments, encoding)
    errors = [
        output_error(weights - dequantized(blocks), moments)
        for blocks in (
            ours,
            round_to_nearest(weights, encoding),
            round_to_nearest(weights, encoding, moments_of_groups(moments)),
        )
    ]
    assert errors[0] < 0.7 * min(errors[1:])
    assert ours.values.shape == weights.shape
    assert ours.scale is not None
    assert ours.scale.shape == (48, -(-size // 32))


def test_independent_inputs_leave_nothing_to_make_good(rng: np.random.Generator) -> None:
    weights = rng.standard_normal((8, 64)).astype(np.float32)
    errors = [
        float(np.square(weights - dequantized(blocks)).sum())
        for blocks in (gptq(weights, np.eye(64), "q4"), round_to_nearest(weights, "q4"))
    ]
    assert errors[0] == pytest.approx(errors[1], rel=1e-3)


def test_inverse_factor(rng: np.random.Generator) -> None:
    moments = correlated(rng, 48)
    factor = inverse_factor(moments, 0.01).astype(np.float64)
    np.testing.assert_array_equal(factor, np.triu(factor))
    damped = moments + 0.01 * np.diag(moments).mean() * np.eye(48)
    np.testing.assert_allclose(factor.T @ factor @ damped, np.eye(48), atol=1e-4)


def test_dead_and_repeated_channels(rng: np.random.Generator) -> None:
    """Inputs that are always 0, or always the same, are no reason to fail."""
    x = rng.standard_normal((100, 64))
    x[:, 5] = 0
    x[:, 7] = x[:, 6]
    weights = rng.standard_normal((4, 64)).astype(np.float32)
    for moments in (x.T @ x / 100, np.zeros((64, 64))):
        assert np.isfinite(dequantized(gptq(weights, moments, "q4"))).all()


@pytest.mark.parametrize("encoding", ["q4", "q8g"])
@pytest.mark.parametrize("text", ["unstructured", "nm:2:4", "nm:6:8", "group", "rowgroup"])
def test_pruning_and_rounding_in_one_sweep(encoding: Any, text: str, rng: np.random.Generator) -> None:
    """No worse than one after the other, better for int4, and the zeros are where the pattern wants them."""
    weights, moments = rng.standard_normal((64, 160)).astype(np.float32), correlated(rng, 160)
    pattern = parse_pattern(text, UNSTRUCTURED)
    sparsity = pattern.sparsity(None)
    joint = dequantized(gptq(weights, moments, encoding, mask=choosing(pattern, sparsity, 160)))
    assert np.mean(joint == 0) >= sparsity - 0.001
    pruned, stay = sparsegpt(weights, moments, pattern, sparsity)
    after = dequantized(round_to_nearest(pruned, encoding))
    assert not after[~stay].any()
    error, other = (output_error(weights - found, moments) for found in (joint, after))
    assert error < (1.0 if encoding == "q4" else 1.05) * other


def test_rounding_what_a_mask_left(rng: np.random.Generator) -> None:
    weights, moments = rng.standard_normal((24, 96)).astype(np.float32), correlated(rng, 96)
    keep = rng.random(weights.shape) < 0.7
    weights[~keep] = 0
    found = dequantized(gptq(weights, moments, "q4", keep=keep))
    assert not found[~keep].any()
    plain = dequantized(round_to_nearest(weights, "q4", moments_of_groups(moments)))
    assert output_error(weights - found, moments) < output_error(weights - plain, moments)
    with pytest.raises(ConversionError, match="an encoding that has a 0"):
        gptq(weights, moments, "q4m", keep=keep)


def test_errors(rng: np.random.Generator) -> None:
    weights = rng.standard_normal((4, 32)).astype(np.float32)
    with pytest.raises(ConversionError, match="positive definite"):
        gptq(weights, np.diag([-5.0] + [1.0] * 31), "q4")
    weights[0, 0] = np.inf
    with pytest.raises(ConversionError, match="finite weights"):
        gptq(weights, np.eye(32), "q4")
