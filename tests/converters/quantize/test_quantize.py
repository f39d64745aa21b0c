"""A float network becomes an int8 one: which operators, which types, and how near the answers stay."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from edgert.converters.calibrate.collect import collect_ranges
from edgert.converters.calibrate.observers import OBSERVERS, minmax
from edgert.converters.pack import pack_model
from edgert.converters.quantize.insert import weight_scale
from edgert.converters.quantize.post_training import post_training
from edgert.converters.quantize.quantize import quantize_graph
from edgert.converters.report import count_operators, layer_errors
from edgert.format import ModelInfo
from edgert.graph.execute import run_graph
from edgert.graph.infer import infer_types
from edgert.graph.ir import Graph


@pytest.fixture
def quantized(optimized: Callable[..., Graph]) -> Callable[..., tuple[Graph, Graph, list[Any]]]:
    """quantized(net, *outputs): (float graph, int8 graph, samples), min-max over 8 samples."""

    def build(net: Any, *outputs: str) -> tuple[Graph, Graph, list[Any]]:
        graph = optimized(net, *outputs)
        samples = [net.feeds() for _ in range(8)]
        return graph, infer_types(quantize_graph(graph, collect_ranges(graph, samples, minmax))), samples

    return build


def test_mobile_network(mobile: Any, quantized: Any) -> None:
    graph, int8, samples = quantized(*mobile)
    assert count_operators(int8) == {
        "QuantizeLinear": 1, "QLinearConv": 11, "QLinearGlobalAveragePool": 1, "Flatten": 1, "QLinearGemm": 1,
        "DequantizeLinear": 1,
    }  # fmt: skip
    for node in int8.nodes:
        if node.op not in ("QLinearConv", "QLinearGemm"):
            continue
        weight = int8.types[node.inputs[1]]
        assert weight.dtype == "int8"
        assert weight.quant is not None
        assert weight.quant.axis == 0
        assert int8.constants[node.inputs[1]].min() >= -127
        assert int8.types[node.inputs[2]].dtype == "int32"
        bias = int8.types[node.inputs[2]].quant
        x = int8.types[node.inputs[0]].quant
        assert bias is not None
        assert x is not None
        np.testing.assert_allclose(bias.scale, x.scale * weight.quant.scale, rtol=1e-6)
        assert node.outputs[0].endswith("_quantized")
        assert int8.types[node.outputs[0]].dtype == "uint8"
    layers, outputs = layer_errors(graph, int8, samples)
    assert len(layers) == 14
    assert min(error.sqnr_db for error in layers) > 20
    assert outputs[0].sqnr_db > 22
    assert outputs[0].cosine > 0.995


def test_activations_fold_into_ranges(mobile: Any, quantized: Any) -> None:
    """Clip(0, 6) needs no clamp of its own where the range ends at 0 and 6 or before."""
    _, int8, _ = quantized(*mobile)
    clamped = [node for node in int8.nodes if "activation" in node.attrs]
    for node in clamped:
        quant = int8.types[node.outputs[0]].quant
        assert quant is not None
        assert float(quant.scale) * 255 < 6, "the range ends below 6, so rounding may reach beyond it"
    assert len(clamped) < 8


@pytest.mark.parametrize("observer", OBSERVERS)
@pytest.mark.parametrize("equalized", [True, False])
def test_post_training(mobile: Any, optimized: Any, observer: str, equalized: bool) -> None:
    net, y = mobile
    graph = optimized(net, y)
    samples = [net.feeds() for _ in range(16)]
    plain = post_training(graph, samples, observer=observer, equalized=equalized, bias_correction=False)
    corrected = post_training(graph, samples, observer=observer, equalized=equalized)
    before = layer_errors(plain.original, plain.graph, samples)[1][0]
    after = layer_errors(corrected.original, corrected.graph, samples)[1][0]
    assert before.sqnr_db > 18
    assert after.sqnr_db > before.sqnr_db - 0.5


def test_bias_correction_restores_means(mobile: Any, optimized: Any) -> None:
    """Of each channel of the last layer, over the samples it was measured on."""
    net, y = mobile
    graph = optimized(net, y)
    samples = [net.feeds() for _ in range(8)]

    def shift(bias_correction: bool) -> float:
        made = post_training(graph, samples, equalized=False, bias_correction=bias_correction)
        wanted = np.mean([run_graph(made.original, feeds)[y] for feeds in samples], axis=0)
        found = np.mean([run_graph(made.graph, feeds)[y] for feeds in samples], axis=0)
        return float(np.abs(wanted - found).mean())

    assert shift(True) < shift(False)


def test_float_operators_stay_between_borders(net: Any, quantized: Any) -> None:
    net.shape = (1, 8, 6, 6)
    x = net.op("Softmax", net.conv("x", 8, 8, 3), axis=1)
    x = net.conv(x, 8, 8, 3)
    y = net.op("Softmax", net.op("Flatten", net.op("Sin", x)), axis=1)
    _, int8, _ = quantized(net, y)
    assert count_operators(int8) == {
        "QuantizeLinear": 2, "QLinearConv": 2, "DequantizeLinear": 2, "Softmax": 2, "Sin": 1, "Flatten": 1,
    }  # fmt: skip


def test_unary_output_stays_float(net: Any, quantized: Any) -> None:
    _, int8, _ = quantized(net, net.op("Sigmoid", net.conv("x", 8, 4)))
    assert [node.op for node in int8.nodes] == ["QuantizeLinear", "QLinearConv", "DequantizeLinear", "Sigmoid"]


def test_sums_between_normalizations_stay_float(net: Any, quantized: Any) -> None:
    net.shape, net.opset = ("N", 5, 16), 17
    ones, zeros = net.const(np.ones(16)), net.const(np.zeros(16))
    x = net.op("LayerNormalization", "x", ones, zeros)
    y = net.op("MatMul", x, net.const(net.rng.standard_normal((16, 16)) / 4))
    x = net.op("LayerNormalization", net.op("Add", x, y), ones, zeros)
    _, int8, _ = quantized(net, net.op("Add", x, net.op("Sigmoid", x)))
    counts = count_operators(int8)
    assert counts == {
        "LayerNormalization": 2, "QuantizeLinear": 1, "QLinearGemm": 1, "DequantizeLinear": 1, "Add": 2, "Sigmoid": 1,
    }  # fmt: skip


def test_data_moving_operators_share_quantization(net: Any, quantized: Any) -> None:
    x = net.op("Relu", net.conv("x", 8, 8, 3))
    x = net.op("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2])
    x = net.op("Pad", x, net.const([0, 0, 1, 1, 0, 0, 1, 1], np.int64))
    x = net.op("Transpose", net.op("Transpose", x, perm=[0, 2, 3, 1]), perm=[0, 3, 2, 1])
    y = net.conv(x, 8, 4)
    _, int8, _ = quantized(net, y)
    ops = [node.op for node in int8.nodes]
    assert ops == ["QuantizeLinear", "QLinearConv", "MaxPool", "Transpose", "Pad", "QLinearConv", "DequantizeLinear"]
    quants = {int8.types[node.outputs[0]].quant.scale.item() for node in int8.nodes[1:5]}  # type: ignore[union-attr]
    assert len(quants) == 1


def test_branches_concat_and_gates(net: Any, quantized: Any) -> None:
    a, b = net.op("Relu", net.conv("x", 8, 8, 3)), net.conv("x", 8, 8, 1)
    gate = net.op("Sigmoid", net.conv(net.op("GlobalAveragePool", a), 8, 8))
    joined = net.op("Concat", net.op("Mul", a, gate), net.op("Add", a, net.op("Tanh", b)), axis=1)
    y = net.conv(net.op("AveragePool", joined, kernel_shape=[2, 2]), 16, 4)
    graph, int8, samples = quantized(net, y)
    counts = count_operators(int8)
    assert {"QLinearMul", "QLinearAdd", "QLinearConcat", "QLinearUnary", "QLinearAveragePool"} <= set(counts)
    assert counts["QuantizeLinear"] == counts["DequantizeLinear"] == 1
    assert layer_errors(graph, int8, samples)[1][0].sqnr_db > 25


def test_attention_products(net: Any, quantized: Any) -> None:
    net.shape = ("N", 6, 16)

    def dense(x: str, n: int) -> str:
        y = net.op("MatMul", x, net.const(net.rng.standard_normal((16, n)) / 4))
        return net.op("Add", y, net.const(net.rng.standard_normal(n)))

    q, k, v = (dense("x", 16) for _ in range(3))
    scores = net.op("Softmax", net.op("MatMul", q, net.op("Transpose", k, perm=[0, 2, 1])), axis=-1)
    y = dense(net.op("MatMul", scores, v), 16)
    graph, int8, samples = quantized(net, y)
    counts = count_operators(int8)
    assert (counts["QLinearGemm"], counts["QLinearMatMul"], counts["Softmax"]) == (4, 2, 1)
    assert "Add" not in counts
    assert layer_errors(graph, int8, samples)[1][0].sqnr_db > 25


def test_output_read_inside_keeps_its_name(net: Any, quantized: Any) -> None:
    a = net.op("Relu", net.conv("x", 8, 8, 3))
    y = net.conv(a, 8, 4)
    graph, int8, samples = quantized(net, a, y)
    assert int8.outputs == [a, y]
    assert {int8.types[name].dtype for name in int8.outputs} == {"float32"}
    assert min(error.sqnr_db for error in layer_errors(graph, int8, samples)[1]) > 25


def test_dead_channels_leave_room_for_their_bias() -> None:
    weight = np.array([[0.5, -1.0], [0.0, 0.0], [1e-20, 0.0]], np.float32)
    scale = weight_scale(weight, np.array([1.0, 3.0, -2.0], np.float32), 1e-3)
    assert scale[0] == np.float32(1 / 127)
    assert np.abs(np.array([1.0, 3.0, 2.0]) / (1e-3 * scale)).max() < 2**25


def test_packed_layouts(mobile: Any, quantized: Any) -> None:
    graph, int8, _ = quantized(*mobile)

    def layouts(g: Graph) -> set[tuple[str, str, str]]:
        tensors = pack_model(g, ModelInfo(), {}, {}).tensors
        return {
            (node.op, tensors[node.inputs[1]].encoding, tensors[node.inputs[1]].layout)
            for node in g.nodes
            if len(node.inputs) > 1
        }

    assert layouts(int8) == {
        ("QLinearConv", "q8", "n4k4"), ("QLinearConv", "q8", "dw4"), ("QLinearGemm", "q8", "n16k4"),
    }  # fmt: skip
    assert layouts(graph) == {("Conv", "dense", "n4k1"), ("Conv", "dense", "row"), ("Gemm", "dense", "n16k1")}
