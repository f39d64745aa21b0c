"""Softmax, normalizations and reductions on every ISA level, against the reference."""

from __future__ import annotations

import numpy as np
import pytest
from offers import check


@pytest.mark.parametrize("op", ["Softmax", "LogSoftmax"])
@pytest.mark.parametrize(
    ("shape", "axis"),
    [((1, 1), -1), ((3, 15), 1), ((2, 3, 16), -1), ((5, 17), -1), ((2, 10, 3, 5), 1), ((1, 4, 33), 1), ((64, 1000), 1)],
)
def test_softmax(op: str, shape: tuple[int, ...], axis: int, rng: np.random.Generator) -> None:
    x = (rng.standard_normal(shape) * 8).astype(np.float32)
    check(op, [x], attrs={"axis": axis}, rtol=3e-6, atol=2e-6)


def test_softmax_of_large_values_does_not_overflow() -> None:
    check("Softmax", [np.array([[1e30, 1e30, -1e30], [-np.inf, 0, 1]], np.float32)], rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("op", ["ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin"])
@pytest.mark.parametrize(
    ("shape", "axes", "keepdims"),
    [((2, 5, 7, 7), [2, 3], 1), ((2, 5, 7, 7), [-1, -2], 0), ((3, 33), [1], 1), ((17,), [0], 0), ((4, 3, 5), None, 1)],
)
def test_reduce(
    op: str, shape: tuple[int, ...], axes: list[int] | None, keepdims: int, rng: np.random.Generator
) -> None:
    x = rng.standard_normal(shape).astype(np.float32)
    attrs = {"keepdims": keepdims}
    if axes is None:
        check(op, [x], attrs=attrs, rtol=1e-5, atol=1e-5)
    else:
        value = np.array(axes, np.int64)
        check(op, [x, value], attrs=attrs, constants={1: value}, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("op", ["ReduceMax", "ReduceMin"])
def test_extremes_of_nan_are_nan(op: str) -> None:
    x = np.ones((3, 40), np.float32)
    x[0, 0] = x[1, 39] = np.nan
    axes = np.array([1], np.int64)
    check(op, [x, axes], constants={1: axes})


@pytest.mark.parametrize("op", ["LayerNormalization", "RMSNormalization"])
@pytest.mark.parametrize(("shape", "axis"), [((3, 15), -1), ((2, 4, 64), -1), ((2, 3, 17), 1), ((1, 1), -1)])
def test_normalize_rows(op: str, shape: tuple[int, ...], axis: int, rng: np.random.Generator) -> None:
    x = (rng.standard_normal(shape) * 3 + 1).astype(np.float32)
    scale, bias = (rng.standard_normal(shape[axis:] if axis > 0 else shape[-1:]).astype(np.float32) for _ in range(2))
    inputs = [x, scale] if op == "RMSNormalization" else [x, scale, bias]
    constants = dict(enumerate(inputs[1:], 1))
    check(op, inputs, attrs={"axis": axis}, constants=constants, rtol=1e-5, atol=2e-5)


@pytest.mark.parametrize("shape", [(2, 5, 7, 7), (1, 3, 4, 4), (1, 4, 33), (2, 5)])
def test_normalize_planes(shape: tuple[int, ...], rng: np.random.Generator) -> None:
    x = (rng.standard_normal(shape) * 3 + 1).astype(np.float32)
    scale, bias = (rng.standard_normal(shape[1]).astype(np.float32) for _ in range(2))
    check("InstanceNormalization", [x, scale, bias], constants={1: scale, 2: bias}, rtol=1e-5, atol=2e-5)
