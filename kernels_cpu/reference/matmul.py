"""Matrix products: MatMul, Gemm and Einsum.
Quantized products are in `quantized.py`."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgert.kernels_cpu.reference.fused import activate, split_residual
from edgert.kernels_cpu.reference.registry import Array, Call, reference


def product(a: Array, b: Array) -> Array:
    """numpy.matmul with float16 accumulated in float32; integers wrap around."""
    if a.dtype == np.float16:
        return np.matmul(a.astype(np.float32), b.astype(np.float32)).astype(np.float16)
    return np.asarray(np.matmul(a, b))


@reference("MatMul")
def matmul(call: Call, a: Array, b: Array) -> Array:
    """ONNX MatMul: numpy.matmul, with 1-D operands and batch broadcasting. May carry a fused activation."""
    return activate(call, product(a, b))


@reference("Gemm")
def gemm(call: Call, a: Array, b: Array, *rest: Array | None) -> Array:
    """ONNX Gemm: alpha * A' B' + beta * C of 2-D A' [M, K], B' [K, N]; C broadcasts to [M, N]. May carry a
    residual [M, N], its last input, and then a fused activation."""
    c, residual = split_residual(call, rest)
    a = a.T if call.attr_int("transA", 0) else a
    b = b.T if call.attr_int("transB", 0) else b
    y = _scaled(call.attr_float("alpha", 1.0), product(a, b))
    if c is not None:
        y = y + _scaled(call.attr_float("beta", 1.0), c)
    if residual is not None:
        y = y + residual
    return activate(call, y)


def _scaled(factor: float, x: Array) -> Array:
    return x if factor == 1.0 else np.asarray(factor * x).astype(x.dtype)


@reference("Einsum")
def einsum(call: Call, *values: Array) -> Array:
    """ONNX Einsum: numpy.einsum of `equation`."""
    operands: tuple[Any, ...] = values
    return np.asarray(np.einsum(call.attr_str("equation", ""), *operands))


@reference("Det")
def det(call: Call, x: Array) -> Array:
    """ONNX Det: the determinant of each matrix [*, M, M], computed in float64."""
    return np.asarray(np.linalg.det(x.astype(np.float64)), x.dtype)
