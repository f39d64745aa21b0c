"""ConvTranspose as convolutions and an interleaving: the same values, whatever its stride, pads and groups."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest

from edgert.converters.passes.split_conv_transpose import split_conv_transpose
from edgert.graph.execute import run_graph
from edgert.graph.infer import infer_types
from edgert.graph.ir import Dim, Graph, Node, TensorType


def graph_of(shape: tuple[Dim, ...], filters: int, kernel: tuple[int, ...], group: int = 1, **attrs: Any) -> Graph:
    rng = np.random.default_rng(0)
    channels = int(shape[1])
    graph = Graph(inputs=["x"], outputs=["y"], types={"x": TensorType("float32", shape)})
    weights = rng.standard_normal((channels, filters // group, *kernel)).astype(np.float32)
    inputs = ("x", graph.add_constant("w", weights), graph.add_constant("b", np.arange(filters, dtype=np.float32)))
    graph.nodes = [Node("ConvTranspose", inputs, ("y",), {**attrs, "group": group}, "up")]
    return infer_types(graph)


def same(graph: Graph, shape: tuple[int, ...]) -> Graph:
    split = split_conv_transpose(graph)
    x = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
    np.testing.assert_allclose(run_graph(split, {"x": x})["y"], run_graph(graph, {"x": x})["y"], rtol=1e-4, atol=1e-5)
    assert "ConvTranspose" not in {node.op for node in split.nodes}
    assert infer_types(split).types["y"] == graph.types["y"]
    return split


CASES: list[tuple[tuple[int, ...], dict[str, Any]]] = [
    ((2, 2), {"strides": [2, 2]}),
    ((4, 4), {"strides": [2, 2], "pads": [1, 1, 1, 1]}),
    ((3, 3), {"strides": [2, 2], "pads": [1, 1, 1, 1], "output_padding": [1, 1]}),
    ((3, 3), {"strides": [2, 2], "pads": [0, 1, 1, 0]}),
    ((3, 3), {"strides": [2, 2], "auto_pad": "SAME_UPPER"}),
    ((5, 5), {"strides": [2, 2], "auto_pad": "SAME_LOWER"}),
    ((3, 3), {"strides": [2, 2], "output_shape": [12, 12]}),
    ((3, 3), {}), ((3, 2), {"pads": [2, 1, 0, 0], "dilations": [2, 1]}),
    ((3, 3), {"strides": [2, 2], "dilations": [3, 3]}), ((4, 4), {"strides": [4, 4]}),
    ((8, 8), {"strides": [4, 4], "pads": [2, 2, 2, 2]}), ((4, 3), {"strides": [2, 1], "pads": [1, 1, 1, 1]}),
]  # fmt: skip


@pytest.mark.parametrize(("kernel", "attrs"), CASES)
@pytest.mark.parametrize(("filters", "group"), [(3, 1), (8, 4)])
def test_the_same_values(kernel: tuple[int, ...], attrs: dict[str, Any], filters: int, group: int) -> None:
    same(graph_of((2, 4, 5, 6), filters, kernel, group, **attrs), (2, 4, 5, 6))


@pytest.mark.parametrize("attrs", [{"strides": [3]}, {"strides": [2], "pads": [1, 1]}, {}])
def test_one_axis(attrs: dict[str, Any]) -> None:
    same(graph_of((2, 4, 7), 3, (5,), **attrs), (2, 4, 7))


def test_named_sizes() -> None:
    same(graph_of(("N", 4, "H", "W"), 3, (4, 4), strides=[2, 2], pads=[1, 1, 1, 1]), (1, 4, 5, 7))
    graph = graph_of(("N", 4, "T"), 3, (5,), strides=[3])  # what is cut off changes how the size is written
    assert [node.op for node in split_conv_transpose(graph).nodes] == ["ConvTranspose"]


def test_a_kernel_as_large_as_the_stride_is_one_conv() -> None:
    split = same(graph_of((1, 4, 5, 6), 3, (2, 2), strides=[2, 2], activation="Relu"), (1, 4, 5, 6))
    assert Counter(node.op for node in split.nodes) == {"Conv": 1, "DepthToSpace": 1}
    assert split.nodes[0].attr_str("activation", "") == "Relu"


@pytest.mark.parametrize(("kernel", "attrs"), [
    ((1, 1), {"strides": [2, 2]}), ((2, 2), {"strides": [2, 2], "pads": [1, 1, 0, 0]}),
    ((5, 5), {"strides": [5, 5], "group": 4}),
])  # fmt: skip
def test_left_as_it_is(kernel: tuple[int, ...], attrs: dict[str, Any]) -> None:
    """Where a phase sees no input, begins behind the first, or phases are too many."""
    graph = graph_of((1, 4, 5, 6), 4, kernel, **attrs)
    assert [node.op for node in split_conv_transpose(graph).nodes] == ["ConvTranspose"]
