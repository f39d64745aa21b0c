"""Unary and binary kernels on every ISA level: functions within their stated bounds, bytes exactly."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from harness import LEVELS, Output, call_kernel, place
from offers import check, quantization

from edgert.kernels_cpu.elementwise import UNARY

SIZES = [(1,), (15,), (16,), (17,), (2, 3, 5, 7), (1, 4, 4, 4), (1, 66, 31, 33)]


def _exact(name: str, x: np.ndarray) -> np.ndarray:
    """The function in double precision."""
    erf = np.vectorize(math.erf, otypes=[np.float64])
    softplus = np.logaddexp(0, x)
    inner = math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)
    return {
        "Exp": lambda: np.exp(x), "Log": lambda: np.log(x), "Tanh": lambda: np.tanh(x), "Erf": lambda: erf(x),
        "Sigmoid": lambda: 1 / (1 + np.exp(-x)), "Softplus": lambda: softplus,
        "Gelu": lambda: 0.5 * x * (1 + erf(x / math.sqrt(2))), "GeluTanh": lambda: 0.5 * x * (1 + np.tanh(inner)),
        "Mish": lambda: x * np.tanh(softplus), "Elu": lambda: np.where(x > 0, x, np.expm1(np.minimum(x, 0))),
    }[name]()  # fmt: skip


BOUNDS = {  # largest relative error, or absolute where the value is below 1e-30 or (second) everywhere
    "Exp": (2e-7, 0.0), "Log": (2e-7, 2e-7), "Tanh": (3e-7, 0.0), "Erf": (2e-7, 0.0), "Sigmoid": (3e-7, 0.0),
    "Softplus": (4e-7, 0.0), "Gelu": (3e-7, 3e-7), "GeluTanh": (5e-7, 5e-7), "Mish": (6e-7, 1e-30),
    "Elu": (3e-7, 0.0),
}  # fmt: skip


@pytest.mark.parametrize("name", BOUNDS)
def test_functions_keep_their_stated_bounds(name: str, rng: np.random.Generator) -> None:
    x = np.concatenate([np.linspace(-20, 20, 40001), rng.standard_normal(20000), np.linspace(-80, 80, 10001)])
    x = np.concatenate([x, 10.0 ** np.linspace(-30, -1, 5000), -(10.0 ** np.linspace(-30, -1, 5000))])
    if name == "Log":
        x = np.concatenate([np.abs(x[x != 0]), 10.0 ** np.linspace(-44, 38, 20000), 1 + np.linspace(-0.3, 0.4, 20000)])
    x = x.astype(np.float32)
    source, results = place(x), []
    relative, absolute = BOUNDS[name]
    want = _exact(name, x.astype(np.float64))
    for level in LEVELS:
        out = Output(x.shape, np.float32)
        params = {"op": UNARY.index(name), "count": x.size, "rows": 0, "columns": 0, "alpha": 1.0, "beta": 0.0}
        call_kernel(level, "unary_f32", {"x": source, "y": out.array, "rows_at": None}, params, chunks=3)
        out.check_guards()
        error = np.abs(out.array - want)
        if level.arch == "armv7":  # its vectors take the smallest floats for zero
            error[np.abs(x) < np.finfo(np.float32).tiny] = 0
        allowed = relative * np.abs(want) + max(absolute, 1.2e-38)
        worst = int(np.argmax(error / allowed))
        assert (error <= allowed).all(), f"{level.name}: {name}({x[worst]}) = {out.array[worst]}, not {want[worst]}"
        results.append(out.array.view(np.uint32).copy())
    for other in results[1:]:
        np.testing.assert_array_equal(other, results[0], "levels differ in bits")


def test_rows_that_are_absent_are_not_written(rng: np.random.Generator) -> None:
    x = rng.standard_normal((5, 7)).astype(np.float32)
    params = {"op": UNARY.index("Relu"), "count": x.size, "rows": 5, "columns": 7, "alpha": 0.0, "beta": 0.0}
    for level in LEVELS:
        for present in (0, 3, 5):
            out = Output(x.shape, np.float32)
            operands = {"x": place(x), "y": out.array, "rows_at": place(np.array([present], np.int32))}
            call_kernel(level, "unary_f32", operands, params, chunks=2)
            out.check_guards()
            np.testing.assert_array_equal(out.array[:present], np.maximum(x, 0)[:present])
            assert (out.array[present:].view(np.uint32) == 0xA5A5A5A5).all()


@pytest.mark.parametrize("name", BOUNDS)
def test_special_values(name: str) -> None:
    x = np.array([np.nan, np.inf, -np.inf, 0.0, 1e30, -1e30], np.float32)
    with np.errstate(all="ignore"):
        want = _exact(name, x.astype(np.float64)).astype(np.float32)
    skip = np.isnan(want) & ~np.isnan(x)  # forms such as -inf * 0: not what this test is about
    if name == "Log":
        skip[:] = [0, 0, 0, 0, 0, 0]
    for level in LEVELS:
        out = Output(x.shape, np.float32)
        params = {"op": UNARY.index(name), "count": x.size, "rows": 0, "columns": 0, "alpha": 1.0, "beta": 0.0}
        call_kernel(level, "unary_f32", {"x": place(x), "y": out.array, "rows_at": None}, params)
        close = np.isclose(out.array, want, rtol=1e-6, atol=1e-30, equal_nan=True)
        assert (close | skip).all(), f"{level.name}: {name} {out.array} not {want}"


@pytest.mark.parametrize(
    ("op", "attrs"),
    [
        ("Abs", {}), ("Neg", {}), ("Sqrt", {}), ("Reciprocal", {}), ("Floor", {}), ("Ceil", {}), ("Round", {}),
        ("Relu", {}), ("LeakyRelu", {"alpha": 0.1}), ("ThresholdedRelu", {"alpha": 0.7}), ("HardSigmoid", {}),
        ("HardSwish", {}), ("Swish", {"alpha": 1.5}), ("Mish", {}), ("Gelu", {"approximate": "tanh"}), ("Gelu", {}),
        ("Softsign", {}), ("Elu", {"alpha": 0.5}), ("Celu", {"alpha": 2.0}), ("Selu", {}), ("Tanh", {}), ("Log", {}),
    ],
)  # fmt: skip
@pytest.mark.parametrize("shape", SIZES[:-1])
def test_unary(op: str, attrs: dict[str, Any], shape: tuple[int, ...], rng: np.random.Generator) -> None:
    x = (rng.standard_normal(shape) * 3).astype(np.float32)
    if op == "Round":
        x = np.round(x * 2) / 2
    check(op, [x], attrs=attrs, rtol=2e-6, atol=1e-6)


def test_clip_needs_constant_bounds(rng: np.random.Generator) -> None:
    x = rng.standard_normal((2, 3, 5)).astype(np.float32)
    low, high = np.float32(-0.5).reshape(()), np.float32(0.25).reshape(())
    check("Clip", [x, low, high], constants={1: low, 2: high})
    check("Clip", [x, None, high], constants={2: high})
    with pytest.raises(AssertionError, match="constant bounds"):
        check("Clip", [x, low], constants={})


PAIRS = [
    ((2, 5, 3, 7), (2, 5, 3, 7)), ((2, 5, 3, 7), (2, 5, 1, 1)), ((2, 5, 3, 7), (1, 5, 1, 1)),
    ((2, 5, 3, 7), (2, 1, 3, 7)), ((1, 5, 1, 1), (2, 5, 3, 7)), ((3, 40), (40,)), ((3, 40), (3, 1)), ((7,), (1,)),
    ((1, 1), (1, 1)), ((2, 3, 4), (3, 1)), ((1, 66, 31, 33), (1, 66, 31, 33)), ((4, 1), (1, 9)),
]  # fmt: skip


@pytest.mark.parametrize("op", ["Add", "Sub", "Mul", "Div", "Min", "Max", "PRelu"])
@pytest.mark.parametrize(("a", "b"), PAIRS)
def test_binary_f32(op: str, a: tuple[int, ...], b: tuple[int, ...], rng: np.random.Generator) -> None:
    if op == "PRelu" and np.broadcast_shapes(a, b) != a:
        return
    x, y = (rng.standard_normal(s).astype(np.float32) for s in (a, b))
    check(op, [x, y])


@pytest.mark.parametrize("value", [(), (5, 1, 1), (1, 5, 1, 1), (7,), (2, 5, 3, 7)])
@pytest.mark.parametrize("side", [0, 1])
def test_binary_f32_constant(value: tuple[int, ...], side: int, rng: np.random.Generator) -> None:
    inputs = [rng.standard_normal((2, 5, 3, 7)).astype(np.float32), rng.standard_normal(value).astype(np.float32)]
    inputs = inputs[::-1] if side == 0 else inputs
    attrs = {"activation": "Clip", "clip_min": -0.5, "clip_max": 1.0}
    check("Sub", [np.asarray(v) for v in inputs], attrs=attrs, constants={side: np.asarray(inputs[side])})


@pytest.mark.parametrize("op", ["Add", "Min", "Max"])
def test_binary_lets_nan_through(op: str) -> None:
    a, b = np.array([np.nan, 1, np.nan, 2], np.float32), np.array([1, np.nan, np.nan, 3], np.float32)
    check(op, [a, b])


@pytest.mark.parametrize("exponent", [2.0, 0.5])
def test_power(exponent: float, rng: np.random.Generator) -> None:
    e = np.array(exponent, np.float32)
    check("Pow", [rng.random((2, 5, 3, 7)).astype(np.float32), e], constants={1: e}, rtol=2e-7)


QUANTS = {0: quantization(0.021, 120), 1: quantization(0.013, 140)}
OUT = quantization(0.031, 100)


@pytest.mark.parametrize("op", ["QLinearAdd", "QLinearMul"])
@pytest.mark.parametrize(
    ("a", "b"),
    [
        ((2, 5, 3, 7), (2, 5, 3, 7)), ((2, 5, 3, 7), (2, 5, 1, 1)), ((2, 8, 3, 7), (1, 8, 1, 1)),
        ((1, 8, 1, 1), (2, 8, 5, 5)), ((3, 40), (3, 40)), ((1,), (1,)), ((1, 66, 31, 33), (1, 66, 31, 33)),
    ],
)  # fmt: skip
def test_binary_q8(op: str, a: tuple[int, ...], b: tuple[int, ...], rng: np.random.Generator) -> None:
    inputs = [rng.integers(0, 256, s).astype(np.uint8) for s in (a, b)]
    check(op, inputs, quants=QUANTS, out_quant=OUT, out_dtype="uint8")
    if a == b:
        check(op, inputs, attrs={"activation": "Relu"}, quants=QUANTS, out_quant=OUT, out_dtype="uint8")
    if op == "QLinearAdd":
        check(op, inputs, attrs={"fixed_point": 1}, quants=QUANTS, out_quant=OUT, out_dtype="uint8")


@pytest.mark.parametrize(
    ("first", "second", "out"), [(0.5, 0.5, 1.0), (1.0, 0.3, 1.0), (1.0, 1e-6, 900.0), (250.0, 1.0, 1.0)]
)
def test_fixed_point_sums_of_every_pair(first: float, second: float, out: float) -> None:
    a, b = (np.ascontiguousarray(v) for v in np.meshgrid(*2 * [np.arange(256, dtype=np.uint8)]))
    quants = {0: quantization(first, 120), 1: quantization(second, 140)}
    check("QLinearAdd", [a, b], attrs={"fixed_point": 1}, quants=quants, out_quant=quantization(out, 100))


@pytest.mark.parametrize("value", [(), (5, 1, 1), (1, 5, 1, 1)])
@pytest.mark.parametrize("side", [0, 1])
def test_binary_q8_constant(value: tuple[int, ...], side: int, rng: np.random.Generator) -> None:
    inputs = [rng.integers(0, 256, s) for s in ((2, 5, 3, 7), value)]
    inputs = [np.asarray(v, np.uint8) for v in (inputs[::-1] if side == 0 else inputs)]
    check("QLinearMul", inputs, quants=QUANTS, out_quant=OUT, out_dtype="uint8", constants={side: inputs[side]})


@pytest.mark.parametrize("shape", SIZES)
@pytest.mark.parametrize("attrs", [{"op": "Sigmoid"}, {"op": "HardSwish"}, {"op": "LeakyRelu", "alpha": 0.2}])
def test_unary_q8(shape: tuple[int, ...], attrs: dict[str, Any], rng: np.random.Generator) -> None:
    x = rng.integers(0, 256, shape).astype(np.uint8)
    check("QLinearUnary", [x], attrs=attrs, quants={0: QUANTS[0]}, out_quant=quantization(0.01, 20), out_dtype="uint8")


@pytest.mark.parametrize(("given", "made", "zero"), [("int8", "uint8", 131), ("uint8", "int8", -7)])
def test_a_table_between_signs(given: str, made: str, zero: int) -> None:
    x = np.arange(256, dtype=np.uint8).view(given)
    attrs = {"op": "Identity", "activation": "Clip", "clip_min": -1.0, "clip_max": 1.5}
    quants = {0: quantization(0.021, 3)}
    check("QLinearUnary", [x], attrs=attrs, quants=quants, out_quant=quantization(0.021, zero), out_dtype=made)


@pytest.mark.parametrize(("channels", "axis"), [((4, 8, 3), 1), ((1, 2), 1), ((4, 4), 0), ((5, 5), -1)])
def test_concat_of_different_scales(channels: tuple[int, ...], axis: int, rng: np.random.Generator) -> None:
    parts = [rng.integers(0, 256, (2, c if axis == 1 else 4, 5, 7)).astype(np.uint8) for c in channels]
    quants = {i: quantization(0.01 * (i + 1), 100 + i) for i in range(len(parts))}
    check("QLinearConcat", parts, attrs={"axis": axis}, quants=quants, out_quant=OUT, out_dtype="uint8")
