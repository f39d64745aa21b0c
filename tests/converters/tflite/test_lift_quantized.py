"""Quantized operators give LiteRT's numbers: exactly where nothing is rounded twice, else within one step.

Every case is a model of one operator, run in LiteRT's default interpreter and as the imported graph.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flat_model import FlatModel

from edgert.converters.passes.pipeline import optimize
from edgert.converters.tflite.importer import import_tflite
from edgert.errors import EdgertError, UnsupportedError
from edgert.graph.execute import run_graph
from edgert.graph.infer import infer_types
from edgert.graph.ir import Graph

Build = Callable[["Model"], int]

RANGES = {"int8": (-128, 128), "uint8": (0, 256), "int16": (-32768, 32768)}


class Model(FlatModel):
    """A FlatModel whose quantized tensors are quickly said."""

    rng = np.random.default_rng(5)

    def x(self, *shape: int, dtype: str = "int8", scale: float = 0.05, zero: int = 3) -> int:
        return self.input(f"x{len(self.graph.inputs)}", shape, dtype, scale=[scale], zero_point=[zero])

    scales: list[float]
    """Of the sums of the product with the last weights, for the bias."""

    def w(self, *shape: int, axis: int = 0, filters: int = 1, dtype: str = "int8", zero: int = 0) -> int:
        low, high = (-127, 128) if dtype == "int8" else (0, 256)
        scale = list(self.rng.uniform(0.002, 0.02, filters))
        value = self.rng.integers(low, high, shape).astype(dtype)
        self.scales = [0.05 * s for s in scale]
        return self.constant("w", value, scale=scale, zero_point=[zero] * filters, axis=axis)

    def bias(self, filters: int, dtype: str = "int32") -> int:
        value = self.rng.integers(-3000, 3000, filters).astype(dtype)
        return self.constant("b", value, scale=self.scales, zero_point=[0] * len(self.scales), axis=0)

    def y(self, *shape: int, dtype: str = "int8", scale: float = 0.07, zero: int = -9) -> tuple[Any, ...]:
        return "y", shape, dtype, {"scale": [scale], "zero_point": [zero]}


def imported(path: Path, report: dict[str, Any] | None = None) -> Graph:
    graph = import_tflite(path, report=report)
    return infer_types(optimize(infer_types(graph)))


def differences(model: Model, output: int, folder: Path, runs: int = 4) -> tuple[np.ndarray, Graph, dict[str, Any]]:
    """Stored values of `output` less LiteRT's, over random inputs; the graph, and the report of its import."""
    from ai_edge_litert.interpreter import Interpreter

    model.output(output)
    path = model.save(folder / "m.tflite")
    report: dict[str, Any] = {}
    graph = imported(path, report)
    interpreter = Interpreter(str(path), num_threads=1)
    interpreter.allocate_tensors()
    details, (out,) = interpreter.get_input_details(), interpreter.get_output_details()
    found = []
    for _ in range(runs):
        feeds = {}
        for name, detail in zip(graph.inputs, details, strict=True):
            kind = np.dtype(detail["dtype"])
            if kind.kind == "f":
                value = model.rng.standard_normal(detail["shape"]).astype(np.float32) * np.float32(3)
            else:
                value = model.rng.integers(*RANGES[kind.name], detail["shape"]).astype(kind)
            feeds[name] = value
            interpreter.set_tensor(detail["index"], value)
        interpreter.invoke()
        want = interpreter.get_tensor(out["index"])
        (got,) = run_graph(graph, feeds).values()
        assert got.dtype == want.dtype and got.shape == want.shape
        found.append(got.astype(np.float64) - want.astype(np.float64))
    return np.stack(found), graph, report


