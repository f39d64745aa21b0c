"""Comparisons, logic, bits and choice, value by value, with NumPy broadcasting.
Arithmetic is in `elementwise.py`."""

from __future__ import annotations

import numpy as np

from edgert.errors import UnsupportedError
from edgert.kernels_cpu.reference.registry import Array, Call, reference

COMPARISONS: dict[str, np.ufunc] = {
    "Equal": np.equal, "Greater": np.greater, "GreaterOrEqual": np.greater_equal,
    "Less": np.less, "LessOrEqual": np.less_equal,
}  # fmt: skip

BINARY: dict[str, np.ufunc] = {
    "And": np.logical_and, "Or": np.logical_or, "Xor": np.logical_xor,
    "BitwiseAnd": np.bitwise_and, "BitwiseOr": np.bitwise_or, "BitwiseXor": np.bitwise_xor,
}  # fmt: skip


@reference(*COMPARISONS)
def compare(call: Call, a: Array, b: Array) -> Array:
    """ONNX Equal ... LessOrEqual: bool. Comparisons with NaN are False."""
    return np.asarray(COMPARISONS[call.op](a, b))


@reference(*BINARY)
def binary(call: Call, a: Array, b: Array) -> Array:
    """ONNX And, Or, Xor of bool; BitwiseAnd, BitwiseOr, BitwiseXor of integers."""
    return np.asarray(BINARY[call.op](a, b))


@reference("Not", "BitwiseNot")
def invert(call: Call, x: Array) -> Array:
    """ONNX Not of bool, BitwiseNot of integers."""
    return np.asarray(np.invert(x))


@reference("BitShift")
def bit_shift(call: Call, x: Array, by: Array) -> Array:
    """ONNX BitShift-28: right shifts copy the sign; by a negative number or all bits and more, everything but the
    copies of the sign is out."""
    direction = call.attr_str("direction", "")
    if direction not in ("LEFT", "RIGHT"):
        raise UnsupportedError(f"expected BitShift direction LEFT or RIGHT, found {direction!r}")
    width = np.iinfo(x.dtype).bits
    beyond = (by < 0) | (by >= width)
    if direction == "LEFT":
        return np.where(beyond, x.dtype.type(0), np.left_shift(x, np.where(beyond, 0, by).astype(x.dtype)))
    rest = np.where(x < 0, x.dtype.type(-1 if x.dtype.kind == "i" else 0), x.dtype.type(0))
    return np.where(beyond, rest, np.right_shift(x, np.where(beyond, 0, by).astype(x.dtype)))


@reference("IsNaN")
def is_nan(call: Call, x: Array) -> Array:
    """ONNX IsNaN: bool."""
    return np.asarray(np.isnan(x))


@reference("IsInf")
def is_inf(call: Call, x: Array) -> Array:
    """ONNX IsInf: bool; `detect_positive` and `detect_negative` choose the signs."""
    positive, negative = call.attr_int("detect_positive", 1), call.attr_int("detect_negative", 1)
    return np.asarray(((x == np.inf) & bool(positive)) | ((x == -np.inf) & bool(negative)))


@reference("Where")
def where(call: Call, condition: Array, x: Array, y: Array) -> Array:
    """ONNX Where: x where condition, else y."""
    return np.where(condition, x, y)
