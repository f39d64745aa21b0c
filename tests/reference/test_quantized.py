"""Quantized operators against ONNX Runtime's QOperator forms, which may round a tie to the other side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper

from edgert.errors import UnsupportedError
from edgert.kernels_cpu.reference import Quant, evaluate
from edgert.kernels_cpu.reference.quantization import dequantize, quantize, ratio

rng = np.random.default_rng(6)
MICROSOFT = "com.microsoft"


def run_onnxruntime(op: str, inputs: Sequence[Any], attrs: dict[str, Any], domain: str, outputs: int = 1) -> list[Any]:
    """The outputs of a model of one node; None is an absent input."""
    names = ["" if x is None else f"in{i}" for i, x in enumerate(inputs)]
    arrays = {n: np.asarray(x) for n, x in zip(names, inputs, strict=True) if x is not None}
    infos = [
        helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(x.dtype), x.shape) for n, x in arrays.items()
    ]
    results = [helper.make_tensor_value_info(f"out{i}", TensorProto.UNDEFINED, None) for i in range(outputs)]
    for value in results:
        value.ClearField("type")
    node = helper.make_node(op, names, [r.name for r in results], domain=domain, **attrs)
    # Scales and zero points must be constants for most of these operators.
    constants = [helper.make_tensor(i.name, i.type.tensor_type.elem_type, arrays[i.name].shape, arrays[i.name].ravel())
                 for i in infos[1:]]  # fmt: skip
    graph = helper.make_graph([node], "one_node", infos[:1], results, constants)
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid(MICROSOFT, 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    options = ort.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 4, 1
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return list(session.run(None, {names[0]: arrays[names[0]]}))


def q(scale: float, zero: int) -> Quant:
    return Quant(np.float32(scale), np.int32(zero))


def both(quant: Quant, dtype: str = "uint8") -> list[Any]:
    """[scale, zero point] as ONNX takes them."""
    return [quant.scale, np.asarray(quant.zero_point, dtype)]


def stored(*shape: int) -> Any:
    return rng.integers(0, 256, shape).astype(np.uint8)


def weights(*shape: int) -> Any:
    """Small enough that processors without VNNI, whose 16-bit sums saturate, agree."""
    return rng.integers(-63, 64, shape).astype(np.int8)


def agree(found: Any, expected: Any) -> None:
    """Equal, but for a tie here and there."""
    assert found.dtype == expected.dtype and found.shape == expected.shape
    difference = np.abs(found.astype(np.int64) - expected.astype(np.int64))
    assert difference.max(initial=0) <= 1
    assert np.count_nonzero(difference) <= max(1, found.size // 50)


X, Y = q(0.021, 113), q(0.17, 121)


@pytest.mark.parametrize(
    ("shape", "kernel", "attrs"),
    [
        ((1, 5, 6, 7), (4, 5, 1, 1), {}),
        ((2, 3, 9, 8), (6, 3, 3, 3), {"pads": [1, 1, 1, 1], "strides": [2, 1]}),
        ((1, 4, 7, 5), (4, 1, 3, 3), {"group": 4, "pads": [1, 0, 1, 2]}),
        ((1, 6, 5, 5), (4, 3, 3, 3), {"group": 2, "dilations": [2, 1]}),
        ((1, 3, 7, 7), (2, 3, 3, 3), {"auto_pad": "SAME_UPPER", "strides": [2, 2]}),
    ],
)
def test_qlinear_conv(shape: tuple[int, ...], kernel: tuple[int, ...], attrs: dict[str, Any]) -> None:
    x, w, bias = stored(*shape), weights(*kernel), rng.integers(-900, 900, kernel[0]).astype(np.int32)
    scales = rng.uniform(0.005, 0.03, kernel[0]).astype(np.float32)
    zeros = np.zeros(kernel[0], np.int8)
    want = run_onnxruntime("QLinearConv", [x, *both(X), w, scales, zeros, *both(Y), bias], attrs, "")
    qw = Quant(scales, zeros.astype(np.int32), 0)
    (got,) = evaluate("QLinearConv", [x, w, bias], attrs, [X, qw, None], [Y], ["uint8"])
    agree(got, want[0])


def test_qlinear_gemm() -> None:
    x, w, bias = stored(5, 37), weights(11, 37), rng.integers(-900, 900, 11).astype(np.int32)
    scales, zeros = rng.uniform(0.005, 0.03, 11).astype(np.float32), np.zeros(11, np.int8)
    inputs = [x, *both(X), w, scales, zeros, bias, *both(Y)]
    want = run_onnxruntime("QGemm", inputs, {"transB": 1}, MICROSOFT)
    qw = Quant(scales, zeros.astype(np.int32), 0)
    (got,) = evaluate("QLinearGemm", [x, w, bias], {}, [X, qw, None], [Y], ["uint8"])
    agree(got, want[0])


@pytest.mark.parametrize(("a", "b"), [((4, 9), (9, 5)), ((2, 3, 7), (2, 7, 6)), ((1, 1), (1, 1))])
def test_qlinear_matmul(a: tuple[int, ...], b: tuple[int, ...]) -> None:
    x, w, qw = stored(*a), weights(*b), q(0.011, 0)
    want = run_onnxruntime("QLinearMatMul", [x, *both(X), w, *both(qw, "int8"), *both(Y)], {}, "")
    agree(evaluate("QLinearMatMul", [x, w], {}, [X, qw], [Y], ["uint8"])[0], want[0])


@pytest.mark.parametrize("op", ["QLinearAdd", "QLinearMul"])
@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (3, 1, 1), (1,), (2, 1, 4, 1)])
def test_qlinear_binary(op: str, shape: tuple[int, ...]) -> None:
    a, b, qb = stored(2, 3, 4, 5), stored(*shape), q(0.034, 99)
    qy = q(0.05, 120)
    want = run_onnxruntime(op, [a, *both(X), b, *both(qb), *both(qy)], {}, MICROSOFT)
    agree(evaluate(op, [a, b], {}, [X, qb], [qy], ["uint8"])[0], want[0])


def test_qlinear_concat() -> None:
    a, b, qb, qy = stored(2, 3, 4), stored(2, 5, 4), q(0.034, 99), q(0.03, 110)
    inputs = [*both(qy), a, *both(X), b, *both(qb)]
    want = run_onnxruntime("QLinearConcat", inputs, {"axis": 1}, MICROSOFT)
    agree(evaluate("QLinearConcat", [a, b], {"axis": 1}, [X, qb], [qy], ["uint8"])[0], want[0])


def test_qlinear_global_average_pool() -> None:
    x, qy = stored(2, 5, 7, 6), q(0.003, 90)
    want = run_onnxruntime("QLinearGlobalAveragePool", [x, *both(X), *both(qy)], {"channels_last": 0}, MICROSOFT)
    agree(evaluate("QLinearGlobalAveragePool", [x], {}, [X], [qy], ["uint8"])[0], want[0])


@pytest.mark.parametrize("count_include_pad", [0, 1])
def test_qlinear_average_pool(count_include_pad: int) -> None:
    x, qy = stored(1, 3, 7, 6), q(0.012, 100)
    attrs = {
        "kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1], "count_include_pad": count_include_pad,
    }  # fmt: skip
    want = run_onnxruntime("QLinearAveragePool", [x, *both(X), *both(qy)], attrs, MICROSOFT)
    agree(evaluate("QLinearAveragePool", [x], attrs, [X], [qy], ["uint8"])[0], want[0])


@pytest.mark.parametrize(("op", "attrs"), [("Sigmoid", {}), ("LeakyRelu", {"alpha": 0.2})])
def test_qlinear_unary(op: str, attrs: dict[str, Any]) -> None:
    x, qy = np.arange(256).astype(np.uint8).reshape(4, 64), q(1 / 256 if op == "Sigmoid" else 0.02, 60)
    want = run_onnxruntime(f"QLinear{op}", [x, *both(X), *both(qy)], attrs, MICROSOFT)
    agree(evaluate("QLinearUnary", [x], {"op": op, **attrs}, [X], [qy], ["uint8"])[0], want[0])


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int16"])
def test_quantize_and_dequantize(dtype: str) -> None:
    x = np.concatenate([rng.standard_normal(500) * 5, [0, 0.5, 1.5, 2.5, -0.5, 1e9, -1e9]]).astype(np.float32)
    quant = q(1.0, 3)
    want = run_onnxruntime("QuantizeLinear", [x, *both(quant, dtype)], {}, "")
    (got,) = evaluate("QuantizeLinear", [x], quant_out=[quant], dtype_out=[dtype])
    np.testing.assert_array_equal(got, want[0])
    back = run_onnxruntime("DequantizeLinear", [got, *both(quant, dtype)], {}, "")
    np.testing.assert_array_equal(evaluate("DequantizeLinear", [got], quant_in=[quant])[0], back[0])


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_quantize_per_axis(axis: int) -> None:
    x = rng.standard_normal((3, 4, 5)).astype(np.float32)
    scale = rng.uniform(0.01, 0.1, x.shape[axis]).astype(np.float32)
    zero = rng.integers(-9, 9, x.shape[axis]).astype(np.int8)
    quant = Quant(scale, zero.astype(np.int32), axis)
    want = run_onnxruntime("QuantizeLinear", [x, scale, zero], {"axis": axis}, "")
    (got,) = evaluate("QuantizeLinear", [x], quant_out=[quant], dtype_out=["int8"])
    np.testing.assert_array_equal(got, want[0])
    back = run_onnxruntime("DequantizeLinear", [got, scale, zero], {"axis": axis}, "")
    np.testing.assert_array_equal(evaluate("DequantizeLinear", [got], quant_in=[quant])[0], back[0])


@pytest.mark.parametrize(("low", "high"), [(-3, 5), (0.5, 4), (-4, -0.5), (0, 0)])
def test_dynamic_quantize_linear(low: float, high: float) -> None:
    x = rng.uniform(low, high, (4, 7)).astype(np.float32)
    want = run_onnxruntime("DynamicQuantizeLinear", [x], {}, "", outputs=3)
    got = evaluate("DynamicQuantizeLinear", [x])
    agree(got[0], want[0])
    np.testing.assert_allclose(got[1], want[1], rtol=1e-6)
    np.testing.assert_array_equal(got[2], want[2])


@pytest.mark.parametrize("zero_points", [(), (np.uint8(120),), (np.uint8(120), np.int8(3))])
@pytest.mark.parametrize("batch", [(), (2,)])
def test_matmul_integer(zero_points: tuple[Any, ...], batch: tuple[int, ...]) -> None:
    a, b = stored(*batch, 4, 9), weights(*batch, 9, 5)
    want = run_onnxruntime("MatMulInteger", [a, b, *zero_points], {}, "")
    np.testing.assert_array_equal(evaluate("MatMulInteger", [a, b, *map(np.asarray, zero_points)])[0], want[0])


@pytest.mark.parametrize(("bits", "block"), [(4, 32), (4, 16), (8, 32)])
@pytest.mark.parametrize("zero", ["none", "packed", "float"])
def test_matmul_nbits(bits: int, block: int, zero: str) -> None:
    n, k = 6, 3 * block - (8 if bits == 4 else 0)
    blocks = -(-k // block)
    b = rng.integers(0, 256, (n, blocks, block * bits // 8)).astype(np.uint8)
    scales = rng.uniform(0.01, 0.1, n * blocks).astype(np.float32)
    zeros = {
        "none": None,
        "packed": rng.integers(0, 256, n * (-(-blocks * bits // 8))).astype(np.uint8),
        "float": rng.uniform(0, 1 << bits, n * blocks).astype(np.float32),
    }[zero]
    a = rng.standard_normal((2, 3, k)).astype(np.float32)
    attrs = {"N": n, "K": k, "bits": bits, "block_size": block}
    inputs = [a, b, scales, *([] if zeros is None else [zeros])]
    if (bits, zero) == (8, "float"):
        w = (b.astype(np.float32) - zeros.reshape(n, blocks, 1)) * scales.reshape(n, blocks, 1)
        want = [a @ w.reshape(n, -1)[:, :k].T]  # ONNX Runtime has no such kernel
    else:
        want = run_onnxruntime("MatMulNBits", inputs, attrs, MICROSOFT)
    np.testing.assert_allclose(evaluate("MatMulNBits", inputs, attrs)[0], want[0], rtol=1e-3, atol=1e-3)


def test_residual_and_activation() -> None:
    x, w, r = stored(1, 3, 4, 4), weights(2, 3, 1, 1), stored(1, 2, 4, 4)
    qw, qr = Quant(np.float32([0.01, 0.02]), np.zeros(2, np.int32), 0), q(0.03, 128)
    attrs = {"residual": 1, "activation": "Clip", "clip_min": 0.0, "clip_max": 6.0}
    (got,) = evaluate("QLinearConv", [x, w, r], attrs, [X, qw, qr], [Y], ["uint8"])
    real = evaluate("Conv", [dequantize(x, X), dequantize(w, qw)])[0] + dequantize(r, qr)
    agree(got, quantize(np.clip(real, 0, 6), Y, np.dtype("uint8")))
    assert got.min() >= 121, "the zero point is the least value of a clip at 0"


def test_sums_are_exact() -> None:
    k = 40_000
    x, w = np.full((1, k), 255, np.uint8), np.full((1, k), 127, np.int8)
    w[0, 0] = 126
    unit = q(1.0, 0)
    multiplied = evaluate("QLinearGemm", [x, w], {}, [unit, unit], [q(1e7, 0)], ["uint8"])[0]
    assert multiplied == round((255 * 127 * k - 255) / 1e7)
    assert evaluate("MatMulInteger", [x, w.T])[0] == 255 * 127 * k - 255


def test_the_multiplier_is_rounded_after_each_step() -> None:
    a, b, c = np.float32(0.1), np.float32(0.3), np.float32(0.7)
    assert ratio((a, b), c) == np.float32(np.float32(a * b) / c)


def test_a_fixed_point_sum_rounds_halves_up() -> None:
    unit, half = q(1.0, 0), q(0.5, 0)
    a, b = np.array([1, 2, 3], np.uint8), np.array([0, 1, 1], np.uint8)
    total = evaluate("QLinearAdd", [a, b], {"fixed_point": 1}, [half, unit], [unit], ["uint8"])[0]
    np.testing.assert_array_equal(total, [1, 2, 3])  # of 0.5, 2, 2.5


def test_a_missing_scale_is_named() -> None:
    with pytest.raises(UnsupportedError, match="input 1"):
        evaluate("QLinearAdd", [stored(2), stored(2)], {}, [X, None], [Y], ["uint8"])
