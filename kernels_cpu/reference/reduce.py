"""Reductions along axes, the position of extremes, and running sums.
TopK is in `select.py`."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgert.kernels_cpu.reference.elementwise import cast_values, truncated_divide
from edgert.kernels_cpu.reference.registry import Array, Call, reference


def reduced_axes(call: Call, rank: int, axes: Array | None) -> tuple[int, ...]:
    """The axes to reduce: those given, else all, or none with `noop_with_empty_axes`."""
    if axes is not None and axes.size:
        return tuple(int(a) for a in axes.ravel())
    return () if call.attr_int("noop_with_empty_axes", 0) else tuple(range(rank))


def accumulator(x: Array) -> Array:
    """x in the type sums are made in: float64 for floats, so that order does not matter, else 64 bits."""
    return x.astype({"f": np.float64, "u": np.uint64}.get(x.dtype.kind, np.int64))


@reference(
    "ReduceSum", "ReduceMean", "ReduceProd", "ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp",
    "ReduceSumSquare",
)  # fmt: skip
def reduce_sums(call: Call, x: Array, axes: Array | None = None) -> Array:
    """ONNX ReduceSum ... ReduceSumSquare: same dtype as x. Nothing sums to 0 and multiplies to 1; the mean of
    integers is rounded toward zero."""
    how: dict[str, Any] = {
        "axis": reduced_axes(call, x.ndim, axes),
        "keepdims": bool(call.attr_int("keepdims", 1)),
    }
    wide, kind = accumulator(x), call.op.removeprefix("Reduce")
    if kind == "LogSumExp":
        top = np.max(wide, axis=how["axis"], keepdims=True, initial=-np.inf)
        top = np.where(np.isfinite(top), top, 0.0)  # exp of inf - inf is NaN
        y = np.log(np.sum(np.exp(wide - top), **how)) + top.reshape(np.sum(top, **how).shape)
    elif kind == "Prod":
        y = np.prod(wide, **how)
    elif kind in ("L1", "L2", "SumSquare"):
        y = np.sum(np.abs(wide) if kind == "L1" else wide * wide, **how)
        y = np.sqrt(y) if kind == "L2" else y
    else:
        y = np.sum(wide, **how)
        if kind == "Mean":
            count = np.asarray(x.size // max(np.size(y), 1), wide.dtype)
            y = truncated_divide(np.asarray(y), count) if x.dtype.kind in "iu" else y / count
        y = np.log(y) if kind == "LogSum" else y
    return cast_values(np.asarray(y), x.dtype)


@reference("ReduceMax", "ReduceMin")
def reduce_extremes(call: Call, x: Array, axes: Array | None = None) -> Array:
    """ONNX ReduceMax, ReduceMin: same dtype as x; NaN wins. The extreme of nothing is the far end of its
    type."""
    ends: tuple[Any, Any] = (False, True)
    if x.dtype.kind == "f":
        ends = (-np.inf, np.inf)
    elif x.dtype.kind in "iu":
        ends = (np.iinfo(x.dtype).min, np.iinfo(x.dtype).max)
    function, initial = (np.max, ends[0]) if call.op == "ReduceMax" else (np.min, ends[1])
    over, keep = reduced_axes(call, x.ndim, axes), bool(call.attr_int("keepdims", 1))
    return np.asarray(function(x, axis=over, keepdims=keep, initial=initial), x.dtype)


@reference("ArgMax", "ArgMin")
def arg_extremes(call: Call, x: Array) -> Array:
    """ONNX ArgMax, ArgMin: int64 position along `axis` of the first extreme, or the last one with
    `select_last_index`."""
    axis, find = call.attr_int("axis", 0), np.argmax if call.op == "ArgMax" else np.argmin
    if call.attr_int("select_last_index", 0):
        y = x.shape[axis] - 1 - find(np.flip(x, axis), axis=axis)
    else:
        y = find(x, axis=axis)
    y = np.asarray(y, np.int64)
    return np.expand_dims(y, axis) if call.attr_int("keepdims", 1) else y


@reference("CumSum", "CumProd")
def cumulative(call: Call, x: Array, axis: Array) -> Array:
    """ONNX CumSum, CumProd along the scalar input `axis`; `exclusive` leaves the value itself out, `reverse`
    begins at the end."""
    ufunc = np.add if call.op == "CumSum" else np.multiply
    at = int(axis.item())
    values = np.flip(x, at) if call.attr_int("reverse", 0) else x
    y = ufunc.accumulate(values, axis=at, dtype=x.dtype)
    if call.attr_int("exclusive", 0) and x.shape[at]:
        y = np.roll(y, 1, axis=at)
        np.moveaxis(y, at, 0)[0] = ufunc.identity
    return np.flip(y, at) if call.attr_int("reverse", 0) else y
