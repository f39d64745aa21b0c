"""Images one pixel wide are laid on their side; the values stay those of ONNX Runtime."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edgert.converters.passes.narrow_images import narrow_images
from edgert.converters.report import count_operators
from edgert.graph.ir import Graph, Node, Quantization, TensorType


def weights(net: Any, filters: int, channels: int, rows: int) -> str:
    return str(net.const(net.rng.standard_normal((filters, channels, rows, 1)) / rows))


def test_a_network_of_sound(net: Any, optimized: Any) -> None:
    """Windows of all kinds, activations and sums between them: two Reshapes are left, at the ends."""
    net.shape = (1, 8, 30, 1)
    x = net.op("Relu", net.op("Conv", "x", weights(net, 16, 8, 5), pads=[2, 0, 1, 0], strides=[2, 3]))
    y = net.op("Conv", x, weights(net, 16, 1, 3), pads=[2, 0, 2, 0], group=16, dilations=[2, 1])
    z = net.op("MaxPool", net.op("Add", x, net.op("Relu", y)), kernel_shape=[2, 1], strides=[2, 1])
    graph = optimized(net, net.op("AveragePool", z, kernel_shape=[3, 1], pads=[1, 0, 0, 0]))
    assert count_operators(graph) == {"Reshape": 2, "Conv": 2, "Add": 1, "MaxPool": 1, "AveragePool": 1}
    strides = [node.attrs.get("strides") for node in graph.nodes if node.op == "Conv"]
    assert strides == [[3, 2], [1, 1]]
    assert {graph.types[node.outputs[0]].shape[2] for node in graph.nodes[1:-1]} == {1}


@pytest.mark.parametrize("shape, kernel", [((1, 4, 6, 2), (3, 1)), ((1, 4, 6, 1), (1, 3)), ((1, 4, 1, 1), (1, 1))])
def test_what_stays(net: Any, optimized: Any, shape: tuple[int, ...], kernel: tuple[int, int]) -> None:
    net.shape = shape
    rows, columns = kernel
    w = net.const(net.rng.standard_normal((4, 4, rows, columns)))
    graph = optimized(net, net.op("Conv", "x", w, pads=[rows // 2, columns // 2] * 2))
    assert count_operators(graph) == {"Conv": 1}


def test_int8() -> None:
    """Scales per filter stay with their filters; equal strides suit depthwise kernels."""
    quant = Quantization(np.float32(0.1), np.uint8(128))
    each = Quantization(np.arange(1, 5, dtype=np.float32), np.zeros(4, np.int8), 0)
    graph = Graph("g", ["x"], ["y"])
    graph.types = {
        "x": TensorType("uint8", (1, 4, 9, 1), quant),
        "y": TensorType("uint8", (1, 4, 4, 1), quant),
    }
    w = graph.add_constant("w", np.arange(12, dtype=np.int8).reshape(4, 1, 3, 1), each)
    graph.nodes = [Node("QLinearConv", ("x", w), ("y",), {"group": 4, "strides": [2, 1]}, "conv")]
    down, conv, up = narrow_images(graph).nodes
    assert (down.op, up.op, conv.attrs) == ("Transpose", "Transpose", {"group": 4, "strides": [2, 2]})
    made = narrow_images(graph)
    assert made.constants[conv.inputs[1]].shape == (4, 1, 1, 3)
    assert made.types[conv.inputs[1]].quant == each
    assert made.types[conv.outputs[0]] == TensorType("uint8", (1, 4, 1, 4), quant)
