"""Reductions, positions of extremes and running sums against ONNX Runtime."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

Agrees = Callable[..., None]
OPERATORS = ["Sum", "Mean", "Max", "Min", "Prod", "L1", "L2", "LogSum", "LogSumExp", "SumSquare"]


def i64(*values: int) -> Any:
    return np.array(values, np.int64)


def data(*shape: int, positive: bool = False) -> Any:
    x = np.random.default_rng(0).normal(0, 1.5, shape).astype(np.float32)
    return np.abs(x) + np.float32(0.1) if positive else x


@pytest.mark.parametrize("op", OPERATORS)
@pytest.mark.parametrize("keepdims", [0, 1])
def test_reduce(agrees: Agrees, op: str, keepdims: int) -> None:
    x = data(3, 4, 5, positive=op == "LogSum")
    for axes in [[], [i64(0)], [i64(-1, 1)], [i64(0, 1, 2)], [i64()]]:
        agrees(f"Reduce{op}", [x, *axes], {"keepdims": keepdims})
    agrees(f"Reduce{op}", [x[:1, :, :1], i64(0)], {"keepdims": keepdims})


@pytest.mark.parametrize("op", ["Sum", "Max", "Mean"])
def test_noop_with_empty_axes(agrees: Agrees, op: str) -> None:
    for axes in [[], [i64()], [i64(1)]]:
        agrees(f"Reduce{op}", [data(3, 4), *axes], {"noop_with_empty_axes": 1})


def test_no_axes_still_squares(agrees: Agrees) -> None:
    """ONNX ReduceSumSquare-18: reduction over no axes does the other steps."""
    x = data(3, 4)
    agrees("ReduceSumSquare", [x, i64()], {"noop_with_empty_axes": 1}, expected=[x * x])
    agrees("ReduceL2", [x, i64()], {"noop_with_empty_axes": 1}, expected=[np.abs(x)])


@pytest.mark.parametrize("op", ["Sum", "Max", "Min", "Prod", "Mean"])
def test_reduce_integers(agrees: Agrees, op: str) -> None:
    x = np.random.default_rng(1).integers(-4, 5, (3, 4)).astype(np.int32)
    agrees(f"Reduce{op}", [x, i64(1)])
    if op != "Mean":
        agrees(f"Reduce{op}", [x.astype(np.int64), i64(0)])


@pytest.mark.parametrize("op", ["Sum", "Prod", "L1", "L2", "SumSquare", "LogSum", "LogSumExp", "Max", "Min"])
def test_reduce_of_nothing(agrees: Agrees, op: str) -> None:
    nothing = {"Prod": 1.0, "LogSum": -np.inf, "LogSumExp": -np.inf, "Max": -np.inf, "Min": np.inf}.get(op, 0.0)
    agrees(f"Reduce{op}", [data(2, 0), i64(1)], expected=[np.full((2, 1), nothing, np.float32)])


def test_log_sum_exp_of_large_values(agrees: Agrees) -> None:
    x = np.array([[1000, 1000], [-1000, -1001], [np.inf, 0], [-np.inf, -np.inf]], np.float32)
    expected = [1000 + np.log(2), -1000 + np.log1p(np.exp(-1)), np.inf, -np.inf]
    agrees("ReduceLogSumExp", [x, i64(1)], {"keepdims": 0}, expected=[np.array(expected, np.float32)])


@pytest.mark.parametrize("op", ["ArgMax", "ArgMin"])
@pytest.mark.parametrize("last", [0, 1])
def test_arg_extremes(agrees: Agrees, op: str, last: int) -> None:
    x = np.random.default_rng(2).integers(0, 3, (3, 4, 6)).astype(np.float32)
    for axis in (0, 1, -1):
        for keepdims in (0, 1):
            agrees(op, [x], {"axis": axis, "keepdims": keepdims, "select_last_index": last})
    agrees(op, [x.astype(np.uint8)], {"axis": 1})


@pytest.mark.parametrize("exclusive", [0, 1])
@pytest.mark.parametrize("reverse", [0, 1])
def test_cumsum(agrees: Agrees, exclusive: int, reverse: int) -> None:
    for axis in (0, -1, 1):
        attrs = {"exclusive": exclusive, "reverse": reverse}
        agrees("CumSum", [data(3, 4, 2), np.array(axis, np.int64)], attrs)
        agrees("CumSum", [np.arange(6, dtype=np.int32).reshape(2, 3, 1), np.array(axis, np.int32)], attrs)
