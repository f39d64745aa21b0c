"""The arithmetic of affine quantization that every quantized operator shares.
Which operators there are is in `quantized.py`."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from edgert.errors import UnsupportedError
from edgert.kernels_cpu.reference.fused import bounds
from edgert.kernels_cpu.reference.registry import Array, Call, Quant


def spread(values: Array, axis: int | None, rank: int) -> Array:
    """Per-channel values [C] shaped to broadcast along `axis` of `rank` axes; scalars as they are."""
    if axis is None or values.ndim == 0:
        return values.reshape(())
    return values.reshape(-1, *(1,) * (rank - 1 - axis % rank))


def need_quant(quant: Quant | None, what: str) -> Quant:
    """`quant`, which the operator requires. Raises UnsupportedError naming `what`."""
    if quant is None:
        raise UnsupportedError(f"expected {what} to be quantized, found no scale and zero point")
    return quant


def quant_in(call: Call, index: int) -> Quant:
    """Quantization of input `index`. Raises UnsupportedError when there is none."""
    return need_quant(call.quant_in[index] if index < len(call.quant_in) else None, f"input {index}")


def quant_out(call: Call) -> tuple[Quant, np.dtype[Any]]:
    """(quantization, integer dtype) of output 0. Raises UnsupportedError when it has none."""
    quant = need_quant(call.quant_out[0] if call.quant_out else None, "output 0")
    return quant, np.dtype(call.dtype_out[0] if call.dtype_out else "uint8")


def saturate(steps: Array, zero_point: Array, dtype: np.dtype[Any]) -> Array:
    """round_half_even(steps) + zero_point, held within the range of `dtype`. Source: ONNX QuantizeLinear."""
    limits = np.iinfo(dtype)
    whole = np.rint(steps).astype(np.float64) + zero_point
    return np.clip(whole, limits.min, limits.max).astype(dtype)


def quantize(real: Array, quant: Quant, dtype: np.dtype[Any]) -> Array:
    """saturate(round_half_even(real / scale) + zero_point), the division in float32."""
    scale = spread(quant.scale, quant.axis, real.ndim)
    return saturate(real.astype(np.float32) / scale, spread(quant.zero_point, quant.axis, real.ndim), dtype)


def offsets(stored: Array, quant: Quant) -> Array:
    """stored - zero_point, int64."""
    return stored.astype(np.int64) - spread(quant.zero_point, quant.axis, stored.ndim)


def dequantize(stored: Array, quant: Quant) -> Array:
    """scale * (stored - zero_point), float32."""
    return offsets(stored, quant).astype(np.float32) * spread(quant.scale, quant.axis, stored.ndim)


def ratio(numerators: tuple[Array, ...], denominator: Array) -> Array:
    """Product of `numerators` / `denominator`, float32: each step rounded to it unless the denominator is float64.

    This is the multiplier of a requantization: the same bits in the reference, the planner and kernels, and those
    of XNNPACK (so of LiteRT) and ONNX Runtime.
    """
    value: Array = np.ones((), np.float32)
    for factor in numerators:
        value = value * np.asarray(factor, np.float32)
    return np.asarray(value / np.asarray(denominator), np.float32)


class FixedSum(NamedTuple):
    """a * first + b * second + 2 ** (shift - 1) >> shift is a sum in steps of its output; a and b less zero points."""

    first: int
    second: int
    shift: int


MULTIPLIER_BITS = 20
"""The larger multiplier of a fixed-point sum is in [2**20, 2**21)."""


def fixed_sum(first: float, second: float) -> FixedSum:
    """The fixed-point form of a sum whose operands have scales `first` and `second` relative to the output's.

    Raises UnsupportedError for scales of which the larger is not in [2**-10, 2**8).
    Source: XNNPACK, xnn_init_qs8_add_minmax_scalar_params.
    """
    largest = max(np.float32(first), np.float32(second))
    if not 2.0**-10 <= largest < 2.0**8:
        raise UnsupportedError(f"expected the larger scale of a fixed-point sum in [2**-10, 2**8), found {largest:g}")
    shift = MULTIPLIER_BITS + 1 - int(np.frexp(largest)[1])
    a, b = (int(np.rint(np.float64(np.float32(scale)) * 2.0**shift)) for scale in (first, second))
    return FixedSum(a, b, shift)


def store(call: Call, steps: Array) -> Array:
    """`steps` (float32, the result in units of the output's scale) through the fused activation, quantized.

    The activation bounds are quantized and applied to the stored values; rounding is monotone, so this
    equals clipping the real value.
    """
    quant, dtype = quant_out(call)
    return np.clip(saturate(steps, quant.zero_point, dtype), *stored_bounds(call)).astype(dtype)


def stored_bounds(call: Call) -> tuple[int, int]:
    """(lowest, highest) stored value of output 0 that the fused activation lets through."""
    quant, dtype = quant_out(call)
    limits = np.iinfo(dtype)
    low, high = (
        int(quantize(np.asarray(b), quant, dtype)) if np.isfinite(b) else edge
        for b, edge in zip(bounds(call), (limits.min, limits.max), strict=True)
    )
    return low, high
