"""Register tiles: R output channels x T pixel vectors of accumulators, held in a tuple of vectors.

The unrolling happens in code generation, so a kernel reads as the loop it is:
    acc = init(bias)
    for k in range(blocks): acc = step(acc, x, offset, w)
Accumulator (r, t) is element r * T + t; x is a tuple of T addresses, so a tile's vectors may lie in any rows.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from edgert.kernels_cpu.simd.bytes8 import TRANSPOSE, emit_byte_of, emit_dot4
from edgert.kernels_cpu.simd.target import has
from edgert.kernels_cpu.simd.tile_store import store_q8
from edgert.kernels_cpu.simd.types import (
    F32,
    I32,
    I64,
    Vec,
    call,
    f32v,
    i8v,
    i32v,
    pointer,
    splat,
)  # fmt: skip


def _at(b: Any, address: Any, offset: int) -> Any:
    return b.add(address, ir.Constant(I64, offset)) if offset else address


def _load(b: Any, address: Any, vec: Vec) -> Any:
    return b.load(pointer(b, address, vec.llvm), align=1)


def _broadcast(b: Any, address: Any, element: Any, vec: Vec) -> Any:
    value = b.load(pointer(b, address, element), align=1)
    lanes = ir.VectorType(element, i32v.lanes)
    v = splat(b, value, lanes)
    return v if v.type == vec.llvm else b.bitcast(v, vec.llvm)


def emit_fma(b: Any, x: Any, y: Any, z: Any) -> Any:
    """x * y + z: fused where the ISA can; the portable level rounds twice (emulating would cost a factor)."""
    if has("fma"):
        return call(b, f"llvm.fma.v{x.type.count}f32", x.type, x, y, z)
    return b.fadd(z, b.fmul(x, y))


def _multiply_float(b: Any, acc: Any, x: Any, w: Any) -> Any:
    return emit_fma(b, x, w, acc)


def _multiply_bytes(b: Any, acc: Any, x: Any, w: Any) -> Any:
    return emit_dot4(b, acc, x, w)


def _tuple(vec: Vec, count: int) -> Any:
    return types.UniTuple(vec, count)


def tile_init(vec: Vec, rows: int, columns: int) -> Any:
    """An intrinsic `init(bias)`: every accumulator of row r starts at the 32-bit value bias[r]."""
    result = _tuple(vec, rows * columns)
    element = F32 if vec.is_float else I32

    @intrinsic
    def init(tyctx: Any, bias: Any) -> Any:
        def codegen(ctx: Any, b: Any, sig: Any, args: Any) -> Any:
            values = [_broadcast(b, _at(b, args[0], 4 * r), element, vec) for r in range(rows)]
            return cgutils.pack_array(b, [values[r] for r in range(rows) for _ in range(columns)])

        return result(types.int64), codegen

    return init


def tile_store_q8(columns: int, residual: bool) -> Any:
    """The intrinsic of tile_store.store_q8 for a tile of 4 rows."""

    def scales(b: Any, address: Any) -> list[Any]:
        return [_broadcast(b, _at(b, address, 4 * r), F32, f32v) for r in range(4)]

    def floats(b: Any, values: Any, scale: Any, t: int, skip: Any) -> list[Any]:
        quads = [b.fmul(b.sitofp(values[r * columns + t], f32v.llvm), scale[r]) for r in range(4)]
        if skip is not None:
            other, zero, ratio = skip
            for k in range(4):
                real = b.sitofp(b.sub(emit_byte_of(b, other, k), zero), f32v.llvm)
                quads[k] = b.fadd(quads[k], b.fmul(real, ratio))
        return quads

    return store_q8(4 * columns, columns, residual, scales, floats, TRANSPOSE)


def tile_store_f32(rows: int, columns: int, residual: bool) -> Any:
    """An intrinsic `store(acc, low, high, y, offset, plane[, r])`: writes min(max(v, low), high) of accumulator (r, t)
    at y[t] + offset + r * plane (y: tuple of addresses); with a residual, the floats at r[t] + offset + r * plane
    are added first."""
    kind, addresses, i = _tuple(f32v, rows * columns), types.UniTuple(types.int64, columns), types.int64

    def body(b: Any, args: Any, skip: Any) -> None:
        acc, low, high, y, offset, plane = args
        values, y = cgutils.unpack_tuple(b, acc), cgutils.unpack_tuple(b, y)
        skip = None if skip is None else cgutils.unpack_tuple(b, skip)
        for r in range(rows):
            place = b.add(offset, b.mul(plane, ir.Constant(I64, r))) if r else offset
            for t in range(columns):
                v = values[r * columns + t]
                if skip is not None:
                    v = b.fadd(v, _load(b, b.add(skip[t], place), f32v))
                v = b.select(b.fcmp_ordered(">", v, low), v, low)
                v = b.select(b.fcmp_ordered("<", v, high), v, high)
                b.store(v, pointer(b, b.add(y[t], place), f32v.llvm), align=1)

    if residual:

        @intrinsic
        def store_add(tyctx: Any, acc: Any, low: Any, high: Any, y: Any, offset: Any, plane: Any, r: Any) -> Any:
            def codegen(ctx: Any, b: Any, sig: Any, args: Any) -> Any:
                body(b, args[:6], args[6])
                return ctx.get_dummy_value()

            return types.void(kind, f32v, f32v, addresses, i, i, addresses), codegen

        return store_add

    @intrinsic
    def store(tyctx: Any, acc: Any, low: Any, high: Any, y: Any, offset: Any, plane: Any) -> Any:
        def codegen(ctx: Any, b: Any, sig: Any, args: Any) -> Any:
            body(b, args, None)
            return ctx.get_dummy_value()

        return types.void(kind, f32v, f32v, addresses, i, i), codegen

    return store


def row_addresses(columns: int) -> Any:
    """An intrinsic `addresses(base, row, place, per_row, step, last, pitch)` -> tuple of `columns` addresses of
    consecutive vectors, the first number `place` of `row`: a row has per_row of them, number i at byte
    min(i * step, last); rows are `pitch` bytes apart.
    A row's last vector is pushed back inside the row, so that no vector crosses a row's end."""
    result = types.UniTuple(types.int64, columns)

    @intrinsic
    def addresses(tyctx: Any, base: Any, row: Any, place: Any, per_row: Any, step: Any, last: Any, pitch: Any) -> Any:
        def codegen(ctx: Any, b: Any, sig: Any, args: Any) -> Any:
            base, row, place, per_row, step, last, pitch = args
            found, zero, one = [], ir.Constant(I64, 0), ir.Constant(I64, 1)
            start, column = b.add(base, b.mul(row, pitch)), b.mul(place, step)
            for _ in range(columns):
                inside = b.select(b.icmp_signed("<", column, last), column, last)
                found.append(b.add(start, inside))
                place = b.add(place, one)
                ends = b.icmp_signed("==", place, per_row)
                start = b.add(start, b.select(ends, pitch, zero))
                column = b.select(ends, zero, b.add(column, step))
                place = b.select(ends, zero, place)
            return cgutils.pack_array(b, found)

        return result(*[types.int64] * 7), codegen

    return addresses


def tile_step(vec: Vec, rows: int, columns: int) -> Any:
    """An intrinsic `step(acc, x, offset, w)`: acc[r,t] += dot4(x[t], w[r]) on bytes (vec = i32v) or x[t] * w[r] on
    floats (vec = f32v, fused). x[t] is the vector at x[t] + offset (x: tuple of addresses), w[r] the four weights, or
    the float, at w + 4r, repeated."""
    kind, addresses = _tuple(vec, rows * columns), types.UniTuple(types.int64, columns)
    element, wide = (F32, f32v) if vec.is_float else (I32, i8v)

    @intrinsic
    def step(tyctx: Any, acc: Any, x: Any, offset: Any, w: Any) -> Any:
        def codegen(ctx: Any, b: Any, sig: Any, args: Any) -> Any:
            acc, x, offset, w = args
            values, x = cgutils.unpack_tuple(b, acc), cgutils.unpack_tuple(b, x)
            multiply = _multiply_float if vec.is_float else _multiply_bytes
            if columns < rows:  # the shorter side stays in registers, the longer one passes by
                pixels = [_load(b, b.add(x[t], offset), wide) for t in range(columns)]
                for r in range(rows):
                    weight = _broadcast(b, _at(b, w, 4 * r), element, wide)
                    for t in range(columns):
                        values[r * columns + t] = multiply(b, values[r * columns + t], pixels[t], weight)
            else:
                weights = [_broadcast(b, _at(b, w, 4 * r), element, wide) for r in range(rows)]
                for t in range(columns):
                    pixel = _load(b, b.add(x[t], offset), wide)
                    for r in range(rows):
                        values[r * columns + t] = multiply(b, values[r * columns + t], pixel, weights[r])
            return cgutils.pack_array(b, values)

        return kind(kind, addresses, types.int64, types.int64), codegen

    return step


f32x4 = Vec("f32", 4)
"""Four output channels of one pixel."""


@intrinsic
def pixel_init(tyctx: Any, bias: Any) -> Any:
    """The 4 floats at an address -> f32x4."""
    return f32x4(types.int64), lambda ctx, b, sig, args: _load(b, args[0], f32x4)


@intrinsic
def pixel_step(tyctx: Any, acc: Any, x: Any, w: Any) -> Any:
    """acc + x * w, fused: acc f32x4, x the float at address x, w the 4 floats at address w."""

    def codegen(ctx: Any, b: Any, sig: Any, args: Any) -> Any:
        acc, x, w = args
        return emit_fma(b, splat(b, b.load(pointer(b, x, F32), align=1), f32x4.llvm), _load(b, w, f32x4), acc)

    return f32x4(f32x4, types.int64, types.int64), codegen


@intrinsic
def pixel_spill(tyctx: Any, acc: Any, address: Any) -> Any:
    """Stores an f32x4."""

    def codegen(ctx: Any, b: Any, sig: Any, args: Any) -> Any:
        b.store(args[0], pointer(b, args[1], f32x4.llvm), align=1)
        return ctx.get_dummy_value()

    return types.void(f32x4, types.int64), codegen
