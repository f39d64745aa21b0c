"""Quantized ONNX models, QDQ and QOperator, become the same quantized graph with the same integers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edgert.converters.calibrate.collect import collect_ranges
from edgert.converters.calibrate.observers import minmax
from edgert.converters.onnx.exporter import export_onnx
from edgert.converters.onnx.importer import import_onnx
from edgert.converters.passes.absorb_qdq import absorb_qdq
from edgert.converters.passes.pipeline import optimize
from edgert.converters.quantize.quantize import quantize_graph
from edgert.converters.report import count_operators
from edgert.graph.execute import run_graph
from edgert.graph.infer import infer_types
from edgert.graph.ir import Graph, Node, Quantization, TensorType


@pytest.mark.parametrize("form", ["qdq", "qoperator"])
def test_round_trip_through_onnx(mobile: Any, optimized: Any, form: str, tmp_path: Any) -> None:
    net, y = mobile
    graph = optimized(net, y)
    samples = [net.feeds() for _ in range(4)]
    int8 = infer_types(quantize_graph(graph, collect_ranges(graph, samples, minmax)))
    path = tmp_path / "int8.onnx"
    export_onnx(int8, path, form=form)  # type: ignore[arg-type]
    again = optimize(infer_types(optimize(import_onnx(path))))
    assert count_operators(again) == count_operators(int8)
    for feeds in samples:
        np.testing.assert_array_equal(run_graph(again, feeds)[y], run_graph(int8, feeds)[y])


def quant(scale: float, zero: int) -> Quantization:
    return Quantization(np.float32(scale), np.int32(zero))


def bordered(op: str, attrs: dict[str, Any], out: Quantization, extra: tuple[str, ...] = ()) -> Graph:
    """x uint8 -> DequantizeLinear -> op -> QuantizeLinear -> y uint8, all of shape [1, 4, 6, 6]."""
    shape = (1, 4, 6, 6)
    types = {
        "x": TensorType("uint8", shape, quant(0.1, 7)), "a": TensorType("float32", shape),
        "b": TensorType("float32", shape), "y": TensorType("uint8", shape, out),
    }  # fmt: skip
    nodes = [
        Node("DequantizeLinear", ("x",), ("a",)),
        Node(op, ("a", *extra), ("b",), attrs),
        Node("QuantizeLinear", ("b",), ("y",)),
    ]
    return Graph("g", ["x"], ["y"], nodes, types)


def test_movers_work_on_stored_values(rng: np.random.Generator) -> None:
    attrs = {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}
    graph = bordered("MaxPool", attrs, quant(0.1, 7))
    result = absorb_qdq(graph)
    assert [node.op for node in result.nodes] == ["MaxPool"]
    feeds = {"x": rng.integers(0, 256, (1, 4, 6, 6)).astype(np.uint8)}
    np.testing.assert_array_equal(run_graph(result, feeds)["y"], run_graph(graph, feeds)["y"])


def test_a_mover_that_requantizes_keeps_its_pair(rng: np.random.Generator) -> None:
    graph = bordered("MaxPool", {"kernel_shape": [1, 1]}, quant(0.2, 0))
    result = absorb_qdq(graph)
    assert [node.op for node in result.nodes] == ["MaxPool", "DequantizeLinear", "QuantizeLinear"]
    feeds = {"x": rng.integers(0, 256, (1, 4, 6, 6)).astype(np.uint8)}
    np.testing.assert_array_equal(run_graph(result, feeds)["y"], run_graph(graph, feeds)["y"])


@pytest.mark.parametrize("op", ["Sigmoid", "HardSwish", "Gelu", "LeakyRelu"])
def test_unary(op: str, rng: np.random.Generator) -> None:
    attrs = {"alpha": 0.2} if op == "LeakyRelu" else {}
    graph = bordered(op, attrs, quant(0.05, 20))
    result = absorb_qdq(graph)
    assert [(node.op, node.attrs["op"]) for node in result.nodes] == [("QLinearUnary", op)]
    feeds = {"x": rng.integers(0, 256, (1, 4, 6, 6)).astype(np.uint8)}
    np.testing.assert_array_equal(run_graph(result, feeds)["y"], run_graph(graph, feeds)["y"])


def test_pad_fills_with_the_stored_zero(rng: np.random.Generator) -> None:
    graph = bordered("Pad", {}, quant(0.1, 7), ("pads",))
    graph.constants["pads"] = np.array([0, 0, 1, 1, 0, 0, 1, 1], np.int64)
    graph.types |= {"b": TensorType("float32", (1, 4, 8, 8)), "y": TensorType("uint8", (1, 4, 8, 8), quant(0.1, 7))}
    graph.types["pads"] = TensorType("int64", (8,))
    result = absorb_qdq(graph)
    assert [node.op for node in result.nodes] == ["Pad"]
    feeds = {"x": rng.integers(0, 256, (1, 4, 6, 6)).astype(np.uint8)}
    found = run_graph(result, feeds)["y"]
    assert found[0, 0, 0, 0] == 7
    np.testing.assert_array_equal(found, run_graph(graph, feeds)["y"])


@pytest.mark.parametrize("dtype,zero", [("int8", 0), ("int8", 3), ("uint8", 128), ("uint8", 0)])
def test_weights_with_zero_points(dtype: str, zero: int, rng: np.random.Generator) -> None:
    """Taken up where they fit int8 once the zero point is gone; else everything stays as it was."""
    low, high = (-100, 100) if dtype == "int8" else (0, 256)
    w = rng.integers(low, high, (4, 4, 1, 1)).astype(dtype)
    graph = bordered("Conv", {"kernel_shape": [1, 1]}, quant(5.0, 100), ("wf",))
    graph.constants["w"] = w
    graph.types["w"] = TensorType(dtype, w.shape, quant(0.02, zero))
    graph.types["wf"] = TensorType("float32", w.shape)
    graph.nodes.insert(0, Node("DequantizeLinear", ("w",), ("wf",)))
    result = absorb_qdq(graph)
    fits = not (dtype == "uint8" and zero == 0)
    assert ("QLinearConv" in count_operators(result)) == fits
    feeds = {"x": rng.integers(0, 256, (1, 4, 6, 6)).astype(np.uint8)}
    found, wanted = run_graph(result, feeds)["y"], run_graph(graph, feeds)["y"]
    assert np.abs(found.astype(int) - wanted.astype(int)).max() <= 1, "float rounding on one side only"


def test_transposed_stored_weights(rng: np.random.Generator) -> None:
    """DequantizeLinear -> Transpose -> MatMul, as exporters write a linear layer."""
    w = rng.integers(-127, 128, (5, 8)).astype(np.int8)
    per_row = Quantization(rng.uniform(0.01, 0.02, 5).astype(np.float32), np.zeros(5, np.int32), 0)
    f32 = {name: TensorType("float32", shape) for name, shape in (("a", (3, 8)), ("wf", (5, 8)), ("wt", (8, 5)))}
    types = {
        **f32, "x": TensorType("uint8", (3, 8), quant(0.1, 7)), "w": TensorType("int8", (5, 8), per_row),
        "b": TensorType("float32", (3, 5)), "y": TensorType("uint8", (3, 5), quant(1.0, 100)),
    }  # fmt: skip
    nodes = [
        Node("DequantizeLinear", ("x",), ("a",)),
        Node("DequantizeLinear", ("w",), ("wf",), {"axis": 0}),
        Node("Transpose", ("wf",), ("wt",), {"perm": [1, 0]}),
        Node("MatMul", ("a", "wt"), ("b",)),
        Node("QuantizeLinear", ("b",), ("y",)),
    ]
    result = absorb_qdq(Graph("g", ["x"], ["y"], nodes, types, {"w": w}))
    assert [node.op for node in result.nodes] == ["QLinearGemm"]
    np.testing.assert_array_equal(result.constants[result.nodes[0].inputs[1]], w)
