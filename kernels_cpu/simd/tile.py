"""Register tiles: R output channels x T pixel vectors of accumulators, held in a tuple of vectors.

The unrolling happens in code generation, so a kernel reads as the loop it is:
    acc = init(bias)
    for k in range(blocks): acc = step(acc, x, x_stride, w)
Accumulator (r, t) is element r * T + t.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from edgert.kernels_cpu.simd.bytes8 import (
    TRANSPOSE, emit_byte_of, emit_clamp_act, emit_dot4, emit_lane_shuffle, emit_requantize,
)  # fmt: skip
from edgert.kernels_cpu.simd.target import has
from edgert.kernels_cpu.simd.types import (
    F32, I32, I64, Vec, call, f32v, i8v, i16v, i32v, pointer, splat,
)  # fmt: skip


def _at(b: Any, address: Any, offset: int) -> Any:
    return b.add(address, ir.Constant(I64, offset)) if offset else address


def _strided(b: Any, address: Any, stride: Any, t: int) -> Any:
    return b.add(address, b.mul(stride, ir.Constant(I64, t))) if t else address


def _load(b: Any, address: Any, vec: Vec) -> Any:
    return b.load(pointer(b, address, vec.llvm), align=1)


def _broadcast(b: Any, address: Any, element: Any, vec: Vec) -> Any:
    value = b.load(pointer(b, address, element), align=1)
    lanes = ir.VectorType(element, i32v.lanes)
    v = splat(b, value, lanes)
    return v if v.type == vec.llvm else b.bitcast(v, vec.llvm)


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


def tile_step_q8(rows: int, columns: int) -> Any:
    """An intrinsic `step(acc, x, x_stride, w)`: acc[r,t] += dot4(x[t], w[r]); x[t] is the vector of activation
    bytes at x + t * x_stride, w[r] the four weights at w + 4r."""
    kind = _tuple(i32v, rows * columns)

    @intrinsic
    def step(tyctx: Any, acc: Any, x: Any, x_stride: Any, w: Any) -> Any:
        def codegen(ctx: Any, b: Any, sig: Any, args: Any) -> Any:
            acc, x, stride, w = args
            values = cgutils.unpack_tuple(b, acc)
            weights = [_broadcast(b, _at(b, w, 4 * r), I32, i8v) for r in range(rows)]
            for t in range(columns):
                pixels = _load(b, _strided(b, x, stride, t), i8v)
                for r in range(rows):
                    values[r * columns + t] = emit_dot4(b, values[r * columns + t], pixels, weights[r])
            return cgutils.pack_array(b, values)

        return kind(kind, types.int64, types.int64, types.int64), codegen

    return step


def tile_step_f32(rows: int, columns: int) -> Any:
    """An intrinsic `step(acc, x, x_stride, w)`: acc[r,t] += x[t] * w[r], fused multiply-add; x[t] is the float
    vector at x + t * x_stride, w[r] the float at w + 4r."""
    kind = _tuple(f32v, rows * columns)

    @intrinsic
    def step(tyctx: Any, acc: Any, x: Any, x_stride: Any, w: Any) -> Any:
        def codegen(ctx: Any, b: Any, sig: Any, args: Any) -> Any:
            acc, x, stride, w = args
            values = cgutils.unpack_tuple(b, acc)
            weights = [_broadcast(b, _at(b, w, 4 * r), F32, f32v) for r in range(rows)]
            for t in range(columns):
                pixels = _load(b, _strided(b, x, stride, t), f32v)
                for r in range(rows):
                    i = r * columns + t
                    if has("fma"):
                        values[i] = call(b, f"llvm.fma.v{f32v.lanes}f32", f32v.llvm, pixels, weights[r], values[i])
                    else:
                        values[i] = b.fadd(values[i], b.fmul(pixels, weights[r]))
            return cgutils.pack_array(b, values)

        return kind(kind, types.int64, types.int64, types.int64), codegen

    return step


def tile_store_q8(columns: int) -> Any:
    """An intrinsic `store(acc, scale, zero_point, low, high, y, y_stride)` for a tile of 4 rows: requantizes,
    clamps to activation bytes [low, high] and writes vector t, [pixel][4 channels], at y + t * y_stride.
    scale: address of 4 floats; zero_point: i16v; low, high: i8v."""
    kind = _tuple(i32v, 4 * columns)

    @intrinsic
    def store(tyctx: Any, acc: Any, scale: Any, zero_point: Any, low: Any, high: Any, y: Any, y_stride: Any) -> Any:
        def codegen(ctx: Any, b: Any, sig: Any, args: Any) -> Any:
            acc, scale, zero_point, low, high, y, stride = args
            values = cgutils.unpack_tuple(b, acc)
            scales = [_broadcast(b, _at(b, scale, 4 * r), F32, f32v) for r in range(4)]
            for t in range(columns):
                quads = [b.fmul(b.sitofp(values[r * columns + t], f32v.llvm), scales[r]) for r in range(4)]
                packed = emit_lane_shuffle(b, emit_requantize(b, quads, zero_point), TRANSPOSE)
                packed = emit_clamp_act(b, packed, low, high)
                b.store(packed, pointer(b, _strided(b, y, stride, t), i8v.llvm), align=1)
            return ctx.get_dummy_value()

        i = types.int64
        return types.void(kind, i, i16v, i8v, i8v, i, i), codegen

    return store


def tile_store_q8_residual(columns: int) -> Any:
    """As tile_store_q8, with a residual: acc * scale + (r - residual_zero) * residual_scale before rounding; r is
    the activation bytes at r + t * r_stride, residual_zero an i32v, residual_scale an f32v."""
    kind = _tuple(i32v, 4 * columns)

    @intrinsic
    def store(
        tyctx: Any, acc: Any, scale: Any, zero_point: Any, low: Any, high: Any, y: Any, y_stride: Any,
        r: Any, r_stride: Any, residual_zero: Any, residual_scale: Any,
    ) -> Any:  # fmt: skip
        def codegen(ctx: Any, b: Any, sig: Any, args: Any) -> Any:
            acc, scale, zero_point, low, high, y, stride, residual, r_stride, r_zero, r_scale = args
            values = cgutils.unpack_tuple(b, acc)
            scales = [_broadcast(b, _at(b, scale, 4 * i), F32, f32v) for i in range(4)]
            for t in range(columns):
                skip = _load(b, _strided(b, residual, r_stride, t), i8v)
                quads = []
                for i in range(4):
                    main = b.fmul(b.sitofp(values[i * columns + t], f32v.llvm), scales[i])
                    other = b.sitofp(b.sub(emit_byte_of(b, skip, i), r_zero), f32v.llvm)
                    quads.append(b.fadd(main, b.fmul(other, r_scale)))
                packed = emit_lane_shuffle(b, emit_requantize(b, quads, zero_point), TRANSPOSE)
                packed = emit_clamp_act(b, packed, low, high)
                b.store(packed, pointer(b, _strided(b, y, stride, t), i8v.llvm), align=1)
            return ctx.get_dummy_value()

        i = types.int64
        return types.void(kind, i, i16v, i8v, i8v, i, i, i, i, i32v, f32v), codegen

    return store


def tile_store_f32(rows: int, columns: int, residual: bool) -> Any:
    """An intrinsic `store(acc, low, high, y, row_stride, column_stride[, r])`: writes min(max(v, low), high) of
    accumulator (r, t) at y + r * row_stride + t * column_stride; with a residual of the same strides added first."""
    kind = _tuple(f32v, rows * columns)

    def body(b: Any, args: Any, skip: Any) -> None:
        acc, low, high, y, row_stride, column_stride = args
        values = cgutils.unpack_tuple(b, acc)
        for r in range(rows):
            for t in range(columns):
                offset = b.add(b.mul(row_stride, ir.Constant(I64, r)), b.mul(column_stride, ir.Constant(I64, t)))
                v = values[r * columns + t]
                if skip is not None:
                    v = b.fadd(v, _load(b, b.add(skip, offset), f32v))
                v = b.select(b.fcmp_ordered(">", v, low), v, low)
                v = b.select(b.fcmp_ordered("<", v, high), v, high)
                b.store(v, pointer(b, b.add(y, offset), f32v.llvm), align=1)

    i = types.int64
    if residual:

        @intrinsic
        def store_add(
            tyctx: Any, acc: Any, low: Any, high: Any, y: Any, row_stride: Any, column_stride: Any, r: Any
        ) -> Any:
            def codegen(ctx: Any, b: Any, sig: Any, args: Any) -> Any:
                body(b, args[:6], args[6])
                return ctx.get_dummy_value()

            return types.void(kind, f32v, f32v, i, i, i, i), codegen

        return store_add

    @intrinsic
    def store(tyctx: Any, acc: Any, low: Any, high: Any, y: Any, row_stride: Any, column_stride: Any) -> Any:
        def codegen(ctx: Any, b: Any, sig: Any, args: Any) -> Any:
            body(b, args, None)
            return ctx.get_dummy_value()

        return types.void(kind, f32v, f32v, i, i, i), codegen

    return store
