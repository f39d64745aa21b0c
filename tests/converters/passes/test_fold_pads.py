"""Zeros around an input go into the operator that reads them; the values stay those of ONNX Runtime."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edgert.converters.passes.fold_pads import fold_pads
from edgert.converters.report import count_operators
from edgert.graph.execute import run_graph
from edgert.graph.infer import infer_types
from edgert.graph.ir import Graph, Node, Quantization, TensorType


def pads(net: Any, *values: int) -> str:
    return str(net.const(values, np.int64))


@pytest.mark.parametrize("sizes", [(1, 1, 1, 1), (0, 1, 0, 1), (2, 0, 1, 2)])
def test_pad_before_conv(net: Any, optimized: Any, sizes: tuple[int, ...]) -> None:
    top, left, bottom, right = sizes
    x = net.op("Pad", "x", pads(net, 0, 0, top, left, 0, 0, bottom, right))
    y = net.conv(x, 8, 4, k=3, pads=[0, 0, 0, 0], strides=[2, 2])
    graph = optimized(net, y)
    assert count_operators(graph) == {"Conv": 1}


def test_pad_before_average_pool(net: Any, optimized: Any) -> None:
    x = net.op("Pad", "x", pads(net, 0, 0, 1, 0, 0, 0, 0, 1))
    graph = optimized(net, net.op("AveragePool", x, kernel_shape=[2, 2]))
    assert count_operators(graph) == {"AveragePool": 1}


@pytest.mark.parametrize(
    ("sizes", "attrs", "fill"),
    [
        ((0, 0, 3, 0, 0, 0, 0, 0), {}, 0.0),
        ((0, 0, 1, 1, 0, 0, 1, 1), {"mode": "reflect"}, 0.0),
        ((0, 0, 1, 1, 0, 0, 1, 1), {}, 1.0),
        ((0, 0, -1, 0, 0, 0, 1, 0), {}, 0.0),
    ],
)
def test_what_stays(net: Any, optimized: Any, sizes: tuple[int, ...], attrs: dict[str, Any], fill: float) -> None:
    x = net.op("Pad", "x", pads(net, *sizes), net.const(fill), **attrs)
    assert count_operators(optimized(net, net.conv(x, 8, 4, k=3, pads=[0, 0, 0, 0])))["Pad"] == 1


def test_pad_behind_reshape() -> None:
    rng = np.random.default_rng(0)
    graph = Graph("g", ["x"], ["y"], types={"x": TensorType("float32", ("N", 3, 20))})
    sizes = graph.add_constant("sizes", np.array([0, 0, 2, 0, 0, 1], np.int64))
    axes = graph.add_constant("axes", np.array([2], np.int64))
    weight = graph.add_constant("w", rng.standard_normal((4, 3, 1, 5)).astype(np.float32))
    graph.nodes = [
        Node("Pad", ("x", sizes), ("p",), {}, "p"),
        Node("Unsqueeze", ("p", axes), ("u",), {}, "u"),
        Node("Conv", ("u", weight), ("y",), {"pads": [0, 1, 0, 1]}, "y"),
    ]
    typed = infer_types(graph)
    folded = fold_pads(typed)
    assert [node.op for node in folded.nodes] == ["Reshape", "Conv"]
    assert folded.nodes[-1].attrs["pads"] == [0, 3, 0, 2]
    x = rng.standard_normal((2, 3, 20)).astype(np.float32)
    np.testing.assert_array_equal(run_graph(folded, {"x": x})["y"], run_graph(typed, {"x": x})["y"])


def test_the_zero_of_a_quantized_tensor_is_its_zero_point() -> None:
    quant = Quantization(np.float32(0.5), np.int32(3))
    graph = Graph("g", ["x"], ["y"], types={"x": TensorType("uint8", (1, 1, 6, 6), quant)})
    graph.types["p"] = TensorType("uint8", (1, 1, 8, 8), quant)
    graph.types["y"] = TensorType("uint8", (1, 1, 6, 6), quant)
    sizes = graph.add_constant("sizes", np.array([0, 0, 1, 1, 0, 0, 1, 1], np.int64))
    weight = Quantization(np.float32(1.0), np.int32(0))
    graph.add_constant("w", np.ones((1, 1, 3, 3), np.int8), weight)
    for fill, left in ((3, 0), (0, 1)):
        value = graph.add_constant("fill", np.array(fill, np.uint8), quant)
        graph.nodes = [
            Node("Pad", ("x", sizes, value), ("p",), {}, "p"),
            Node("QLinearConv", ("p", "w"), ("y",), {}, "y"),
        ]
        assert count_operators(fold_pads(graph)).get("Pad", 0) == left
