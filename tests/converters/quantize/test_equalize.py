"""Equalization leaves the function alone, makes ranges equal, and stops at a Clip."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgert.converters.quantize.equalize import equalize
from edgert.graph.execute import run_graph
from edgert.graph.ir import Graph


def stretch(graph: Graph, rng: np.random.Generator) -> None:
    """Unequal channels in the first convolution, as training with batch norm leaves them."""
    for i in (1, 2):
        name = graph.nodes[0].inputs[i]
        factors = 10.0 ** rng.uniform(-2, 2, len(graph.constants[name]))
        if i == 1:
            scale = factors.astype(np.float32)
        value = graph.constants[name]
        graph.constants[name] = value * scale.reshape(-1, *(1,) * (value.ndim - 1))


def test_chain_of_convolutions(net: Any, optimized: Any, rng: np.random.Generator) -> None:
    x = net.op("Relu", net.conv("x", 8, 12, 3, bias=True))
    x = net.op("Relu", net.conv(x, 12, 12, 3, group=12, bias=True))
    x = net.op("MaxPool", net.conv(x, 12, 12, group=3), kernel_shape=[2, 2])
    graph = optimized(net, net.conv(x, 12, 4))
    stretch(graph, rng)
    before = {name: value.copy() for name, value in graph.constants.items()}
    result = equalize(graph)
    for name, value in before.items():
        np.testing.assert_array_equal(graph.constants[name], value)
    feeds = net.feeds()
    wanted, found = run_graph(graph, feeds), run_graph(result, feeds)
    for name, value in wanted.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-4, atol=1e-4 * np.abs(value).max())

    def spread(g: Graph) -> float:
        """Largest over smallest range of the outputs of the first convolution."""
        ranges = np.abs(g.constants[g.nodes[0].inputs[1]]).max(axis=(1, 2, 3))
        return float(ranges.max() / ranges.min())

    assert spread(result) < spread(graph) / 10
    first, second = (result.constants[result.nodes[i].inputs[1]] for i in (0, 1))
    np.testing.assert_allclose(np.abs(first).max(axis=(1, 2, 3)), np.abs(second).max(axis=(1, 2, 3)), rtol=0.05)


def test_clip_and_branches_are_left_alone(net: Any, optimized: Any) -> None:
    a = net.relu6(net.conv("x", 8, 8, 3))
    b = net.conv(a, 8, 8, 3)
    c = net.op("Sigmoid", b)
    graph = optimized(net, net.op("Add", net.conv(b, 8, 8), c))
    result = equalize(graph)
    assert [node.inputs for node in result.nodes] == [node.inputs for node in graph.nodes]
