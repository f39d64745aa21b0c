"""Channels ordered for pruning: the network stays the same, and blocks keep more of what matters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from edgert.converters.passes.permute_channels import kept_share, permute_channels
from edgert.converters.prune.patterns import BLOCK_4X4, UNSTRUCTURED, parse_pattern
from edgert.graph.execute import run_graph
from edgert.graph.infer import infer_types
from edgert.graph.ir import Graph

Optimized = Callable[..., Graph]


@pytest.fixture
def graph(net: Any, optimized: Optimized) -> Graph:
    """Three layers, the first two with filters of four kinds in a random order."""
    kinds = net.rng.permutation(np.arange(32) % 4)
    x = net.conv("x", 8, 16)
    for inputs in (16, 32):
        alike = 0.05 + (kinds[:, None] == np.arange(inputs)[None] * 4 // inputs)
        w = net.rng.standard_normal((32, inputs, 1, 1)) * alike[:, :, None, None]
        x = net.op("Relu", net.op("Conv", x, net.const(w), kernel_shape=[1, 1]))
    return optimized(net, net.conv(x, 32, 4))


def pruned_layers(graph: Graph) -> dict[str, float]:
    return {node.outputs[0]: 0.5 for node in graph.nodes[1:3]}


def share(graph: Graph, pattern: Any) -> float:
    weights = [graph.constants[node.inputs[1]] for node in graph.nodes[1:3]]
    return float(np.mean([kept_share(np.square(w).reshape(*w.shape[:2], -1), pattern, 0.5) for w in weights]))


@pytest.mark.parametrize("text", ["4x4", "2x4", "1x4", "64x4", "4x1"])
def test_more_is_kept_of_the_same_network(graph: Graph, net: Any, text: str) -> None:
    pattern = parse_pattern(text, BLOCK_4X4)
    ordered = permute_channels(graph, pattern, pruned_layers(graph))
    infer_types(ordered)
    feeds = net.feeds()
    wanted = run_graph(graph, feeds)[graph.outputs[0]]
    found = run_graph(ordered, feeds)[graph.outputs[0]]
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5 * np.abs(wanted).max())
    lost, before = 1 - share(ordered, pattern), 1 - share(graph, pattern)
    assert lost < before * {"4x4": 0.5, "2x4": 0.8, "4x1": 0.5}.get(text, 1.001)


def test_scores_decide(graph: Graph, rng: np.random.Generator) -> None:
    layers = pruned_layers(graph)
    scores = {n.outputs[0]: np.square(graph.constants[n.inputs[1]]) for n in graph.nodes[1:3]}
    one = permute_channels(graph, BLOCK_4X4, layers)
    same = permute_channels(graph, BLOCK_4X4, layers, scores)
    other = permute_channels(graph, BLOCK_4X4, layers, {name: rng.uniform(size=s.shape) for name, s in scores.items()})
    first = [[g.constants[node.inputs[1]] for node in g.nodes] for g in (one, same, other)]
    for a, b in zip(first[0], first[1], strict=True):
        np.testing.assert_array_equal(a, b)
    assert any((a != c).any() for a, c in zip(first[0], first[2], strict=True))


def test_single_weights_need_no_order(graph: Graph) -> None:
    assert permute_channels(graph, UNSTRUCTURED, pruned_layers(graph)) is graph
    assert permute_channels(graph, BLOCK_4X4, {}) is graph
