"""ONNX Runtime's own operators of dynamic quantization and of older exports, against ONNX Runtime."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import helper

from edgert.converters.onnx.importer import import_onnx
from edgert.converters.passes.pipeline import optimize
from edgert.converters.report import count_operators
from edgert.graph.execute import run_graph
from edgert.graph.infer import infer_types

MS = "com.microsoft"
RNG = np.random.default_rng(0)


def real(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def bytes_(*shape: int, dtype: str = "uint8") -> np.ndarray:
    info = np.iinfo(dtype)
    return RNG.integers(info.min, info.max + 1, shape).astype(dtype)


SCALES = {"s": np.float32(0.02), "z": np.uint8(120), "t": np.float32(0.04), "u": np.uint8(90)}
CASES: dict[str, tuple[str, str, dict[str, Any], dict[str, np.ndarray], dict[str, Any]]] = {
    "Trilu": ("Trilu", "x", {"upper": 0}, {"x": real(4, 4)}, {}),
    "GridSample": ("GridSample", "x g", {"mode": "bilinear", "padding_mode": "border"},
                   {"x": real(1, 2, 4, 5), "g": RNG.uniform(-1.2, 1.2, (1, 3, 3, 2)).astype(np.float32)}, {}),
    "NhwcMaxPool": ("NhwcMaxPool", "x", {"kernel_shape": [2, 2], "strides": [2, 2]}, {"x": bytes_(1, 6, 6, 3)}, {}),
    "QLinearWhere": ("QLinearWhere", "c x s z k t u s z", {}, {"c": RNG.random((3, 4)) < 0.5, "x": bytes_(3, 4)},
                     {**SCALES, "k": bytes_(3, 4)}),
    "FusedMatMul": ("FusedMatMul", "x k", {"transA": 1, "transBatchA": 1, "transB": 1, "alpha": 0.5},
                    {"x": real(4, 2, 3), "k": real(2, 5, 4)}, {}),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_as_onnxruntime(case: str, save: Callable[..., Path], peer: Callable[..., list[np.ndarray]]) -> None:
    op, inputs, attrs, feeds, constants = CASES[case]
    dtype = "uint8" if "x" in feeds and feeds["x"].dtype == np.uint8 else "float32"
    node = helper.make_node(op, inputs.split(), ["y"], "node", domain=MS, **attrs)
    given = {name: np.asarray(value) for name, value in constants.items()}
    path = save([node], feeds, [("y", dtype)], constants=given)
    (wanted,) = peer(path, feeds)
    found = run_graph(import_onnx(path), feeds)["y"]
    assert found.dtype == wanted.dtype and found.shape == wanted.shape
    gap = np.abs(found.astype(np.float64) - wanted).max()
    assert gap <= (1 if dtype == "uint8" else 1e-5)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("per_column", [False, True])
def test_dynamic_products(
    bias: bool, per_column: bool, save: Callable[..., Path], peer: Callable[..., list[np.ndarray]]
) -> None:
    """DynamicQuantizeMatMul, and the same with MatMulIntegerToFloat: products that do not round what they are given."""
    scale = RNG.uniform(0.01, 0.02, 6).astype(np.float32) if per_column else np.float32(0.01)
    zero = np.zeros(np.shape(scale), np.int8)
    constants = {"w": bytes_(8, 6, dtype="int8"), "ws": np.asarray(scale), "wz": np.asarray(zero), "b": real(6)}
    feeds = {"x": real(2, 5, 8)}
    whole = "x w ws wz" + " b" * bias
    parts = "xq w xs ws xz wz" + " b" * bias
    nodes = [
        helper.make_node("DynamicQuantizeMatMul", whole.split(), ["y"], "whole", domain=MS),
        helper.make_node("DynamicQuantizeLinear", ["x"], ["xq", "xs", "xz"], "quantize"),
        helper.make_node("MatMulIntegerToFloat", parts.split(), ["z"], "parts", domain=MS),
    ]
    path = save(nodes, feeds, ["y", "z"], constants=constants)
    graph = optimize(infer_types(optimize(import_onnx(path))))
    assert {"MatMulInteger", "DynamicQuantizeLinear"}.isdisjoint(count_operators(graph))
    found = run_graph(graph, feeds)
    exact = feeds["x"] @ (constants["w"] * constants["ws"]) + (constants["b"] if bias else 0)
    for name, theirs in zip("yz", peer(path, feeds), strict=True):
        np.testing.assert_allclose(found[name], exact, rtol=1e-4, atol=1e-5)
        assert np.abs(theirs - exact).max() < 0.05 * np.abs(exact).max()
