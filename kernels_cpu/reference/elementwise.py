"""Arithmetic, elementary functions and casts, value by value, with NumPy broadcasting.
Comparisons, logic and bits are in `logic.py`; activation functions in `activation.py`."""

from __future__ import annotations

from functools import reduce
from typing import Any

import numpy as np

from edgert.kernels_cpu.reference.fused import activate
from edgert.kernels_cpu.reference.registry import Array, Call, reference

UNARY: dict[str, np.ufunc] = {
    "Abs": np.absolute, "Neg": np.negative, "Exp": np.exp, "Log": np.log, "Sqrt": np.sqrt,
    "Reciprocal": np.reciprocal, "Floor": np.floor, "Ceil": np.ceil, "Round": np.rint, "Sign": np.sign,
    "Sin": np.sin, "Cos": np.cos, "Tan": np.tan, "Asin": np.arcsin, "Acos": np.arccos, "Atan": np.arctan,
    "Sinh": np.sinh, "Cosh": np.cosh, "Asinh": np.arcsinh, "Acosh": np.arccosh, "Atanh": np.arctanh,
}  # fmt: skip
"""Operators of one value, and the ufunc of the same meaning."""


@reference(*UNARY)
def unary(call: Call, x: Array) -> Array:
    """ONNX Abs ... Atanh: same shape and dtype as x. Round takes halves to even."""
    return np.asarray(UNARY[call.op](x), x.dtype)


@reference("Add", "Sub", "Mul")
def add_sub_mul(call: Call, a: Array, b: Array) -> Array:
    """ONNX Add, Sub, Mul; integers wrap around. May carry a fused activation."""
    ufunc = {"Add": np.add, "Sub": np.subtract, "Mul": np.multiply}[call.op]
    return activate(call, np.asarray(ufunc(a, b)))


def truncated_divide(a: Array, b: Array) -> Array:
    """Integer a / b rounded toward zero, as C does; x / 0 gives 0."""
    quotient, remainder = np.floor_divide(a, b), np.remainder(a, b)
    return np.asarray(quotient + ((remainder != 0) & ((a < 0) != (b < 0))), a.dtype)


@reference("Div")
def div(call: Call, a: Array, b: Array) -> Array:
    """ONNX Div; integers round toward zero. May carry a fused activation."""
    if a.dtype.kind in "iu":
        return activate(call, truncated_divide(a, b))
    return activate(call, np.asarray(np.divide(a, b)))


@reference("Pow")
def power(call: Call, x: Array, y: Array) -> Array:
    """ONNX Pow: x ** y in the dtype of x; an integer base goes through float64 unless both are integers >= 0
    in the exponent, where it wraps around."""
    if x.dtype.kind == "f":
        return np.asarray(np.power(x, y)).astype(x.dtype)
    if y.dtype.kind in "iu" and not np.any(y < 0):
        return np.asarray(np.power(x, y.astype(x.dtype)))
    return saturating_cast(np.power(x.astype(np.float64), y), x.dtype)


@reference("Mod")
def mod(call: Call, a: Array, b: Array) -> Array:
    """ONNX Mod: the sign of the divisor (fmod=0, as Python's %) or of the dividend (fmod=1, as C's fmod)."""
    return np.asarray(np.fmod(a, b) if call.attr_int("fmod", 0) else np.mod(a, b))


@reference("Min", "Max")
def min_max(call: Call, *values: Array) -> Array:
    """ONNX Min, Max of one or more broadcast tensors; NaN wins."""
    return reduce(np.minimum if call.op == "Min" else np.maximum, values)


@reference("Sum", "Mean")
def sum_mean(call: Call, *values: Array) -> Array:
    """ONNX Sum, Mean of one or more broadcast tensors."""
    total = np.asarray(reduce(np.add, values))
    return total if call.op == "Sum" else np.asarray(total / total.dtype.type(len(values)), total.dtype)


def saturating_cast(x: Array, dtype: np.dtype[Any]) -> Array:
    """Floats to integers toward zero. Values out of range take the nearest end and NaN gives 0, on every
    processor (ONNX leaves both undefined)."""
    info = np.iinfo(dtype.name)
    # 2**k, not 2**k - 1: the former is exact in every float type, and the first value too large.
    too_large, too_small = x >= float(info.max // 2 + 1) * 2.0, x < float(info.min)
    y = np.where(too_large | too_small | np.isnan(x), x.dtype.type(0), x).astype(dtype)
    y[too_large], y[too_small] = info.max, info.min
    return y


def cast_values(x: Array, dtype: np.dtype[Any]) -> Array:
    """x in another dtype: floats saturate into integers, integers keep their low bits, non-zero is True."""
    if x.dtype.kind == "f" and dtype.kind in "iu":
        return saturating_cast(x, dtype)
    return x.astype(dtype)


@reference("Cast")
def cast(call: Call, x: Array) -> Array:
    """ONNX Cast to the dtype of the output."""
    return cast_values(x, np.dtype(call.dtype_out[0]))


@reference("BitCast")
def bit_cast(call: Call, x: Array) -> Array:
    """ONNX BitCast-26: the same bits in the dtype of the output; to bool, every bit but none is true."""
    dtype = np.dtype(call.dtype_out[0])
    bits = np.ascontiguousarray(x)
    return (bits.view(np.uint8) != 0 if dtype == np.bool_ else bits.view(dtype)).reshape(x.shape)


@reference("CastLike")
def cast_like(call: Call, x: Array, target: Array) -> Array:
    """ONNX CastLike: Cast to the dtype of `target`, whose values do not matter."""
    return cast_values(x, target.dtype)
