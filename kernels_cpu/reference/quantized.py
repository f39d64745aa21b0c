"""Operators on quantized tensors: exact integer sums, then one float32 multiplication per output value.

Scale and zero point are in `Call.quant_in` and `quant_out`, not among the inputs. Requantization is
saturate(round_half_even(float32(sum) * float32(sx * sw / sy)) + zero_point); see `quantization.py`."""

from __future__ import annotations

import numpy as np

from edgert.kernels_cpu.reference.conv import correlate_exact, per_channel
from edgert.kernels_cpu.reference.fused import activate, split_residual
from edgert.kernels_cpu.reference.pool import window_sums
from edgert.kernels_cpu.reference.quantization import (
    dequantize,
    fixed_sum,
    offsets,
    quant_in,
    quant_out,
    quantize,
    ratio,
    saturate,
    spread,
    store,
    stored_bounds,
)  # fmt: skip
from edgert.kernels_cpu.reference.registry import Array, Call, Quant, evaluate, reference
from edgert.kernels_cpu.reference.window import Window, window


def matmul_exact(a: Array, b: Array) -> Array:
    """Integer matrix product, exact: float64 holds every sum of products below 2**53. Returns int64."""
    return np.matmul(a.astype(np.float64), b.astype(np.float64)).astype(np.int64)


def rescaled(call: Call, index: int, values: Array) -> Array:
    """Input `index` less its zero point, in units of the output's scale, float32."""
    quant = quant_in(call, index)
    return offsets(values, quant).astype(np.float32) * ratio((quant.scale,), quant_out(call)[0].scale)


def requantized(call: Call, total: Array, multiplier: Array, residual: Array | None) -> Array:
    """Integer sums times `multiplier` (broadcasts), plus the residual, activated and stored."""
    steps = total.astype(np.float32) * multiplier
    if residual is not None:
        steps = steps + rescaled(call, len(call.quant_in) - 1, residual)
    return store(call, steps)


@reference("QuantizeLinear")
def quantize_linear(call: Call, x: Array) -> Array:
    """saturate(round_half_even(x / scale) + zero_point). Source: ONNX QuantizeLinear-21."""
    quant, dtype = quant_out(call)
    return quantize(x, quant, dtype)


@reference("DequantizeLinear")
def dequantize_linear(call: Call, x: Array) -> Array:
    """(x - zero_point) * scale in float32, then the output dtype. Source: ONNX DequantizeLinear-21."""
    return dequantize(x, quant_in(call, 0)).astype(call.dtype_out[0] if call.dtype_out else "float32")


@reference("DynamicQuantizeLinear")
def dynamic_quantize_linear(call: Call, x: Array) -> tuple[Array, Array, Array]:
    """(uint8 values, scale, zero point) over the range of x and 0. Source: ONNX DynamicQuantizeLinear-11."""
    low, high = np.float32(min(0.0, x.min(initial=0.0))), np.float32(max(0.0, x.max(initial=0.0)))
    scale = np.asarray((high - low) / np.float32(255) if high > low else 1.0, np.float32)
    uint8 = np.dtype(np.uint8)
    zero = saturate(-low / scale, np.zeros((), np.int32), uint8)
    return quantize(x, Quant(scale, zero.astype(np.int32)), uint8), scale, zero


@reference("QLinearConv")
def qlinear_conv(call: Call, x: Array, w: Array, *rest: Array | None) -> Array:
    """x [B, C, *S], w int8 [N, C / group, *K], bias int32 [N], residual as y. Source: ONNX QLinearConv."""
    bias, residual = split_residual(call, rest)
    qx, qw, qy = quant_in(call, 0), quant_in(call, 1), quant_out(call)[0]
    win = window(x.shape[2:], w.shape[2:], call.attrs)
    total = correlate_exact(offsets(x, qx), offsets(w, qw), win, call.attr_int("group", 1))
    if bias is not None:
        total = total + per_channel(bias, x.ndim)
    multiplier = ratio((qx.scale, qw.scale), qy.scale)
    return requantized(call, total, spread(multiplier, 1, x.ndim), residual)


