"""Long names become short and stay different; everything that names a tensor follows."""

from __future__ import annotations

import numpy as np

from edgert.converters.passes.shorten_names import LONGEST, shorten_names
from edgert.graph.execute import run_graph
from edgert.graph.ir import Graph, Node, TensorType


def test_long_names() -> None:
    long = "fused;" * 60
    graph = Graph("g", ["x"], ["y"], types={"x": TensorType("float32", (2,))})
    graph.states, graph.initial = {"x": "y"}, {"x": np.zeros(2, np.float32)}
    weight = graph.add_constant(f"{long}1;{long}", np.array([2, 3], np.float32))
    nodes = [
        Node("Mul", ("x", weight), (f"{long}2;{long}",), {}, long),
        Node("Neg", (f"{long}2;{long}",), ("y",), {}, "n"),
    ]
    graph.nodes = nodes
    short = shorten_names(graph)
    names = {name for node in short.nodes for name in (*node.inputs, *node.outputs)}
    assert max(len(name) for name in (*names, *(node.name for node in short.nodes))) <= LONGEST
    assert len(names) == 4, "two that begin and end alike stay two"
    x = np.array([5, 7], np.float32)
    np.testing.assert_array_equal(run_graph(short, {"x": x})["y"], [-10, -21])
    assert graph.nodes == nodes and nodes[0].name == long
