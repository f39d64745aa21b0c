"""Register tiles of matrix products: R rows of x against V vectors of columns, held in a tuple of vectors.

Columns come in lines of 16: a line is 64 bytes, of one k as floats or of four k as bytes. Vector v of a tile is
part of line v * VECTOR_BYTES / 64, whose lines are `block` bytes apart. Accumulator (r, v) is element r * V + v.
Convolutions have pixels as vectors instead: tile.py.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from edgert.kernels_cpu.simd.bytes8 import emit_clamp_act, emit_dot4, emit_requantize
from edgert.kernels_cpu.simd.partial import emit_store_first
from edgert.kernels_cpu.simd.permute import emit_sequence_packed
from edgert.kernels_cpu.simd.target import ACT_SIGNED, has
from edgert.kernels_cpu.simd.types import F32, I32, I64, VB, Vec, call, f32v, i8v, i16v, i32v, pointer, splat

LINE = 64


def _at(b: Any, address: Any, offset: int) -> Any:
    return b.add(address, ir.Constant(I64, offset)) if offset else address


def _times(b: Any, address: Any, stride: Any, count: int) -> Any:
    return b.add(address, b.mul(stride, ir.Constant(I64, count))) if count else address


def _load(b: Any, address: Any, vec: Vec) -> Any:
    return b.load(pointer(b, address, vec.llvm), align=1)


def _line(b: Any, w: Any, block: Any, v: int, vec: Vec) -> Any:
    """Vector v of the lines at w."""
    return _load(b, _at(b, _times(b, w, block, v * VB // LINE), v * VB % LINE), vec)


def panel_init(vec: Vec, rows: int, vectors: int) -> Any:
    """An intrinsic `init(bias)`: every row starts at the 32-bit values at bias, one per column."""
    result = types.UniTuple(vec, rows * vectors)

    @intrinsic
    def init(tyctx: Any, bias: Any) -> Any:
        def codegen(ctx: Any, b: Any, sig: Any, args: Any) -> Any:
            values = [_load(b, _at(b, args[0], v * VB), vec) for v in range(vectors)]
            return cgutils.pack_array(b, values * rows)

        return result(types.int64), codegen

    return init


def panel_step_q8(rows: int, vectors: int) -> Any:
    """An intrinsic `step(acc, x, x_row, w, block, flip)`: acc[r,v] += dot4 of the four bytes at x + r * x_row with
    each column of line vector v. flip (i8v) turns the bytes of row layout into activations where those are signed."""
    kind = types.UniTuple(i32v, rows * vectors)

    @intrinsic
    def step(tyctx: Any, acc: Any, x: Any, x_row: Any, w: Any, block: Any, flip: Any) -> Any:
        def codegen(ctx: Any, b: Any, sig: Any, args: Any) -> Any:
            acc, x, x_row, w, block, flip = args
            values = cgutils.unpack_tuple(b, acc)
            lines = [_line(b, w, block, v, i8v) for v in range(vectors)]
            for r in range(rows):
                four = b.load(pointer(b, _times(b, x, x_row, r), I32), align=1)
                pixel = b.bitcast(splat(b, four, i32v.llvm), i8v.llvm)
                if ACT_SIGNED:
                    pixel = b.xor(pixel, flip)
                for v in range(vectors):
                    values[r * vectors + v] = emit_dot4(b, values[r * vectors + v], pixel, lines[v])
            return cgutils.pack_array(b, values)

        i = types.int64
        return kind(kind, i, i, i, i, i8v), codegen

    return step


def panel_step_f32(rows: int, vectors: int) -> Any:
    """An intrinsic `step(acc, x, x_row, w, block)`: acc[r,v] += x[r] * line vector v, fused where the ISA can."""
    kind = types.UniTuple(f32v, rows * vectors)

    @intrinsic
    def step(tyctx: Any, acc: Any, x: Any, x_row: Any, w: Any, block: Any) -> Any:
        def codegen(ctx: Any, b: Any, sig: Any, args: Any) -> Any:
            acc, x, x_row, w, block = args
            values = cgutils.unpack_tuple(b, acc)
            lines = [_line(b, w, block, v, f32v) for v in range(vectors)]
            for r in range(rows):
                one = splat(b, b.load(pointer(b, _times(b, x, x_row, r), F32), align=1), f32v.llvm)
                for v in range(vectors):
                    i = r * vectors + v
                    if has("fma"):
                        values[i] = call(b, f"llvm.fma.v{f32v.lanes}f32", f32v.llvm, one, lines[v], values[i])
                    else:
                        values[i] = b.fadd(values[i], b.fmul(one, lines[v]))
            return cgutils.pack_array(b, values)

        i = types.int64
        return kind(kind, i, i, i, i), codegen

    return step


def panel_store_q8(rows: int, vectors: int) -> Any:
    """An intrinsic `store(acc, scale, zero_point, low, high, flip, y, y_row, count)`: requantizes with one scale
    per column (floats at `scale`) and writes the first `count` bytes of row r at y + r * y_row. vectors <= 4."""
    kind = types.UniTuple(i32v, rows * vectors)

    @intrinsic
    def store(
        tyctx: Any, acc: Any, scale: Any, zero_point: Any, low: Any, high: Any, flip: Any, y: Any, y_row: Any,
        count: Any,
    ) -> Any:  # fmt: skip
        def codegen(ctx: Any, b: Any, sig: Any, args: Any) -> Any:
            acc, scale, zero_point, low, high, flip, y, y_row, count = args
            values = cgutils.unpack_tuple(b, acc)
            scales = [_load(b, _at(b, scale, v * VB), f32v) for v in range(vectors)]
            for r in range(rows):
                quads = [b.fmul(b.sitofp(values[r * vectors + v], f32v.llvm), scales[v]) for v in range(vectors)]
                quads += [quads[0]] * (4 - vectors)
                packed = emit_clamp_act(b, emit_requantize(b, quads, zero_point), low, high)
                packed = emit_sequence_packed(b, packed)
                if ACT_SIGNED:
                    packed = b.xor(packed, flip)
                emit_store_first(b, _times(b, y, y_row, r), packed, count)
            return ctx.get_dummy_value()

        i = types.int64
        return types.void(kind, i, i16v, i8v, i8v, i8v, i, i, i), codegen

    return store


def panel_store_f32(rows: int, vectors: int) -> Any:
    """An intrinsic `store(acc, low, high, y, y_row, count)`: clamps (NaN passes) and writes the first `count`
    floats of row r at y + r * y_row."""
    kind = types.UniTuple(f32v, rows * vectors)

    @intrinsic
    def store(tyctx: Any, acc: Any, low: Any, high: Any, y: Any, y_row: Any, count: Any) -> Any:
        def codegen(ctx: Any, b: Any, sig: Any, args: Any) -> Any:
            acc, low, high, y, y_row, count = args
            values = cgutils.unpack_tuple(b, acc)
            for r in range(rows):
                for v in range(vectors):
                    value = values[r * vectors + v]
                    value = b.select(b.fcmp_ordered(">", low, value), low, value)
                    value = b.select(b.fcmp_ordered("<", high, value), high, value)
                    left = b.sub(count, ir.Constant(I64, v * f32v.lanes))
                    emit_store_first(b, _at(b, _times(b, y, y_row, r), v * VB), value, left)
            return ctx.get_dummy_value()

        i = types.int64
        return types.void(kind, f32v, f32v, i, i, i), codegen

    return store


__all__ = ["panel_init", "panel_step_f32", "panel_step_q8", "panel_store_f32", "panel_store_q8"]