@reference("QLinearGemm")
def qlinear_gemm(call: Call, x: Array, w: Array, *rest: Array | None) -> Array:
    """x [..., K] times w int8 [N, K] transposed, bias int32 [N], residual [..., N]. Source: Gemm, transB."""
    bias, residual = split_residual(call, rest)
    qx, qw, qy = quant_in(call, 0), quant_in(call, 1), quant_out(call)[0]
    total = matmul_exact(offsets(x, qx), offsets(w, qw).T)
    if bias is not None:
        total = total + bias
    return requantized(call, total, ratio((qx.scale, qw.scale), qy.scale), residual)


@reference("QLinearMatMul")
def qlinear_matmul(call: Call, a: Array, b: Array) -> Array:
    """a @ b as numpy.matmul; b may be quantized per column. Source: ONNX QLinearMatMul-21."""
    qa, qb, qy = quant_in(call, 0), quant_in(call, 1), quant_out(call)[0]
    total = matmul_exact(offsets(a, qa), offsets(b, qb))
    return requantized(call, total, ratio((qa.scale, qb.scale), qy.scale), None)


@reference("QLinearAdd")
def qlinear_add(call: Call, a: Array, b: Array) -> Array:
    """a + b of the real values, broadcasting. Source: com.microsoft QLinearAdd.

    fixed_point: with multipliers of 21 bits, halves rounded up. Source: XNNPACK, qs8-vadd.
    """
    if call.attr_int("fixed_point", 0):
        scales = [float(ratio((quant_in(call, i).scale,), quant_out(call)[0].scale)) for i in (0, 1)]
        form = fixed_sum(*scales)
        total = offsets(a, quant_in(call, 0)) * form.first + offsets(b, quant_in(call, 1)) * form.second
        return store(call, (total + (1 << (form.shift - 1)) >> form.shift).astype(np.float64))
    return store(call, rescaled(call, 0, a) + rescaled(call, 1, b))


@reference("QLinearMul")
def qlinear_mul(call: Call, a: Array, b: Array) -> Array:
    """a * b of the real values, broadcasting. Source: com.microsoft QLinearMul."""
    qa, qb, qy = quant_in(call, 0), quant_in(call, 1), quant_out(call)[0]
    return requantized(call, offsets(a, qa) * offsets(b, qb), ratio((qa.scale, qb.scale), qy.scale), None)


@reference("QLinearConcat")
def qlinear_concat(call: Call, *inputs: Array) -> Array:
    """The inputs joined along `axis`, at the output's scale. Source: com.microsoft QLinearConcat."""
    parts = [rescaled(call, i, x) for i, x in enumerate(inputs)]
    return store(call, np.concatenate(parts, axis=call.attr_int("axis", 0)))


