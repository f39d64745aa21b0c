"""Quantized models: scales move into types, int8 activations become uint8, answers stay those of ONNX Runtime."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import helper

from edgert.converters.onnx.importer import check_onnx, import_onnx
from edgert.graph.ir import Graph

MS = "com.microsoft"
Save, Agree = Callable[..., Path], Callable[..., Graph]


def n(op: str, inputs: str, outputs: str = "y", domain: str = "", **attrs: Any) -> Any:
    names = [name.replace("-", "") for name in inputs.split()]
    return helper.make_node(op, names, outputs.split(), domain=domain, **attrs)


def params(kind: str, **pairs: tuple[float, int]) -> dict[str, np.ndarray]:
    """Constants `<name>s`, `<name>z` of each named tensor."""
    table: dict[str, np.ndarray] = {}
    for name, (scale, zero) in pairs.items():
        table[f"{name}s"], table[f"{name}z"] = np.array(scale, np.float32), np.array(zero, kind)
    return table


def image(*shape: int) -> dict[str, np.ndarray]:
    return {"x": np.random.default_rng(1).normal(size=shape).astype(np.float32)}


def bytes_of(kind: str, *shape: int, seed: int = 2) -> np.ndarray:
    limits = np.iinfo(kind)
    return np.random.default_rng(seed).integers(limits.min, limits.max + 1, shape).astype(kind)


Q = n("QuantizeLinear", "x xs xz", "q")
DQ = n("DequantizeLinear", "r rs rz", "y")
ZERO = {"int8": 3, "uint8": 131}


def around(kind: str) -> dict[str, np.ndarray]:
    return params(kind, x=(0.03, ZERO[kind]), r=(0.05, ZERO[kind] - 10))


@pytest.mark.parametrize("kind", ["uint8", "int8"])
@pytest.mark.parametrize("channels", [True, False])
def test_qlinear_conv(save: Save, agree: Agree, kind: str, channels: bool) -> None:
    scale = np.array([0.01, 0.02, 0.005], np.float32) if channels else np.array(0.01, np.float32)
    constants = around(kind) | {
        "w": bytes_of("int8", 3, 4, 3, 3), "ws": scale, "wz": np.zeros(scale.shape, np.int8),
        "b": np.array([100, -200, 300], np.int32),
    }  # fmt: skip
    nodes = [Q, n("QLinearConv", "q xs xz w ws wz rs rz b", "r", pads=[1, 1, 1, 1]), DQ]
    feeds = image(1, 4, 6, 5)
    graph = agree(save(nodes, feeds, ["y"], constants, 13), feeds, step=0.05)
    assert [node.op for node in graph.nodes] == ["QuantizeLinear", "QLinearConv", "DequantizeLinear"]
    q, w, b = (graph.types[name] for name in graph.nodes[1].inputs)
    assert q.dtype == "uint8" and q.quant is not None and q.quant.zero_point == 131
    assert w.dtype == "int8" and w.quant is not None and w.quant.axis == 0 and w.quant.scale.shape == (3,)
    assert not w.quant.zero_point.any()
    assert b.dtype == "int32" and b.quant is not None
    np.testing.assert_allclose(b.quant.scale, np.broadcast_to(scale * np.float32(0.03), 3), rtol=1e-6)


@pytest.mark.parametrize(
    ("zero", "low", "high", "exact"), [(128, 0, 256, True), (100, 0, 200, True), (30, 0, 256, False)]
)
def test_uint8_weights_are_shifted_when_that_is_exact(
    save: Save, agree: Agree, zero: int, low: int, high: int, exact: bool
) -> None:
    weights = np.random.default_rng(3).integers(low, high, (2, 4, 1, 1)).astype(np.uint8)
    weights.flat[:2] = low, high - 1
    constants = params("uint8", x=(0.03, 128), r=(0.2, 120), w=(0.02, zero)) | {"w": weights}
    nodes = [Q, n("QLinearConv", "q xs xz w ws wz rs rz", "r"), DQ]
    feeds = image(1, 4, 5, 5)
    path = save(nodes, feeds, ["y"], constants, 13)
    graph = agree(path, feeds, step=0.2)
    assert ("QLinearConv" in [node.op for node in graph.nodes]) is exact
    report: dict[str, Any] = {}
    import_onnx(path, report=report)
    assert bool(report["notes"]) is not exact and report["operators"]["QLinearConv"] == 1


@pytest.mark.parametrize("kind", ["uint8", "int8"])
def test_layout_operators_stay_on_stored_values(save: Save, agree: Agree, kind: str) -> None:
    nodes = [
        Q,
        n("MaxPool", "q", "m", kernel_shape=[2, 2], strides=[2, 2]),
        n("Pad", "m p", "d"),
        n("Transpose", "d", "t", perm=[0, 2, 3, 1]),
        n("Concat", "t t", "c", axis=0),
        n("Reshape", "c s", "f"),
        n("DequantizeLinear", "f xs xz", "y"),
    ]
    constants = around(kind) | {"p": np.array([0, 0, 1, 0, 0, 0, 0, 1]), "s": np.array([2, -1])}
    feeds = image(1, 4, 6, 6)
    graph = agree(save(nodes, feeds, ["y"], constants, 13), feeds)
    for node in graph.nodes[:-1]:
        kind_out = graph.types[node.outputs[0]]
        assert kind_out.dtype == "uint8" and kind_out.quant is not None and kind_out.quant.zero_point == 131, node


def test_int8_at_the_border_of_the_model_stays_int8(save: Save, agree: Agree) -> None:
    constants = params("int8", x=(0.03, 3), r=(0.05, -7)) | {
        "w": bytes_of("int8", 3, 4, 1, 1), "ws": np.array(0.01, np.float32), "wz": np.array(0, np.int8),
    }  # fmt: skip
    nodes = [n("QLinearConv", "x xs xz w ws wz rs rz", "r"), n("MaxPool", "r", "y", kernel_shape=[2, 2])]
    feeds = {"x": bytes_of("int8", 1, 4, 5, 5)}
    graph = agree(save(nodes, feeds, [("y", "int8")], constants, 13), feeds, step=1)
    assert graph.types["x"].dtype == "int8" and graph.types["y"].dtype == "int8"


def test_quantization_is_carried_back_to_inputs(save: Save, agree: Agree) -> None:
    nodes = [n("MaxPool", "x", "m", kernel_shape=[2, 2]), n("DequantizeLinear", "m xs xz", "y")]
    feeds = {"x": bytes_of("uint8", 1, 2, 4, 4)}
    graph = agree(save(nodes, feeds, ["y"], params("uint8", x=(0.5, 9)), 13), feeds)
    assert graph.types["x"].quant == graph.types["m"].quant and graph.types["x"].quant is not None


def test_weights_quantized_in_the_graph_are_constants(save: Save, agree: Agree) -> None:
    nodes = [
        n("QuantizeLinear", "w ws wz", "wq", axis=0),
        n("DequantizeLinear", "wq ws wz", "wd", axis=0),
        n("Conv", "x wd", "y"),
    ]
    constants = {
        "w": np.random.default_rng(4).normal(size=(3, 2, 1, 1)).astype(np.float32),
        "ws": np.array([0.01, 0.02, 0.03], np.float32), "wz": np.zeros(3, np.int8),
    }  # fmt: skip
    feeds = image(1, 2, 3, 3)
    graph = agree(save(nodes, feeds, ["y"], constants, 13), feeds)
    assert [node.op for node in graph.nodes] == ["DequantizeLinear", "Conv"]
    kind = graph.types[graph.nodes[0].inputs[0]]
    assert kind.dtype == "int8" and kind.quant is not None and kind.quant.axis == 0


def test_matmul_with_constant_matrix_is_a_gemm(save: Save, agree: Agree) -> None:
    nodes = [Q, n("QLinearMatMul", "q xs xz w ws wz rs rz", "r"), DQ]
    constants = around("uint8") | {
        "w": bytes_of("int8", 6, 3), "ws": np.array([0.01, 0.02, 0.005], np.float32), "wz": np.zeros(3, np.int8),
    }  # fmt: skip
    feeds = image(4, 6)
    graph = agree(save(nodes, feeds, ["y"], constants, 13), feeds, step=0.05)
    assert graph.nodes[1].op == "QLinearGemm" and graph.types[graph.nodes[1].inputs[1]].shape == (3, 6)


def test_matmul_of_activations_and_stacks(save: Save, agree: Agree) -> None:
    nodes = [
        Q, n("Transpose", "q", "t", perm=[0, 2, 1]), n("QLinearMatMul", "q xs xz t xs xz rs rz", "r"),
        n("QLinearMatMul", "r rs rz w ws wz xs xz", "v"), n("DequantizeLinear", "v xs xz"),
    ]  # fmt: skip
    constants = around("int8") | params("int8", w=(0.02, 5)) | {"w": bytes_of("int8", 3, 2)}
    feeds = image(2, 3, 4)
    graph = agree(save(nodes, feeds, ["y"], constants, 13), feeds, step=0.03)
    assert [node.op for node in graph.nodes].count("QLinearMatMul") == 2


def microsoft() -> dict[str, tuple[list[Any], str]]:
    """name -> nodes between q and r (scale r), operator expected."""
    return {
        "QLinearAdd": ([n("QLinearAdd", "q xs xz q xs xz rs rz", "r", MS)], "QLinearAdd"),
        "QLinearAdd_constant": ([n("QLinearAdd", "q xs xz k ks kz rs rz", "r", MS)], "QLinearAdd"),
        "QLinearMul": ([n("QLinearMul", "q xs xz k ks kz rs rz", "r", MS)], "QLinearMul"),
        "QLinearConcat": ([n("QLinearConcat", "rs rz q xs xz q xs xz", "r", MS, axis=1)], "QLinearConcat"),
        "QLinearGlobalAveragePool": (
            [n("QLinearGlobalAveragePool", "q xs xz rs rz", "r", MS)], "QLinearGlobalAveragePool",
        ),
        "QLinearAveragePool": (
            [n("QLinearAveragePool", "q xs xz rs rz", "r", MS, kernel_shape=[3, 3], pads=[1, 1, 1, 1])],
            "QLinearAveragePool",
        ),
        "QLinearSigmoid": ([n("QLinearSigmoid", "q xs xz rs rz", "r", MS)], "QLinearUnary"),
        "QLinearLeakyRelu": ([n("QLinearLeakyRelu", "q xs xz rs rz", "r", MS, alpha=0.2)], "QLinearUnary"),
        "QLinearSoftmax": ([n("QLinearSoftmax", "q xs xz rs rz", "r", MS, axis=-1, opset=13)], "Softmax"),
    }  # fmt: skip


@pytest.mark.parametrize("kind", ["uint8", "int8"])
@pytest.mark.parametrize("name", microsoft())
def test_microsoft_operators(save: Save, agree: Agree, name: str, kind: str) -> None:
    nodes, op = microsoft()[name]
    constants = around(kind) | params(kind, k=(0.02, ZERO[kind])) | {"k": bytes_of(kind, 1, 4, 1, 1)}
    if "Sigmoid" in name or "Softmax" in name:
        constants |= params(kind, r=(1 / 256, np.iinfo(kind).min))
    feeds = image(1, 4, 6, 5)
    graph = agree(save([Q, *nodes, DQ], feeds, ["y"], constants, 13), feeds, step=0.05)
    assert op in [node.op for node in graph.nodes]


@pytest.mark.parametrize("trans_b", [0, 1])
@pytest.mark.parametrize("quantized", [True, False])
def test_qgemm(save: Save, agree: Agree, trans_b: int, quantized: bool) -> None:
    weights = bytes_of("int8", 6, 3)
    constants = around("uint8") | {
        "w": weights.T.copy() if trans_b else weights, "ws": np.array([0.01, 0.02, 0.005], np.float32),
        "wz": np.zeros(3, np.int8), "b": np.array([10, -20, 30], np.int32),
    }  # fmt: skip
    tail = "rs rz" if quantized else ""
    gemm = n("QGemm", f"q xs xz w ws wz b {tail}", "r" if quantized else "y", MS, transB=trans_b)
    feeds = image(4, 6)
    path = save([Q, gemm, DQ] if quantized else [Q, gemm], feeds, ["y"], constants, 13)
    graph = agree(path, feeds, step=0.05 if quantized else 0.0)
    assert ("QLinearGemm" in [node.op for node in graph.nodes]) is quantized


def test_blocked_weights_are_widened(save: Save, agree: Agree) -> None:
    nodes = [n("DequantizeLinear", "w ws", "wd", axis=0, block_size=4), n("MatMul", "x wd")]
    constants = {
        "w": bytes_of("int8", 6, 3), "ws": np.array([[0.1, 0.2, 0.3], [0.4, 0.5, 0.6]], np.float32),
    }  # fmt: skip
    feeds = image(2, 6)
    graph = agree(save(nodes, feeds, ["y"], constants, 21), feeds)
    assert [node.op for node in graph.nodes] == ["MatMul"]


def test_dynamic_quantization_passes_through(save: Save, agree: Agree) -> None:
    nodes = [
        n("DynamicQuantizeLinear", "x", "q s z"), n("MatMulInteger", "q w z wz", "i"),
        n("Cast", "i", "f", to=1), n("Mul", "s ws", "k"), n("Mul", "f k"),
    ]  # fmt: skip
    constants = {"w": bytes_of("int8", 6, 3), "ws": np.array(0.01, np.float32), "wz": np.array(0, np.int8)}
    feeds = image(4, 6)
    graph = agree(save(nodes, feeds, ["y"], constants, 13), feeds, rtol=1e-4)
    assert graph.types["w"].quant is None


@pytest.mark.parametrize(
    ("nodes", "attribute", "text"),
    [
        ([n("QuantizeLinear", "x zero xz", "q"), n("DequantizeLinear", "q zero xz")], "", "above 0"),
        ([Q, n("DequantizeLinear", "q rs rz")], "", "another scale"),
    ],
)
def test_refusals(save: Save, nodes: list[Any], attribute: str, text: str) -> None:
    more = {"zero": np.array(0, np.float32)}
    problems = check_onnx(save(nodes, image(2, 3), ["y"], around("uint8") | more, 21))
    assert problems and problems[0].attribute == attribute and text in problems[0].advice
