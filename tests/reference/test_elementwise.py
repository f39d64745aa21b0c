"""Arithmetic, functions, comparisons, logic, bits and casts against ONNX Runtime."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto

from edgert.kernels_cpu.reference import evaluate
from edgert.kernels_cpu.reference.elementwise import UNARY

Agrees = Callable[..., None]
SHAPES: list[tuple[tuple[int, ...], tuple[int, ...]]] = [
    ((), ()), ((3, 4), (3, 4)), ((2, 1, 4), (3, 1)), ((5,), ()), ((0, 3), (1, 3)), ((1,), (2, 0)),
]  # fmt: skip
AWKWARD = np.array([0.0, -0.0, 0.5, 1.5, 2.5, -0.5, -1.5, 1e-3, 0.99, np.inf, -np.inf, np.nan], np.float32)


def values(seed: int, shape: tuple[int, ...], dtype: str) -> Any:
    random = np.random.default_rng(seed)
    if dtype == "bool":
        return np.asarray(random.integers(0, 2, shape), bool)
    if dtype.startswith("float"):
        return np.asarray(random.normal(0, 2, shape), dtype)
    return np.asarray(random.integers(0 if dtype.startswith("u") else -9, 10, shape), dtype)


@pytest.mark.parametrize("op", ["Add", "Sub", "Mul", "Div"])
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "int32", "int64", "uint8"])
def test_arithmetic(agrees: Agrees, op: str, dtype: str) -> None:
    for a, b in SHAPES:
        divisor = values(1, b, dtype)
        agrees(op, [values(0, a, dtype), np.where(divisor == 0, divisor + 1, divisor).astype(dtype)])


def test_integer_division_truncates(agrees: Agrees) -> None:
    a, b = np.array([7, -7, 7, -7, -8, 0], np.int32), np.array([2, 2, -2, -2, 4, -3], np.int32)
    agrees("Div", [a, b], expected=[np.array([3, -3, -3, 3, -2, 0], np.int32)])
    agrees("Div", [a, b])


@pytest.mark.parametrize(("base", "exponent"), [
    ("float32", "float32"), ("float32", "int64"), ("int32", "int32"), ("int64", "float32"), ("float64", "float32"),
])  # fmt: skip
def test_pow(agrees: Agrees, base: str, exponent: str) -> None:
    for a, b in SHAPES:
        agrees("Pow", [np.abs(values(0, a, base)) + np.array(1, base), np.abs(values(1, b, exponent))])


@pytest.mark.parametrize(("dtype", "fmod"), [("int32", 0), ("int64", 1), ("uint8", 0), ("float32", 1)])
def test_mod(agrees: Agrees, dtype: str, fmod: int) -> None:
    a, b = np.arange(20).astype(dtype), np.array([3] * 10 + [7] * 10, dtype)
    if not dtype.startswith("u"):
        a, b = a - np.array(10, dtype), b * np.array([1, -1] * 10, dtype)
    agrees("Mod", [a, b], {"fmod": fmod})


@pytest.mark.parametrize("op", ["Min", "Max", "Sum", "Mean"])
def test_variadic(agrees: Agrees, op: str) -> None:
    for shapes in [[(3, 4)], [(3, 4), (4,), (3, 1)], [(2, 1, 3), (), (4, 1), (1,)], [(0, 2), (2,)]]:
        agrees(op, [values(i, s, "float32") for i, s in enumerate(shapes)])
    if op in ("Min", "Max"):
        agrees(op, [values(0, (3, 2), "int64"), values(1, (2,), "int64")])
        agrees(op, [AWKWARD, np.float32(0.25).reshape(1)])


@pytest.mark.parametrize("op", sorted(UNARY))
def test_unary(agrees: Agrees, op: str) -> None:
    inputs = [values(0, s, "float32") for s in [(), (3, 5), (0, 2)]] + [AWKWARD]
    if op in ("Asin", "Acos", "Atanh"):
        inputs = [np.linspace(-1, 1, 9, dtype=np.float32)[1:-1]]
    for x in inputs:
        x = np.abs(x) + np.float32(1) if op == "Acosh" else x
        if op == "Sign":  # whether the sign of NaN is 0 or NaN is nobody's promise
            x = np.nan_to_num(x)
        agrees(op, [np.asarray(x)])
    if op in ("Abs", "Neg", "Sign"):
        agrees(op, [values(0, (7,), "int32")])


def test_round_takes_halves_to_even(agrees: Agrees) -> None:
    x = np.array([-2.5, -1.5, -0.5, 0.5, 1.5, 2.5, 3.5], np.float32)
    agrees("Round", [x], expected=[np.array([-2, -2, 0, 0, 2, 2, 4], np.float32)])


@pytest.mark.parametrize("op", ["Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual"])
def test_comparisons(agrees: Agrees, op: str) -> None:
    for dtype in ("float32", "int64", "int32"):
        for a, b in SHAPES:
            agrees(op, [values(0, a, dtype), values(1, b, dtype)])
    agrees(op, [AWKWARD[:, None], AWKWARD])


@pytest.mark.parametrize("op", ["And", "Or", "Xor"])
def test_logic(agrees: Agrees, op: str) -> None:
    for a, b in SHAPES:
        agrees(op, [values(0, a, "bool"), values(1, b, "bool")])
    agrees("Not", [values(0, (3, 2), "bool")])


@pytest.mark.parametrize("dtype", ["uint8", "int32", "uint64"])
def test_bits(agrees: Agrees, dtype: str) -> None:
    a, b = values(0, (3, 4), dtype), values(1, (4,), dtype)
    for op in ("BitwiseAnd", "BitwiseOr", "BitwiseXor"):
        agrees(op, [a, b])
    agrees("BitwiseNot", [a])


@pytest.mark.parametrize("direction", ["LEFT", "RIGHT"])
def test_bit_shift(agrees: Agrees, direction: str) -> None:
    for dtype in ("uint8", "uint32"):
        agrees("BitShift", [values(0, (3, 4), dtype), np.array([0, 1, 3, 7], dtype)], {"direction": direction})


def test_tests_of_floats(agrees: Agrees) -> None:
    agrees("IsNaN", [AWKWARD])
    for positive, negative in [(1, 1), (1, 0), (0, 1), (0, 0)]:
        agrees("IsInf", [AWKWARD], {"detect_positive": positive, "detect_negative": negative})


def test_where(agrees: Agrees) -> None:
    for shapes in [((3, 4), (3, 4), (3, 4)), ((4,), (2, 1, 1), (3, 1)), ((), (0, 2), (2,))]:
        condition, x, y = (
            values(i, s, d) for i, (s, d) in enumerate(zip(shapes, ("bool", "float32", "float32"), strict=True))
        )
        agrees("Where", [condition, x, y])
    agrees("Where", [values(0, (3,), "bool"), values(1, (3,), "int64"), values(2, (), "int64")])


TYPES = {
    "float32": TensorProto.FLOAT, "float16": TensorProto.FLOAT16, "float64": TensorProto.DOUBLE,
    "int8": TensorProto.INT8, "uint8": TensorProto.UINT8, "int16": TensorProto.INT16, "int32": TensorProto.INT32,
    "int64": TensorProto.INT64, "uint32": TensorProto.UINT32, "bool": TensorProto.BOOL,
}  # fmt: skip


@pytest.mark.parametrize("source", sorted(TYPES))
def test_cast(agrees: Agrees, source: str) -> None:
    x = np.abs(values(0, (3, 5), source) * np.array(3, source)) if source != "bool" else values(0, (3, 5), source)
    for target, number in TYPES.items():
        agrees("Cast", [x.astype(source)], {"to": int(number)})
        agrees("CastLike", [x.astype(source), np.zeros((), target)])
    agrees("Cast", [np.zeros((0, 2), source)], {"to": 1})


def test_cast_of_integers_keeps_low_bits(agrees: Agrees) -> None:
    agrees("Cast", [np.array([200, -1, 300, -200], np.int16)], {"to": TYPES["int8"]})


@pytest.mark.parametrize("source", ["float32", "float64", "float16"])
@pytest.mark.parametrize("target", ["int8", "uint8", "int32", "int64", "uint64"])
def test_cast_out_of_range_saturates(source: str, target: str) -> None:
    info = np.iinfo(target)
    x = np.array([np.nan, np.inf, -np.inf, 1.9, -1.9 if info.min else 0.9, info.max, info.min])
    with np.errstate(over="ignore"):
        x = x.astype(source)
    (y,) = evaluate("Cast", [x], dtype_out=[target])
    assert y[:5].tolist() == [0, info.max, info.min, 1, -1 if info.min else 0]
    assert y[6] == info.min
    assert y[5] == (info.max if float(x[5]) >= info.max else int(x[5]))


@pytest.mark.parametrize("op", ["Add", "Sub", "Mul", "Div"])
def test_fused_activation(op: str) -> None:
    a, b = values(0, (3, 4), "float32"), values(1, (3, 4), "float32")
    (plain,) = evaluate(op, [a, b])
    assert (evaluate(op, [a, b], {"activation": "Relu"})[0] == np.maximum(plain, 0)).all()
    clip = {"activation": "Clip", "clip_min": -0.5, "clip_max": 0.5}
    assert (evaluate(op, [a, b], clip)[0] == np.clip(plain, -0.5, 0.5)).all()
