"""AWQ: scaling changes two weights and nothing that the network computes; then rounding hurts less."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgert.converters.llm.compress import awq
from edgert.converters.llm.compress.round_to_nearest import moments_of_groups, round_to_nearest
from edgert.converters.llm.importer import import_language_model
from edgert.converters.llm.weights import Held, dequantized

FOLDABLE = {
    "llama": {"qkv", "o", "gate_up", "down"},
    "llama_biased": {"qkv", "o", "gate_up", "down"},
    "qwen3": {"qkv", "o", "gate_up", "down"},
    "gemma2": {"qkv", "o", "gate_up", "down"},
    "phi3": {"qkv", "o", "gate_up", "down"},
    "gpt2": {"qkv", "o", "up"},
    "bert": {"o"},
}
"""What can be scaled: not where an activation or a residual connection lies between."""


@pytest.mark.parametrize("case", sorted(FOLDABLE))
def test_folding_is_exact(
    case: str, tiny: Callable[..., Any], run: Callable[..., Any], tmp_path: Path, rng: np.random.Generator
) -> None:
    model = tiny(case)
    language = import_language_model(model.save(tmp_path))
    biases, values = awq.biases_of(language.graph), awq.Values(language.weights)
    folded = set()
    for node in [node for node in language.graph.nodes if node.op == "Gemm" and "layers." in node.inputs[1]]:
        rows = awq.sources(language.graph, node)
        if rows is None:
            continue
        name = node.inputs[1]
        folded.add(name.rsplit(".", 1)[1])
        count = len(rows.gather(np.ones(values[name].shape[1])))
        scale = np.exp(rng.standard_normal(count)).astype(np.float32)
        awq.fold(values, rows, scale, biases)
        values[name] = values[name] * rows.spread(scale)
    assert folded == FOLDABLE[case]
    language.weights |= {name: Held(value) for name, value in values.items()}
    np.testing.assert_allclose(run(language.reference_graph()), model.expected, atol=1e-4)


def test_scale_and_clip_lower_the_error(rng: np.random.Generator) -> None:
    """Few channels with large inputs: what AWQ is for."""
    weights = rng.standard_normal((64, 96)).astype(np.float32)
    size = np.where(rng.random(96) < 0.05, 30.0, 1.0)
    x = rng.standard_normal((500, 96)) * size
    moments, rows = x.T @ x / 500, awq.Rows("norm")
    scale = awq.find_scale(weights, moments, "q4", rows)
    assert scale[size > 1].min() > scale[size == 1].max()
    plain = weights - dequantized(round_to_nearest(weights, "q4"))
    inner = moments / np.outer(scale, scale)
    scaled = weights * scale - dequantized(round_to_nearest(weights * scale, "q4"))
    clipped = weights * scale - dequantized(round_to_nearest(weights * scale, "q4", moments_of_groups(inner)))
    errors = [awq.output_error(e, m) for e, m in ((plain, moments), (scaled, inner), (clipped, inner))]
    assert errors[1] < 0.6 * errors[0]
    assert errors[2] < errors[1]


def test_even_inputs_are_not_scaled(rng: np.random.Generator) -> None:
    weights = rng.standard_normal((16, 64)).astype(np.float32)
    scale = awq.find_scale(weights, np.eye(64), "q4", awq.Rows("norm"))
    np.testing.assert_allclose(scale, 1.0)


def test_heads_that_share_values() -> None:
    """Two value heads of three values, each read by two query heads."""
    rows = awq.Rows("qkv", slice(12, 18), copies=2, run=3)
    np.testing.assert_array_equal(rows.spread(np.arange(6)), [0, 1, 2, 0, 1, 2, 3, 4, 5, 3, 4, 5])
    np.testing.assert_array_equal(rows.gather(np.array([0, 0, 0, 2, 2, 4, 1, 1, 1, 1, 1, 1])), [1, 1, 2, 1, 1, 1])


def test_dead_channels(rng: np.random.Generator) -> None:
    weights = rng.standard_normal((8, 32)).astype(np.float32)
    for moments in (np.zeros((32, 32)), np.diag([0.0] * 16 + [1.0] * 16)):
        scale = awq.find_scale(weights, moments, "q4", awq.Rows("norm"))
        assert np.isfinite(scale).all()
        assert (scale > 0).all()
