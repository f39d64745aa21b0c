"""Gated layers taken apart into neurons: the same answers, with every kind of gate, and which layers stay whole."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgert.converters.llm.importer import LanguageModel, import_language_model, with_values
from edgert.converters.llm.neurons import take_apart
from edgert.graph.ir import Graph
from edgert.graph.neurons import thresholds, with_thresholds

Run = Callable[..., np.ndarray]


def imported(tiny: Callable[[str], Any], case: str, folder: Path, **config: Any) -> LanguageModel:
    model = tiny(case)
    model.config |= config
    return import_language_model(model.save(folder))


def taken(language: LanguageModel) -> Graph:
    """The graph of neurons, with its values."""
    graph, weights, _ = take_apart(language.graph, language.weights)
    return with_values(graph, weights)


@pytest.mark.parametrize("case", ["llama", "gemma2", "gemma3", "phi3", "qwen3"])
def test_neurons_say_what_the_whole_layer_says(case: str, tiny: Callable[[str], Any], tmp_path: Path, run: Run) -> None:
    language = imported(tiny, case, tmp_path)
    graph = taken(language)
    layers = language.architecture.layers
    assert list(thresholds(graph)) == [f"layers.{i}.neurons" for i in range(layers)]
    assert not any(name.endswith((".gate_up", ".down")) for name in graph.types)
    assert not any(node.op == "GLU" for node in graph.nodes)
    np.testing.assert_allclose(run(graph), run(language.reference_graph()), 1e-4, 1e-4)


def test_relu_gates_rest_without_loss(tiny: Callable[[str], Any], tmp_path: Path, run: Run) -> None:
    """What threshold 0 skips of such a model adds nothing: half of all neurons, in random weights."""
    language = imported(tiny, "llama", tmp_path, hidden_act="relu")
    graph = taken(language)
    assert [node.attrs["activation"] for node in graph.nodes if node.op == "NeuronFFN"] == ["Relu", "Relu"]
    np.testing.assert_allclose(run(graph), run(language.reference_graph()), 1e-4, 1e-4)
    silu = imported(tiny, "llama", tmp_path).reference_graph()
    assert np.abs(run(graph) - run(silu)).max() > 0.01


@pytest.mark.parametrize("case", ["llama_biased", "gpt2", "bert"])
def test_other_layers_stay_whole(case: str, tiny: Callable[[str], Any], tmp_path: Path) -> None:
    language = imported(tiny, case, tmp_path)
    graph, weights, nodes = take_apart(language.graph, language.weights)
    assert not nodes and set(weights) == set(language.weights)
    assert [node.name for node in graph.nodes] == [node.name for node in language.graph.nodes]


def test_the_model_that_was_given_stays_as_it_is(tiny: Callable[[str], Any], tmp_path: Path) -> None:
    language = imported(tiny, "llama", tmp_path)
    names, operators = set(language.weights), [node.op for node in language.graph.nodes]
    graph, _, nodes = take_apart(language.graph, language.weights)
    for node in nodes:
        node.attrs["threshold"] = 0.25
    assert set(language.weights) == names and [node.op for node in language.graph.nodes] == operators
    assert set(thresholds(graph).values()) == {0.25}
    assert set(thresholds(with_thresholds(graph, 2.0)).values()) == {0.5}
    assert with_thresholds(graph, 1.0) is graph and set(thresholds(graph).values()) == {0.25}