def mean_of_stored(call: Call, x: Array, win: Window, *, count_pad: bool) -> Array:
    """Means of the stored values of x [B, C, *S], within the fused activation; a counted pad is the centre."""
    centre = call.attr_int("half_away_from", 0)
    total, counts = window_sums(x.astype(np.int64) - centre, win, count_pad=count_pad)
    counts = np.maximum(counts, 1)
    steps = np.sign(total) * ((np.abs(total) + counts // 2) // counts)
    low, high = stored_bounds(call)
    return np.asarray(np.clip(steps + centre, low, high)).astype(x.dtype)


@reference("QLinearGlobalAveragePool")
def qlinear_global_average_pool(call: Call, x: Array) -> Array:
    """x [B, C, *S] -> [B, C, 1, ...], half_away_from as QLinearAveragePool.
    Source: com.microsoft QLinearGlobalAveragePool."""
    if "half_away_from" in call.attrs:
        whole = window(x.shape[2:], x.shape[2:], {})
        return mean_of_stored(call, x, whole, count_pad=False)
    qx, qy = quant_in(call, 0), quant_out(call)[0]
    total = offsets(x, qx).sum(axis=tuple(range(2, x.ndim)), keepdims=True)
    count = np.float64(np.prod(x.shape[2:]))
    return requantized(call, total, ratio((qx.scale,), qy.scale * count), None)


@reference("QLinearAveragePool")
def qlinear_average_pool(call: Call, x: Array) -> Array:
    """Mean over the window; a counted pad has the real value 0. Source: com.microsoft QLinearAveragePool.

    half_away_from: the mean is that of the stored values, halves rounded away from this one; x and y have one scale.
    Source: TensorFlow Lite, reference_integer_ops::AveragePool (128, which is its int8 0) and reference_ops (0).
    """
    if "half_away_from" in call.attrs:
        win = window(x.shape[2:], call.attr_ints("kernel_shape", []), call.attrs)
        return mean_of_stored(call, x, win, count_pad=bool(call.attr_int("count_include_pad", 0)))
    qx, qy = quant_in(call, 0), quant_out(call)[0]
    win = window(x.shape[2:], call.attr_ints("kernel_shape", []), call.attrs)
    count_pad = bool(call.attr_int("count_include_pad", 0))
    total, counts = window_sums(offsets(x, qx), win, count_pad=count_pad)
    multiplier = ratio((qx.scale,), qy.scale.astype(np.float64) * np.maximum(counts, 1))
    return requantized(call, total, multiplier, None)


@reference("QLinearUnary")
def qlinear_unary(call: Call, x: Array) -> Array:
    """The float operator named by attribute `op`, with its own attributes, through a table of all values; a fused
    activation bounds what the table holds."""
    attrs = {key: value for key, value in call.attrs.items() if key not in ("op", "activation", "clip_min", "clip_max")}
    limits = np.iinfo(x.dtype)
    every = np.arange(limits.min, limits.max + 1).astype(x.dtype)
    (real,) = evaluate(call.attr_str("op", ""), [dequantize(every, quant_in(call, 0))], attrs)
    quant, dtype = quant_out(call)
    table = np.clip(quantize(real, quant, dtype), *stored_bounds(call)).astype(dtype)
    return table[x.astype(np.int64) - limits.min]


@reference("MatMulInteger")
def matmul_integer(call: Call, a: Array, b: Array, a_zero: Array | None = None, b_zero: Array | None = None) -> Array:
    """8-bit a @ b less their zero points (a per row, b per column), int32. Source: ONNX MatMulInteger-10."""
    wide_a, wide_b = a.astype(np.int64), b.astype(np.int64)
    if a_zero is not None:
        wide_a = wide_a - (a_zero.reshape(-1, 1) if a_zero.ndim == 1 else a_zero).astype(np.int64)
    if b_zero is not None:
        wide_b = wide_b - b_zero.astype(np.int64)
    return matmul_exact(wide_a, wide_b).astype(np.int32)


def unpacked(packed: Array, bits: int, count: int) -> Array:
    """`count` values of `bits` bits from each row of bytes, the low bits first: uint8 [..., count]."""
    shifts = np.arange(0, 8, bits, dtype=np.uint8)
    values = (packed[..., None] >> shifts) & np.uint8((1 << bits) - 1)
    return values.reshape(*packed.shape[:-1], -1)[..., :count]


@reference("MatMulNBits")
def matmul_nbits(
    call: Call, a: Array, b: Array, scales: Array, zero_points: Array | None = None,
    group_index: Array | None = None, bias: Array | None = None,
) -> Array:  # fmt: skip
    """a [..., K] times dequantized b transposed: [..., N]. Source: com.microsoft MatMulNBits.

    b uint8 [N, blocks, block_size * bits / 8]; scales [N * blocks]; zero_points packed as b, row by row, or
    of the dtype of a, or absent (2 ** (bits - 1)).
    """
    n, k = call.attr_int("N", 0), call.attr_int("K", 0)
    bits, block = call.attr_int("bits", 4), call.attr_int("block_size", 32)
    blocks = -(-k // block)
    values = unpacked(b.reshape(n, blocks, -1), bits, block).astype(np.float32)
    zero: Array = np.full((n, blocks), 1 << (bits - 1), np.float32)
    if zero_points is not None:
        is_packed = zero_points.dtype == np.uint8
        zero = unpacked(zero_points.reshape(n, -1), bits, blocks) if is_packed else zero_points.reshape(n, blocks)
    w = (values - zero.astype(np.float32)[..., None]) * scales.astype(np.float32).reshape(n, blocks, 1)
    y = np.matmul(a.astype(np.float32), w.reshape(n, -1)[:, :k].T)
    if bias is not None:
        y = y + bias
    return activate(call, y.astype(a.dtype))
