"""No-ops and duplicates go, outputs keep their names, and dead nodes take their constants along."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgert.converters.passes.deduplicate import deduplicate
from edgert.converters.passes.eliminate import eliminate
from edgert.converters.report import count_operators
from edgert.graph.ir import Graph, Node, Quantization, TensorType


def test_no_ops_go(net: Any, optimized: Any) -> None:
    x = net.op("Identity", net.op("Relu", "x"))
    x = net.op("Dropout", x)
    x = net.op("Reshape", x, net.const([1, 8, 10, 10], np.int64))
    x = net.op("Pad", x, net.const([0] * 8, np.int64))
    x = net.op("Transpose", net.op("Transpose", x, perm=[0, 2, 3, 1]), perm=[0, 3, 1, 2])
    x = net.op("Cast", x, to=1)
    x = net.op("Add", net.op("Mul", x, net.const(1.0)), net.const(0.0))
    y = net.op("Sigmoid", net.op("Concat", x, axis=1))
    assert count_operators(optimized(net, y)) == {"Relu": 1, "Sigmoid": 1}


def test_broadcasting_by_a_neutral_constant_is_no_no_op(net: Any, optimized: Any) -> None:
    y = net.op("Add", net.op("ReduceMax", "x", axes=[2, 3]), net.const(np.zeros((1, 8, 5, 5))))
    assert "Add" in count_operators(optimized(net, y))


def test_outputs_keep_their_names(net: Any, optimized: Any) -> None:
    a = net.op("Relu", "x")
    b, c = net.op("Identity", a), net.op("Identity", "x")
    graph = optimized(net, b, c)
    assert graph.outputs == [b, c]
    assert count_operators(graph) == {"Relu": 1, "Identity": 1}


def test_reshapes_and_transposes_merge(net: Any, optimized: Any) -> None:
    x = net.op("Reshape", net.op("Flatten", "x"), net.const([2, 40, 10], np.int64))
    y = net.op("Transpose", net.op("Transpose", x, perm=[1, 2, 0]), perm=[0, 2, 1])
    graph = optimized(net, y)
    assert count_operators(graph) == {"Reshape": 1, "Transpose": 1}


def test_equal_nodes_are_computed_once(net: Any, optimized: Any) -> None:
    halves = [net.op("Mul", net.op("Sigmoid", "x"), net.const(0.5)) for _ in range(2)]
    assert count_operators(optimized(net, net.op("Sub", *halves))) == {"Sigmoid": 1, "Mul": 1, "Sub": 1}


def test_unequal_quantizations_are_not_equal() -> None:
    def quantized(scale: float) -> TensorType:
        return TensorType("uint8", (4,), Quantization(np.float32(scale), np.int32(0)))

    graph = Graph(
        "g", ["x"], ["y"],
        [
            Node("QuantizeLinear", ("x",), ("a",)), Node("QuantizeLinear", ("x",), ("b",)),
            Node("QuantizeLinear", ("x",), ("c",)), Node("QLinearConcat", ("a", "b", "c"), ("y",), {"axis": 0}),
        ],
        {"x": TensorType("float32", (4,)), "a": quantized(1), "b": quantized(2), "c": quantized(1)},
    )  # fmt: skip
    result = deduplicate(graph)
    assert result.nodes[-1].inputs == ("a", "b", "a")
    assert graph.nodes[-1].inputs == ("a", "b", "c"), "passes leave their input as it is"


def test_dead_nodes_go_with_their_constants() -> None:
    kind = TensorType("float32", (2,))
    graph = Graph(
        "g", ["x"], ["y"],
        [Node("Add", ("x", "k"), ("dead",)), Node("Relu", ("x",), ("y",))],
        {"x": kind, "y": kind, "k": kind, "dead": kind}, {"k": np.zeros(2, np.float32)},
    )  # fmt: skip
    result = eliminate(graph)
    assert [node.op for node in result.nodes] == ["Relu"]
    assert not result.constants
    assert set(result.types) == {"x", "y"}
