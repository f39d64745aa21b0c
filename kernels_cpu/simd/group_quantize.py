"""Rows of floats -> g32: int8 in groups of 32 with a scale and a sum each, the bits of reference/g32.py everywhere.

Import from here, not through the package. A group is one vector of 32 to LLVM, as many registers as the level needs.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from edgert.kernels_cpu.simd import helper, udiv
from edgert.kernels_cpu.simd.arith import emit_first
from edgert.kernels_cpu.simd.types import F32, I8, I16, I32, I64, call, concat, const, pointer, splat

GROUP = 32
_FLOATS, _WORDS, _HALFWORDS, _BYTES = (ir.VectorType(t, GROUP) for t in (F32, I32, I16, I8))
_HALF = ir.VectorType(F32, GROUP // 2)
_MAGNITUDE = 0x7FFFFFFF
_SMALLEST = (127 - 100) << 23
"""The bits of 2**-100: reference/g32.py says why."""
_INFINITE = 255 << 23
_ROUNDER = 12582912.0
"""1.5 * 2**23: adding it rounds to whole numbers, half to even, and leaves their low byte in that of the float."""


def _emit_quantize(b: Any, x: Any, values: Any, scale: Any, total: Any) -> None:
    """The group x (32 floats) to 32 bytes at `values`, a float at `scale` and an int32 at `total`."""
    # As integers, magnitudes are in the same order, and NaN is above infinity.
    magnitudes = b.and_(b.bitcast(x, _WORDS), const(_WORDS, _MAGNITUDE))
    bits = call(b, "llvm.vector.reduce.smax.v32i32", I32, magnitudes)
    above = b.sub(bits, ir.Constant(I32, _SMALLEST))
    usable = b.icmp_unsigned("<", above, ir.Constant(I32, _INFINITE - _SMALLEST))
    largest = b.bitcast(bits, F32)
    steps = ir.Constant(F32, 127.0)
    factor = b.select(usable, b.fdiv(steps, largest), ir.Constant(F32, 0.0))
    small = b.icmp_signed("<", bits, ir.Constant(I32, _SMALLEST))
    size = b.select(small, ir.Constant(F32, 0.0), b.fdiv(largest, steps))
    rounded = b.fadd(b.fmul(x, splat(b, factor, _FLOATS)), const(_FLOATS, _ROUNDER))
    # What is not a number left anything in its low byte: no value then.
    kept = b.select(usable, ir.Constant(I8, -1), ir.Constant(I8, 0))
    q = b.and_(b.trunc(b.bitcast(rounded, _WORDS), _BYTES), splat(b, kept, _BYTES))
    b.store(q, pointer(b, values, _BYTES), align=1)
    b.store(size, pointer(b, scale, F32), align=1)
    # Summed as unsigned numbers 128 above, in 16 bits: there are instructions that do so across a vector.
    above_zero = b.zext(b.xor(q, const(_BYTES, -128)), _HALFWORDS)
    sums = b.zext(call(b, "llvm.vector.reduce.add.v32i16", I16, above_zero), I32)
    b.store(b.sub(sums, ir.Constant(I32, 128 * GROUP)), pointer(b, total, I32), align=1)


@intrinsic
def quantize_group(tyctx: Any, x: Any, values: Any, scale: Any, total: Any) -> Any:
    """The 32 floats at x to 32 bytes at `values`, their scale at `scale` and the sum of the bytes at `total`."""

    def codegen(ctx: Any, b: Any, sig: Any, args: Any) -> Any:
        x, values, scale, total = args
        _emit_quantize(b, b.load(pointer(b, x, _FLOATS), align=1), values, scale, total)
        return ctx.get_dummy_value()

    i = types.int64
    return types.void(i, i, i, i), codegen


@intrinsic
def quantize_group_first(tyctx: Any, x: Any, count: Any, values: Any, scale: Any, total: Any) -> Any:
    """The same of the first `count` floats at x and zeros after them; reads less than 64 bytes behind them."""

    def codegen(ctx: Any, b: Any, sig: Any, args: Any) -> Any:
        x, count, values, scale, total = args
        low = b.load(pointer(b, x, _HALF), align=1)
        wide = b.icmp_signed(">", count, ir.Constant(I64, GROUP // 2))
        high = b.load(pointer(b, b.select(wide, b.add(x, ir.Constant(I64, 2 * GROUP)), x), _HALF), align=1)
        present = b.select(emit_first(b, count, GROUP), concat(b, low, high), const(_FLOATS, 0.0))
        _emit_quantize(b, present, values, scale, total)
        return ctx.get_dummy_value()

    i = types.int64
    return types.void(i, i, i, i, i), codegen


@helper
def quantize_groups(x, row, depth, first, last):  # type: ignore[no-untyped-def]
    """Groups first .. last - 1 of the `depth` floats at x into the g32 row at `row`; padding groups are zero."""
    padded = (depth + 63) & -64
    scales, full = row + padded, udiv(depth, GROUP)
    sums = scales + (padded >> 3)
    for g in range(first, min(last, full)):
        quantize_group(x + 128 * g, row + 32 * g, scales + 4 * g, sums + 4 * g)
    for g in range(max(first, full), last):
        left = max(depth - 32 * g, 0)
        at = x + 128 * g if left > 0 else x
        quantize_group_first(at, left, row + 32 * g, scales + 4 * g, sums + 4 * g)


@helper
def quantize_row(x, row, depth):  # type: ignore[no-untyped-def]
    """All groups of the `depth` floats at x, padding included, into the g32 row at `row`."""
    quantize_groups(x, row, depth, 0, (depth + 63) >> 6 << 1)


__all__ = ["quantize_group", "quantize_group_first", "quantize_groups", "quantize_row"]
