"""The sweep against the papers' rules written naively, under every pattern, and what it is good for."""

from __future__ import annotations

import numpy as np
import pytest
from naive import inverse_hessian, loss_without, naive_sparsegpt, surgeon_errors

from edgert.converters.prune.patterns import FANIN, UNSTRUCTURED, Pattern, parse_pattern
from edgert.converters.prune.scores import inverse_factor, magnitude, surgeon, wanda
from edgert.converters.prune.sparsegpt import sparsegpt
from edgert.errors import ConversionError


def keep_largest(errors: np.ndarray, count: int) -> np.ndarray:
    """The `count` largest of each row."""
    stay = np.zeros(errors.shape, bool)
    np.put_along_axis(stay, np.argsort(-errors, axis=1)[:, :count], True, axis=1)
    return stay


def test_n_of_m_is_algorithm_1(weights: np.ndarray, moments: np.ndarray) -> None:
    """Masks chosen for m columns at a time, as the paper has it for n:m."""
    wanted, stay = naive_sparsegpt(weights, moments, 8, lambda errors: keep_largest(errors, 6))
    found, kept = sparsegpt(weights, moments, Pattern("nm", n=6, m=8), 0.25)
    np.testing.assert_array_equal(kept, stay)
    np.testing.assert_allclose(found, wanted, atol=2e-4)


def test_unstructured_is_algorithm_1(rng: np.random.Generator) -> None:
    """200 columns: two blocks of 128 columns, the threshold over all rows of a block."""
    x = rng.standard_normal((900, 50)) @ rng.standard_normal((50, 200)) + rng.standard_normal((900, 200))
    weights, moments = rng.standard_normal((12, 200)).astype(np.float32), x.T @ x / 900

    def choose(errors: np.ndarray) -> np.ndarray:
        stay = np.zeros(errors.size, bool)
        stay[np.argsort(-errors, axis=None)[: round(0.5 * errors.size)]] = True
        return stay.reshape(errors.shape)

    wanted, stay = naive_sparsegpt(weights, moments, 128, choose)
    found, kept = sparsegpt(weights, moments, UNSTRUCTURED, 0.5)
    np.testing.assert_array_equal(kept, stay)
    np.testing.assert_allclose(found, wanted, atol=2e-3)


def test_scores_of_single_weights(weights: np.ndarray, moments: np.ndarray) -> None:
    """(w / u_kk)^2 is what the output loses if the weight goes and the later ones make it good."""
    found = surgeon(weights, inverse_factor(moments))
    np.testing.assert_allclose(found, surgeon_errors(weights.astype(float), inverse_hessian(moments), 0, 64), rtol=1e-3)
    np.testing.assert_allclose(found[:, 9], loss_without(weights, moments, [9]), rtol=1e-3)


@pytest.mark.parametrize("columns", [4, 32])
def test_scores_of_cells(columns: int, weights: np.ndarray, moments: np.ndarray) -> None:
    """The squares of a cell sum up to what the output loses when the whole cell goes."""
    factor = inverse_factor(moments)
    part = slice(columns, 2 * columns)
    found = surgeon(weights[:, part], factor[part, part], columns).sum(axis=1)
    np.testing.assert_allclose(found, loss_without(weights, moments, list(range(64))[part]), rtol=2e-3)


def test_short_cells(weights: np.ndarray, moments: np.ndarray) -> None:
    factor = inverse_factor(moments)
    found = surgeon(weights[:, 60:63], factor[60:63, 60:63], 4)
    single = weights[:, 60:63] @ np.linalg.inv(factor[60:63, 60:63])
    np.testing.assert_allclose(found, np.square(single), rtol=1e-3)


def test_other_scores(weights: np.ndarray, inputs: np.ndarray, moments: np.ndarray) -> None:
    """Wanda: |W| times the norm of the input, here squared and divided by the number of inputs."""
    np.testing.assert_allclose(magnitude(weights), np.abs(weights) ** 2, rtol=1e-6)
    wanted = np.abs(weights) * np.linalg.norm(inputs, axis=0)
    np.testing.assert_allclose(np.sqrt(wanda(weights, moments) * len(inputs)), wanted, rtol=1e-5)


TEXTS = ["unstructured", "nm:2:4", "nm:4:8", "nm:6:8", "nm:10:16", "4x4", "2x4", "1x4", "64x4", "4x1", "1x1",
         "group", "rowgroup", "fanin"]  # fmt: skip


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("shape", [(64, 128), (70, 150), (5, 37)])
def test_every_pattern(text: str, shape: tuple[int, int], rng: np.random.Generator) -> None:
    """The result has the pattern, and less error than the same mask without compensation."""
    columns = shape[1]
    x = rng.standard_normal((4 * columns, columns // 3)) @ rng.standard_normal((columns // 3, columns))
    moments = x.T @ x / len(x) + 0.05 * np.eye(columns)
    weights = rng.standard_normal(shape).astype(np.float32)
    pattern = parse_pattern(text, UNSTRUCTURED)
    found, stay = sparsegpt(weights, moments, pattern, pattern.sparsity(None))
    assert not found[~stay].any()
    lost, plain = found - weights, np.where(stay, 0, -weights)
    assert np.einsum("nk,kl,nl->", lost, moments, lost) <= 1.001 * np.einsum("nk,kl,nl->", plain, moments, plain)


def test_a_mask_that_is_known(weights: np.ndarray, moments: np.ndarray, rng: np.random.Generator) -> None:
    keep = rng.random(weights.shape) < 0.6
    found, stay = sparsegpt(weights, moments, FANIN, 0.4, keep=keep)
    np.testing.assert_array_equal(stay, keep)
    wanted, _ = naive_sparsegpt(weights, moments, 64, lambda errors: keep)
    np.testing.assert_allclose(found, wanted, atol=5e-4)


def test_nothing_to_prune(weights: np.ndarray, moments: np.ndarray) -> None:
    found, stay = sparsegpt(weights, moments, UNSTRUCTURED, 0.0)
    assert stay.all()
    np.testing.assert_array_equal(found, weights)


def test_refused(weights: np.ndarray, moments: np.ndarray) -> None:
    with pytest.raises(ConversionError, match="positive definite"):
        sparsegpt(weights, np.diag([-5.0] + [1.0] * 63), UNSTRUCTURED, 0.5)
    weights[0, 0] = np.nan
    with pytest.raises(ConversionError, match="finite weights"):
        sparsegpt(weights, moments, UNSTRUCTURED, 0.5)
