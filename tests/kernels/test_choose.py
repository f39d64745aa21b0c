"""Where, comparisons, logic and casts against the reference: broadcasting, every type, and the ends of types."""

from __future__ import annotations

import numpy as np
import pytest
from offers import check

from edgert.graph.ir import TensorType
from edgert.kernels_cpu.elementwise import CAST_TYPES

SHAPES = [
    ((3, 5), (3, 5), (3, 5)), ((2, 1, 4, 4), (2, 3, 4, 4), ()), ((1, 33), (7, 33), (7, 1)), ((7, 1), (1, 1), (7, 40)),
    ((1,), (5,), (5,)), ((2, 3, 1), (1, 3, 17), (2, 1, 17)),
]  # fmt: skip


def broadcast(*shapes: tuple[int, ...]) -> tuple[int, ...]:
    return np.broadcast_shapes(*shapes)


@pytest.mark.parametrize("shapes", SHAPES)
@pytest.mark.parametrize("dtype", ["float32", "int64", "bool", "int16"])
def test_where(shapes: tuple[tuple[int, ...], ...], dtype: str, rng: np.random.Generator) -> None:
    condition = rng.random(shapes[0]) < 0.5
    x, y = (np.asarray(rng.integers(-100, 100, shape)).astype(dtype) for shape in shapes[1:])
    out = [TensorType(dtype, broadcast(*shapes))]
    check("Where", [condition, x, y], out, out_dtype=dtype)
    check("Where", [condition, x, y], out, out_dtype=dtype, constants={2: y})


@pytest.mark.parametrize("op", ["Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual"])
@pytest.mark.parametrize("dtype", ["float32", "int32", "int64"])
def test_comparisons(op: str, dtype: str, rng: np.random.Generator) -> None:
    for first, second, _ in SHAPES:
        a, b = (np.asarray(rng.integers(-2, 3, shape)).astype(dtype) for shape in (first, second))
        out = [TensorType("bool", broadcast(first, second))]
        check(op, [a, b], out, out_dtype="bool")
        check(op, [a, b], out, out_dtype="bool", constants={1: b})


def test_numbers_that_are_none() -> None:
    a = np.array([np.nan, 1, np.nan, -np.inf, 0, -0.0], np.float32)
    b = np.array([np.nan, np.nan, 1, -np.inf, -0.0, 1], np.float32)
    out = [TensorType("bool", a.shape)]
    for op in ("Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual"):
        check(op, [a, b], out, out_dtype="bool")
    check("IsNaN", [np.tile(a, 7)], out_dtype="bool")


@pytest.mark.parametrize("op", ["And", "Or", "Xor", "Equal"])
def test_logic(op: str, rng: np.random.Generator) -> None:
    for first, second, _ in SHAPES:
        a, b = rng.random(first) < 0.5, rng.random(second) < 0.5
        check(op, [np.asarray(a), np.asarray(b)], [TensorType("bool", broadcast(first, second))])
    check("Not", [rng.random((3, 19)) < 0.5])


@pytest.mark.parametrize("source", CAST_TYPES)
@pytest.mark.parametrize("target", CAST_TYPES)
def test_cast(source: str, target: str, rng: np.random.Generator) -> None:
    values = np.array([0, 1, -1, 2, 127, 128, -129, 255, 256, 2**31 - 1, -(2**31), 2**24 + 1, 2**40])
    ends = np.array([np.nan, np.inf, -np.inf, 1e20, -1e20, 0.5, -0.5, 2.7, -2.7, 255.9, -0.0, 2.0**31, 2.0**63])
    x = ends.astype(source) if source == "float32" else values.astype(source)
    check("Cast", [np.tile(x, 4)], attrs={"to": target}, out_dtype=target)


def test_refused() -> None:
    with pytest.raises(AssertionError, match="expected inputs of"):
        check("Equal", [np.zeros(3, np.int16)] * 2, [TensorType("bool", (3,))], out_dtype="bool")
    with pytest.raises(AssertionError, match="float16 to float32"):
        check("Cast", [np.zeros(3, np.float16)], attrs={"to": "float32"}, out_dtype="float32")