def conv(dtype: str, fused: str, dilation: int = 1, groups: int = 1) -> Build:
    def build(m: Model) -> int:
        zero = 0 if dtype == "int8" else 128
        w = m.w(8, 3, 3, 4 // groups, filters=8 if dtype == "int8" else 1, dtype=dtype, zero=zero)
        options = {
            "stride_w": 2 if dilation == 1 else 1,
            "stride_h": 2 if dilation == 1 else 1,
            "padding": "SAME",
            "dilation_w_factor": dilation,
            "dilation_h_factor": dilation,
            "fused_activation_function": fused,
        }
        size = 5 if dilation == 1 else 9
        x = m.x(1, 9, 9, 4, dtype=dtype)
        out_zero = -9 if dtype == "int8" else 120
        return m.op("CONV_2D", [x, w, m.bias(8)], m.y(1, size, size, 8, dtype=dtype, zero=out_zero), **options)

    return build


def depthwise(multiplier: int, fused: str = "NONE") -> Build:
    def build(m: Model) -> int:
        w = m.w(1, 3, 3, 6 * multiplier, filters=6 * multiplier, axis=3)
        options = {
            "stride_w": 1,
            "stride_h": 1,
            "padding": "VALID",
            "depth_multiplier": multiplier,
            "dilation_w_factor": 1,
            "dilation_h_factor": 1,
            "fused_activation_function": fused,
        }
        return m.op("DEPTHWISE_CONV_2D", [m.x(1, 9, 8, 6), w, m.bias(6 * multiplier)],
                    m.y(1, 7, 6, 6 * multiplier), **options)  # fmt: skip

    return build


def narrow(op: str, stride: int) -> Build:
    """Over an image one pixel wide."""

    def build(m: Model) -> int:
        depth = op == "DEPTHWISE_CONV_2D"
        w = m.w(1, 9, 1, 8, filters=8, axis=3) if depth else m.w(8, 9, 1, 8, filters=8)
        options = {"stride_w": stride, "stride_h": stride, "padding": "SAME", "dilation_w_factor": 1,
                   "dilation_h_factor": 1, **({"depth_multiplier": 1} if depth else {})}  # fmt: skip
        return m.op(op, [m.x(1, 30, 1, 8), w, m.bias(8)], m.y(1, 30 // stride, 1, 8), **options)

    return build


def dense(*shape: int, keep: bool = False, filters: int = 5, fused: str = "NONE") -> Build:
    def build(m: Model) -> int:
        w = m.w(5, 12, filters=filters)
        out = (*shape[:-1], 5) if keep else (int(np.prod(shape)) // 12, 5)
        return m.op("FULLY_CONNECTED", [m.x(*shape), w, m.bias(5)], m.y(*out),
                    keep_num_dims=keep, fused_activation_function=fused)  # fmt: skip

    return build


def pool(op: str, kernel: int, size: int, padding: str, fused: str = "NONE", dtype: str = "int8") -> Build:
    def build(m: Model) -> int:
        zero = 3 if dtype == "int8" else 120
        x = m.x(1, 7, 7, 5, dtype=dtype, zero=zero)
        return m.op(
            op,
            [x],
            m.y(1, size, size, 5, scale=0.05, zero=zero, dtype=dtype),
            filter_width=kernel,
            filter_height=kernel,
            stride_w=2,
            stride_h=2,
            padding=padding,
            fused_activation_function=fused,
        )

    return build


def unary(op: str, scale: float = 0.07, zero: int = -9, dtype: str = "int8", **options: Any) -> Build:
    return lambda m: m.op(op, [m.x(3, 40)], m.y(3, 40, scale=scale, zero=zero, dtype=dtype), **options)


def binary(op: str, fused: str = "NONE", other: tuple[int, ...] = (3, 40)) -> Build:
    return lambda m: m.op(op, [m.x(3, 40), m.x(*other, scale=0.03, zero=-20)], m.y(3, 40),
                          fused_activation_function=fused)  # fmt: skip


def with_constant(m: Model) -> int:
    return m.op("ADD", [m.x(3, 40), m.w(40)], m.y(3, 40))


def joined(alike: bool) -> Build:
    def build(m: Model) -> int:
        zero = 3 if alike else 11
        inputs = [m.x(2, 3, 4), m.x(2, 5, 4, scale=0.05 if alike else 0.02, zero=zero)]
        return m.op("CONCATENATION", inputs, m.y(2, 8, 4, scale=0.05, zero=3), axis=1)

    return build


def uint8_joined(m: Model) -> int:
    inputs = [m.x(2, 3, 4, dtype="uint8", zero=130), m.x(2, 5, 4, dtype="uint8", scale=0.02, zero=9)]
    return m.op("CONCATENATION", inputs, m.y(2, 8, 4, dtype="uint8", scale=0.05, zero=120), axis=1)


def padded(m: Model) -> int:
    pads = m.constant("pads", np.array([[0, 0], [1, 2], [2, 1], [0, 0]], np.int32))
    return m.op("PAD", [m.x(1, 4, 5, 3), pads], m.y(1, 7, 8, 3, scale=0.05, zero=3))


def resized(op: str, half: bool) -> Build:
    def build(m: Model) -> int:
        size = m.constant("size", np.array([9, 11], np.int32))
        return m.op(op, [m.x(1, 4, 5, 3), size], m.y(1, 9, 11, 3, scale=0.05, zero=3), half_pixel_centers=half)

    return build


def mean(keep: bool, *axes: int) -> Build:
    def build(m: Model) -> int:
        shape = [1, 6, 7, 8]
        out = [1 if i in axes else n for i, n in enumerate(shape) if keep or i not in axes]
        where = m.constant("axes", np.array(axes, np.int32))
        return m.op("MEAN", [m.x(*shape), where], m.y(*out, scale=0.01), keep_dims=keep)

    return build


def summed(m: Model) -> int:
    where = m.constant("axes", np.array([2], np.int32))
    return m.op("SUM", [m.x(1, 6, 7, 8), where], m.y(1, 6, 8, scale=0.2), keep_dims=False)


def prelu(m: Model) -> int:
    slopes = m.constant("slopes", m.rng.integers(-127, 128, (1, 1, 8)).astype(np.int8), scale=[0.004], zero_point=[0])
    return m.op("PRELU", [m.x(1, 4, 4, 8), slopes], m.y(1, 4, 4, 8))


def transposed_conv(m: Model) -> int:
    target = m.constant("target", np.array([1, 8, 8, 6], np.int32))
    w = m.w(6, 3, 3, 4, filters=6)
    return m.op("TRANSPOSE_CONV", [target, w, m.x(1, 4, 4, 4)], m.y(1, 8, 8, 6), stride_w=2, stride_h=2, padding="SAME",
                version=3)  # fmt: skip


def batched(m: Model) -> int:
    return m.op("BATCH_MATMUL", [m.x(2, 3, 12), m.x(2, 5, 12, scale=0.03, zero=7)], m.y(2, 3, 5, scale=0.5), adj_y=True)


def quantized(m: Model) -> int:
    return m.op("QUANTIZE", [m.input("x", (3, 40))], m.y(3, 40, scale=0.031))


def dequantized(m: Model) -> int:
    return m.op("DEQUANTIZE", [m.x(3, 40)], ("y", (3, 40), "float32"))


def sliced(m: Model) -> int:
    ends = [m.constant(n, np.array(v, np.int32)) for n, v in (("b", [0, 1, 0]), ("e", [2, 5, 4]), ("s", [1, 2, 1]))]
    return m.op("STRIDED_SLICE", [m.x(2, 6, 4), *ends], m.y(2, 2, 4, scale=0.05, zero=3))


def parts(m: Model) -> int:
    axis = m.constant("axis", np.array(1, np.int32))
    kind = {"scale": [0.05], "zero_point": [3]}
    made = m.op("SPLIT", [axis, m.x(2, 6, 4)], [("a", (2, 3, 4), "int8", kind), ("z", (2, 3, 4), "int8", kind)],
                num_splits=2)  # fmt: skip
    return m.op("ADD", made, m.y(2, 3, 4))


def compared(m: Model) -> int:
    return m.op("LESS", [m.x(3, 40), m.x(3, 40, scale=0.03, zero=-20)], ("y", (3, 40), "bool"))


def largest(m: Model) -> int:
    axis = m.constant("axis", np.array([1], np.int32))
    return m.op("ARG_MAX", [m.x(3, 40), axis], ("y", (3,), "int64"), output_type="INT64")


def extreme(m: Model) -> int:
    same = {"scale": 0.05, "zero": 3}
    return m.op("MAXIMUM", [m.x(3, 40), m.x(3, 40)], m.y(3, 40, **same))


EXACT: dict[str, Build] = {
    "conv": conv("int8", "NONE"), "conv relu6": conv("int8", "RELU6"), "conv dilated": conv("int8", "RELU", 2),
    "conv grouped": conv("int8", "NONE", groups=2), "conv uint8": conv("uint8", "RELU"),
    "depthwise": depthwise(1, "RELU"), "depthwise multiplied": depthwise(2),
    "narrow": narrow("CONV_2D", 2), "narrow depthwise": narrow("DEPTHWISE_CONV_2D", 1),
    "narrow depthwise of stride 2": narrow("DEPTHWISE_CONV_2D", 2),
    "dense": dense(3, 12), "dense of one scale": dense(3, 12, filters=1), "dense kept": dense(2, 3, 12, keep=True),
    "dense flattened": dense(2, 3, 12), "dense relu": dense(3, 12, fused="RELU"),
    "average": pool("AVERAGE_POOL_2D", 2, 3, "VALID"), "average same": pool("AVERAGE_POOL_2D", 3, 4, "SAME"),
    "average global": pool("AVERAGE_POOL_2D", 7, 1, "VALID"),
    "average relu": pool("AVERAGE_POOL_2D", 2, 3, "VALID", "RELU"),
    "average uint8": pool("AVERAGE_POOL_2D", 2, 3, "VALID", dtype="uint8"),
    "max": pool("MAX_POOL_2D", 3, 4, "SAME"), "max relu6": pool("MAX_POOL_2D", 3, 4, "SAME", "RELU6"),
    "logistic": unary("LOGISTIC", 1 / 256, -128), "tanh": unary("TANH", 1 / 128, 0), "relu": unary("RELU", 0.05, 3),
    "concatenation": joined(True), "pad": padded, "nearest": resized("RESIZE_NEAREST_NEIGHBOR", False),
    "dequantize": dequantized, "strided slice": sliced, "less": compared, "arg max": largest, "maximum": extreme,
    "int8 to uint8": unary("QUANTIZE", 0.05, 131, "uint8"),
}  # fmt: skip

CLOSE: dict[str, Build] = {
    "add": binary("ADD"), "add relu": binary("ADD", "RELU"), "add rows": binary("ADD", other=(1, 40)),
    "add constant": with_constant, "sub": binary("SUB"), "mul": binary("MUL"), "mul relu": binary("MUL", "RELU"),
    "hard swish": unary("HARD_SWISH"), "leaky relu": unary("LEAKY_RELU", alpha=0.2), "elu": unary("ELU", 0.03),
    "requantize": unary("QUANTIZE"), "relu6 rescaled": unary("RELU6", 6 / 255, -128), "abs": unary("ABS"),
    "softmax": unary("SOFTMAX", 1 / 256, -128, beta=1.0), "log softmax": unary("LOG_SOFTMAX", 16 / 256, 127),
    "l2": unary("L2_NORMALIZATION", 1 / 128, 0), "mean": mean(True, 1, 2), "mean flat": mean(False, 1, 2),
    "mean of rows": mean(False, 2), "sum": summed, "bilinear": resized("RESIZE_BILINEAR", True), "prelu": prelu,
    "transposed": transposed_conv, "batch matmul": batched, "split": parts, "concatenation uint8": uint8_joined,
    "quantize": quantized,
}  # fmt: skip
"""Where LiteRT's kernels work with fixed-point multipliers, or round sums another way."""


@pytest.mark.parametrize("name", EXACT)
def test_equal_to_litert(name: str, tmp_path: Path) -> None:
    model = Model()
    found, _, _ = differences(model, EXACT[name](model), tmp_path)
    np.testing.assert_array_equal(found, 0)


@pytest.mark.parametrize("name", CLOSE)
def test_within_a_step_of_litert(name: str, tmp_path: Path) -> None:
    model = Model()
    found, _, _ = differences(model, CLOSE[name](model), tmp_path)
    assert np.abs(found).max() <= 1
    assert (found == 0).mean() >= (0.7 if name == "sum" else 0.9)  # LiteRT rounds each value of a sum


def conv16(m: Model) -> int:
    w = m.w(8, 3, 3, 4, filters=8)
    bias = m.constant("b", m.rng.integers(-(10**6), 10**6, 8), scale=[s / 500 for s in m.scales], zero_point=[0] * 8)
    options = {"stride_w": 1, "stride_h": 1, "padding": "SAME", "dilation_w_factor": 1, "dilation_h_factor": 1}
    x = m.x(1, 9, 9, 4, dtype="int16", scale=1e-4, zero=0)
    return m.op("CONV_2D", [x, w, bias], m.y(1, 9, 9, 8, dtype="int16", scale=4e-4, zero=0),
                fused_activation_function="RELU", **options)  # fmt: skip


def dense16(m: Model) -> int:
    w = m.w(5, 12)
    bias = m.constant("b", m.rng.integers(-(10**5), 10**5, 5), scale=[s / 500 for s in m.scales], zero_point=[0])
    x = m.x(3, 12, dtype="int16", scale=1e-4, zero=0)
    return m.op("FULLY_CONNECTED", [x, w, bias], m.y(3, 5, dtype="int16", scale=4e-4, zero=0), keep_num_dims=False)


def unary16(op: str, scale: float, given: float = 1e-4, **options: Any) -> Build:
    return lambda m: m.op(op, [m.x(3, 40, dtype="int16", scale=given, zero=0)],
                          m.y(3, 40, dtype="int16", scale=scale, zero=0), **options)  # fmt: skip


def sum16(m: Model) -> int:
    inputs = [m.x(3, 40, dtype="int16", scale=scale, zero=0) for scale in (1e-4, 2e-4)]
    return m.op("ADD", inputs, m.y(3, 40, dtype="int16", scale=3e-4, zero=0), version=3)


def quantized16(m: Model) -> int:
    return m.op("QUANTIZE", [m.input("x", (3, 40))], m.y(3, 40, dtype="int16", scale=4e-4, zero=0))


WIDE: dict[str, Build] = {
    "conv": conv16, "dense": dense16, "add": sum16, "relu": unary16("RELU", 1e-4), "quantize": quantized16,
    "logistic": unary16("LOGISTIC", 1 / 32768, 1e-4), "tanh": unary16("TANH", 1 / 32768, 1e-4),
    "to int8": lambda m: m.op("QUANTIZE", [m.x(3, 40, dtype="int16", scale=1e-4, zero=0)], m.y(3, 40, scale=0.03)),
}  # fmt: skip


@pytest.mark.parametrize("name", WIDE)
def test_sixteen_bits_go_over_real_values(name: str, tmp_path: Path) -> None:
    """LiteRT looks functions up in tables of 513 values, a few steps of 2**-15 from the function."""
    model = Model()
    found, _, _ = differences(model, WIDE[name](model), tmp_path)
    assert np.abs(found).max() <= (8 if name in ("logistic", "tanh") else 1)


def test_uint8_weights_far_from_128_go_over_real_values_with_a_note(tmp_path: Path) -> None:
    model = Model()
    w = model.w(8, 3, 3, 4, dtype="uint8", zero=200)
    options = {"stride_w": 1, "stride_h": 1, "padding": "SAME", "dilation_w_factor": 1, "dilation_h_factor": 1}
    x, y = model.x(1, 9, 9, 4, dtype="uint8"), model.y(1, 9, 9, 8, dtype="uint8", scale=0.2, zero=120)
    output = model.op("CONV_2D", [x, w, model.bias(8)], y, fused_activation_function="RELU6", **options)
    found, graph, report = differences(model, output, tmp_path)
    assert np.abs(found).max() <= 1 and (found == 0).mean() > 0.99
    assert "int8" in report["notes"][0]
    assert "Conv" in [node.op for node in graph.nodes]


def dynamic_conv(m: Model) -> int:
    options = {"stride_w": 1, "stride_h": 1, "padding": "SAME", "dilation_w_factor": 1, "dilation_h_factor": 1}
    bias = m.constant("b", m.rng.standard_normal(8).astype(np.float32))
    inputs = [m.input("x", (1, 9, 9, 4)), m.w(8, 3, 3, 4, filters=8), bias]
    return m.op(
        "CONV_2D", inputs, ("y", (1, 9, 9, 8), "float32"), fused_activation_function="RELU", version=5, **options
    )


def dynamic_dense(m: Model) -> int:
    return m.op("FULLY_CONNECTED", [m.input("x", (3, 48)), m.w(5, 48), -1], ("y", (3, 5), "float32"),
                keep_num_dims=False, version=3)  # fmt: skip


@pytest.mark.parametrize("build", [dynamic_conv, dynamic_dense])
def test_dynamic_range_weights_meet_unrounded_activations(build: Build, tmp_path: Path) -> None:
    """LiteRT rounds activations to 8 bits as it goes; here they stay floats, so results differ by that much."""
    model = Model()
    found, graph, _ = differences(model, build(model), tmp_path)
    assert np.abs(found).max() < 0.8 and np.abs(found).mean() < 0.15
    assert all(node.op in ("Conv", "Gemm", "Transpose") for node in graph.nodes)


def test_float16_weights(tmp_path: Path) -> None:
    model = Model()
    half = model.constant("w", model.rng.standard_normal((5, 12)).astype(np.float16))
    w = model.op("DEQUANTIZE", [half], ("real", (5, 12), "float32"))
    output = model.op("FULLY_CONNECTED", [model.input("x", (3, 12)), w, -1], ("y", (3, 5), "float32"))
    found, graph, _ = differences(model, output, tmp_path)
    assert np.abs(found).max() < 1e-4
    assert [node.op for node in graph.nodes] == ["Gemm"]


@pytest.mark.parametrize("channels", [3, 0])
def test_weights_that_do_not_divide_the_channels_are_refused(channels: int, tmp_path: Path) -> None:
    model = Model()
    options = {"stride_w": 1, "stride_h": 1, "padding": "SAME"}
    inputs = [model.x(1, 9, 9, 4), model.w(8, 3, 3, channels), -1]
    model.output(model.op("CONV_2D", inputs, model.y(1, 9, 9, 8), **options))
    with pytest.raises(UnsupportedError, match="divisor of 4 channels"):
        import_tflite(model.save(tmp_path / "m.tflite"))


def test_an_absent_input_is_refused(tmp_path: Path) -> None:
    model = Model()
    model.x(3, 4)
    model.output(model.op("LOGISTIC", [-1], model.y(3, 4)))
    with pytest.raises(EdgertError):
        import_tflite(model.save(tmp_path / "m.tflite"))
