"""Convolutions, matrix products and pooling from TFLite give LiteRT's values."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from compare import Case, Const, check
from flat_model import FlatModel

from edgert.converters.tflite.importer import check_tflite, import_tflite
from edgert.graph.execute import run_graph

RNG = np.random.default_rng(5)


def floats(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def conv(
    channels: int, count: int, kernel: int, groups: int = 1, size: tuple[int, int] = (9, 8), **more: object
) -> Case:
    options = {"padding": "SAME", "stride_w": 1, "stride_h": 1, "dilation_w_factor": 1, "dilation_h_factor": 1, **more}
    w = Const(floats(count, kernel, kernel, channels // groups))
    return Case("CONV_2D", floats(1, *size, channels), w, Const(floats(count)), **options)


def depthwise(channels: int, multiplier: int, **more: object) -> Case:
    options = {"padding": "SAME", "stride_w": 1, "stride_h": 1, "dilation_w_factor": 1, "dilation_h_factor": 1, **more}
    w = Const(floats(1, 3, 3, channels * multiplier))
    options["depth_multiplier"] = multiplier
    return Case("DEPTHWISE_CONV_2D", floats(1, 7, 8, channels), w, Const(floats(channels * multiplier)), **options)


def transpose_conv(
    out: tuple[int, int], kernel: tuple[int, int], stride: int, padding: str, bias: bool = False
) -> Case:
    forward = [-(-n // stride) if padding == "SAME" else (n - k) // stride + 1
               for n, k in zip(out, kernel, strict=True)]  # fmt: skip
    x, w = floats(1, *forward, 3), Const(floats(5, *kernel, 3))
    extra = [Const(floats(5))] if bias else []
    return Case("TRANSPOSE_CONV", Const([1, *out, 5]), w, x, *extra, padding=padding, stride_w=stride, stride_h=stride,
                version=3 if bias else 1)  # fmt: skip


CONVOLUTIONS = [
    conv(3, 4, 3),
    conv(3, 4, 3, padding="VALID"),
    conv(3, 4, 3, stride_w=2, stride_h=2),
    conv(3, 4, 2, stride_w=2, stride_h=1),
    conv(4, 6, 3, dilation_w_factor=2, dilation_h_factor=3),
    conv(4, 6, 3, groups=2),
    conv(3, 4, 1, fused_activation_function="RELU6"),
    conv(3, 4, 5, fused_activation_function="RELU", stride_w=3, stride_h=3),
    conv(3, 4, 1, fused_activation_function="RELU_N1_TO_1"),
    depthwise(4, 1),
    depthwise(4, 2, stride_w=2, stride_h=2),
    depthwise(3, 1, padding="VALID", fused_activation_function="RELU"),
    depthwise(3, 1, dilation_w_factor=2, dilation_h_factor=2),
    transpose_conv((8, 6), (3, 3), 2, "SAME"),
    transpose_conv((7, 9), (3, 3), 2, "SAME", bias=True),
    transpose_conv((7, 9), (2, 2), 2, "SAME"),
    transpose_conv((9, 7), (3, 3), 2, "VALID"),
    transpose_conv((9, 10), (2, 4), 1, "VALID", bias=True),
    transpose_conv((8, 8), (1, 1), 2, "SAME"),
    Case("CONV_3D", floats(1, 5, 6, 7, 2), Const(floats(2, 3, 3, 2, 4)), Const(floats(4)), padding="SAME", stride_d=1,
         stride_h=2, stride_w=1, dilation_d_factor=1, dilation_h_factor=1, dilation_w_factor=1),
    Case("CONV_3D_TRANSPOSE", Const([1, 4, 6, 8, 3]), Const(floats(2, 3, 3, 3, 2)), floats(1, 2, 3, 4, 2),
         padding="SAME", stride_d=2, stride_h=2, stride_w=2, dilation_d_factor=1, dilation_h_factor=1,
         dilation_w_factor=1),
]  # fmt: skip


@pytest.mark.parametrize("case", CONVOLUTIONS, ids=str)
def test_convolution(case: Case, tmp_path: Path) -> None:
    check(case, tmp_path, rtol=1e-5, atol=1e-5)


def pool(op: str, kernel: tuple[int, int], stride: int, padding: str, **more: object) -> Case:
    return Case(op, floats(2, 7, 8, 3), padding=padding, stride_w=stride, stride_h=stride, filter_height=kernel[0],
                filter_width=kernel[1], **more)  # fmt: skip


@pytest.mark.parametrize("op", ["AVERAGE_POOL_2D", "MAX_POOL_2D", "L2_POOL_2D"])
@pytest.mark.parametrize(
    "window", [((2, 2), 2, "VALID"), ((3, 3), 2, "SAME"), ((7, 8), 1, "VALID"), ((3, 2), 1, "SAME")]
)
def test_pool(op: str, window: tuple[tuple[int, int], int, str], tmp_path: Path) -> None:
    check(pool(op, *window), tmp_path)
    check(pool(op, *window, fused_activation_function="RELU6"), tmp_path)


PRODUCTS = [
    Case("FULLY_CONNECTED", floats(3, 8), Const(floats(5, 8)), Const(floats(5))),
    Case("FULLY_CONNECTED", floats(3, 8), Const(floats(5, 8)), None, fused_activation_function="RELU"),
    Case("FULLY_CONNECTED", floats(2, 2, 2, 8), Const(floats(5, 8)), Const(floats(5))),
    Case("FULLY_CONNECTED", floats(2, 4, 2), Const(floats(5, 8)), Const(floats(5))),
    Case("FULLY_CONNECTED", floats(2, 3, 8), Const(floats(5, 8)), Const(floats(5)), keep_num_dims=True,
         fused_activation_function="RELU"),
    Case("FULLY_CONNECTED", floats(3, 8), floats(5, 8), Const(floats(5))),
    Case("BATCH_MATMUL", floats(2, 3, 4), floats(2, 4, 5)),
    Case("BATCH_MATMUL", floats(2, 4, 3), floats(2, 4, 5), adj_x=True),
    Case("BATCH_MATMUL", floats(2, 3, 4), floats(2, 5, 4), adj_y=True),
    Case("BATCH_MATMUL", floats(2, 2, 3, 4), Const(floats(1, 2, 5, 4)), adj_y=True),
]  # fmt: skip


@pytest.mark.parametrize("case", PRODUCTS, ids=str)
def test_product(case: Case, tmp_path: Path) -> None:
    check(case, tmp_path, rtol=1e-5, atol=1e-5)


def test_fully_connected_keeps_free_batch(tmp_path: Path) -> None:
    case = Case("FULLY_CONNECTED", floats(2, 3, 8), Const(floats(5, 8)), None, keep_num_dims=True, free=(0,))
    wanted = check(case, tmp_path, rtol=1e-5, atol=1e-5)
    graph = import_tflite(tmp_path / "m.tflite")
    assert graph.types["x0"].shape == ("N", 3, 8) and graph.types["y0"].shape[1:] == wanted[0].shape[1:]
    assert run_graph(graph, {"x0": floats(4, 3, 8)})["y0"].shape == (4, 3, 5)


def test_transpose_conv_with_bias_of_mediapipe(tmp_path: Path) -> None:
    options = struct.pack("<6i", 1, 2, 2, 0, 0, 0)
    case = Case(
        "Convolution2DTransposeBias", floats(1, 4, 5, 3), Const(floats(2, 2, 2, 3)), Const(floats(2)), custom=options
    )
    m = case.build([(1, 8, 10, 2)])
    path = m.save(tmp_path / "custom.tflite")
    x, w, bias = case.inputs
    graph = import_tflite(path)
    got = run_graph(graph, {"x0": x})["y0"]
    spread = np.einsum("bhwc,nijc->bhiwjn", x, w.array).reshape(1, 8, 10, 2) + bias.array
    np.testing.assert_allclose(got, spread, rtol=1e-5, atol=1e-5)


def test_half_weights_become_floats(tmp_path: Path) -> None:
    m = FlatModel()
    x = m.input("x", (1, 6))
    half = m.constant("w16", RNG.standard_normal((4, 6)).astype(np.float16))
    w = m.op("DEQUANTIZE", [half], ("w", (4, 6), "float32"))
    m.output(m.op("FULLY_CONNECTED", [x, w, -1], ("y", (1, 4), "float32")))
    graph = import_tflite(m.save(tmp_path / "m.tflite"))
    assert [node.op for node in graph.nodes] == ["Gemm"]
    assert all(value.dtype == np.float32 for value in graph.constants.values() if value.ndim == 2)


def test_weights_of_dynamic_range_models_are_dequantized(tmp_path: Path) -> None:
    m, x = FlatModel(), floats(2, 6)
    stored = RNG.integers(-127, 128, (4, 6)).astype(np.int8)
    scale = np.array([0.1, 0.2, 0.3, 0.4], np.float32)
    w = m.constant("w", stored, scale=scale, zero_point=0, axis=0)
    m.output(m.op("FULLY_CONNECTED", [m.input("x", (2, 6)), w, -1], ("y", (2, 4), "float32")))
    got = run_graph(import_tflite(m.save(tmp_path / "m.tflite")), {"x": x})["y"]
    np.testing.assert_allclose(got, x @ (stored * scale[:, None]).T, rtol=1e-5, atol=1e-5)


def test_refused_forms_are_listed_together(tmp_path: Path) -> None:
    m = FlatModel()
    x = m.input("x", (1, 4, 4, 3))
    w = m.constant("w", floats(2, 1, 1, 3))
    y = m.op("CONV_2D", [x, w, -1], ("y", (1, 4, 4, 2), "float32"), stride_w=1, stride_h=1, padding="VALID",
             fused_activation_function="TANH")  # fmt: skip
    z = m.op("Sorcery", [y], ("z", (1, 4, 4, 2), "float32"), custom=b"")
    m.output(z)
    problems = check_tflite(m.save(tmp_path / "m.tflite"))
    assert [problem.op for problem in problems] == ["CONV_2D", "Sorcery"]
    assert problems[0].what == "fused_activation_function" and "custom operator" in problems[1].advice
