"""Perplexity and divergence against their definitions, and the walk against the interpreter of graphs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgert.converters.llm.compress import quality
from edgert.converters.llm.compress.calibration import linears
from edgert.converters.llm.compress.walk import Walk
from edgert.converters.llm.importer import import_language_model
from edgert.errors import ConversionError, EdgertError


def test_definitions(rng: np.random.Generator) -> None:
    windows = [rng.integers(0, 50, n).astype(np.int32) for n in (9, 2, 30)]
    logits = [[(3 * rng.standard_normal((len(w), 50))).astype(np.float32) for w in windows] for _ in range(2)]
    reference = quality.reference_of(windows, iter(logits[0]))
    found = quality.compare(reference, iter(logits[1]))
    p, q = ([np.exp(x - np.log(np.exp(x).sum(1, keepdims=True)))[:-1] for x in some] for some in logits)
    losses = np.concatenate([-np.log(x[np.arange(len(x)), w[1:]]) for x, w in zip(q, windows, strict=True)])
    assert found.perplexity == pytest.approx(np.exp(losses.mean()), rel=1e-5)
    assert found.tokens == len(losses) == 38
    a, b = np.concatenate(p), np.concatenate(q)
    middle = (a + b) / 2
    divergence = ((a * np.log(a / middle) + b * np.log(b / middle)) / 2).sum(1)
    assert found.divergence == pytest.approx(divergence.mean(), rel=1e-4)
    assert found.agreement == pytest.approx(100 * np.mean(a.argmax(1) == b.argmax(1)))
    assert quality.compare(reference, iter(logits[0])).divergence == pytest.approx(0, abs=1e-6)
    assert reference.quality.agreement == 100


def test_divergence_of_certain_answers() -> None:
    """Probabilities of 0 count nothing, and opposite certainties are log 2 apart."""
    with np.errstate(divide="ignore"):
        p, q = np.log(np.array([[1.0, 0.0], [1.0, 0.0]])), np.log(np.array([[0.0, 1.0], [1.0, 0.0]]))
    np.testing.assert_allclose(quality.jensen_shannon(p, q), [np.log(2), 0], atol=1e-8)


def test_nan_is_an_error() -> None:
    window, logits = np.array([0, 1], np.int32), np.full((2, 4), np.nan, np.float32)
    with pytest.raises(EdgertError, match="finite logits"):
        quality.reference_of([window], [logits])


@pytest.mark.parametrize("case", ["llama", "gemma2", "gpt2"])
def test_walk_is_the_graph(case: str, tiny: Callable[..., Any], tmp_path: Path) -> None:
    from tiny import TOKENS

    model = tiny(case)
    language = import_language_model(model.save(tmp_path))
    windows = [np.array(TOKENS, np.int32), np.array(TOKENS[:5], np.int32), np.array(TOKENS, np.int32)]
    found = list(quality.float_logits(language, windows))
    for logits in found:
        np.testing.assert_allclose(logits, model.expected[: len(logits)], atol=2e-5)
    seen = list(linears(Walk(language.graph, language.weights, windows)))
    assert [one.node for one in seen] == [node for node in language.graph.nodes if node.op == "Gemm"]
    assert all(one.moments.shape == (language.weights[one.name].shape[1],) * 2 for one in seen)


def test_walk_sees_replaced_weights(tiny: Callable[..., Any], tmp_path: Path) -> None:
    """Sequential compression: a weight that is replaced while its product is looked at is the one computed with."""
    from tiny import TOKENS

    from edgert.converters.llm.weights import Held

    language = import_language_model(tiny("llama").save(tmp_path))
    original = list(linears(Walk(language.graph, language.weights, [np.array(TOKENS, np.int32)])))
    changed = []
    for one in linears(Walk(language.graph, language.weights, [np.array(TOKENS, np.int32)])):
        changed.append(one)
        if one.name == "layers.0.o":
            language.weights[one.name] = Held(0 * language.weights[one.name].load())
    same = [np.array_equal(a.moments, b.moments) for a, b in zip(original, changed, strict=True)]
    assert same == [i < 2 for i in range(len(same))]


def test_infinite_activations_name_the_matrix(tiny: Callable[..., Any], tmp_path: Path) -> None:
    from tiny import TOKENS

    from edgert.converters.llm.weights import Held

    language = import_language_model(tiny("llama").save(tmp_path))
    language.weights["layers.0.attention_norm"] = Held(np.full(32, 3e38, np.float32))
    with pytest.raises(ConversionError, match=r"finite inputs of 'layers\.0\."), np.errstate(all="ignore"):
        list(linears(Walk(language.graph, language.weights, [np.array(TOKENS, np.int32)])))
