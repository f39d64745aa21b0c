"""Tiles of two output channels x T pixel vectors, of which two make the four channels that lie side by side in k4p.

Sums are those of tile.py with two rows; here is what is special to pairs: steps of one row, and storing by halves.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from edgert.kernels_cpu.simd.arith import emit_round_i32
from edgert.kernels_cpu.simd.bytes8 import (
    TRANSPOSE,
    emit_add_saturate,
    emit_byte_of,
    emit_clamp_act,
    emit_dot4,
    emit_lane_shuffle,
    emit_pack_act,
    emit_pack_i16,
)  # fmt: skip
from edgert.kernels_cpu.simd.types import F32, I32, I64, VB, Vec, f32v, i8v, i16v, i32v, pointer, splat


def _load(b: Any, address: Any, vec: Vec) -> Any:
    return b.load(pointer(b, address, vec.llvm), align=1)


def _at(b: Any, address: Any, offset: int) -> Any:
    return b.add(address, ir.Constant(I64, offset)) if offset else address


def pair_step(columns: int, row: int) -> Any:
    """An intrinsic `step(acc, x, offset, w)` on a tile of two rows: acc[row,t] += dot4(x[t], w), the other row stays.
    x[t] is the vector at x[t] + offset (x: tuple of addresses), w the four weights at address w, repeated."""
    kind, addresses = types.UniTuple(i32v, 2 * columns), types.UniTuple(types.int64, columns)

    @intrinsic
    def step(tyctx: Any, acc: Any, x: Any, offset: Any, w: Any) -> Any:
        def codegen(ctx: Any, b: Any, sig: Any, args: Any) -> Any:
            acc, x, offset, w = args
            values, x = cgutils.unpack_tuple(b, acc), cgutils.unpack_tuple(b, x)
            cell = b.load(pointer(b, w, I32), align=1)
            weight = b.bitcast(splat(b, cell, i32v.llvm), i8v.llvm)
            for t in range(columns):
                k = row * columns + t
                values[k] = emit_dot4(b, values[k], _load(b, b.add(x[t], offset), i8v), weight)
            return cgutils.pack_array(b, values)

        return kind(kind, addresses, types.int64, types.int64), codegen

    return step


def pair_store_q8(columns: int, half: int, residual: bool) -> Any:
    """An intrinsic `store(acc, scale, zero_point, low, high, y, offset, aside[, r, residual_zero, residual_scale])` for
    a tile of rows 2 half and 2 half + 1 of the four: as tile_store_q8, scale being the address of these two.
    Half 0 writes 16-bit numbers aside (an address, a vector per column); half 1 takes them from there and writes y."""
    kind, addresses, i = types.UniTuple(i32v, 2 * columns), types.UniTuple(types.int64, columns), types.int64

    def body(b: Any, args: Any, skip: Any) -> None:
        acc, scale, zero_point, low, high, y, offset, aside = args
        values, y = cgutils.unpack_tuple(b, acc), cgutils.unpack_tuple(b, y)
        scales = [
            splat(b, b.load(pointer(b, _at(b, scale, 4 * r), F32), align=1), f32v.llvm) for r in range(2)
        ]  # fmt: skip
        for t in range(columns):
            steps = [b.fmul(b.sitofp(values[r * columns + t], f32v.llvm), scales[r]) for r in range(2)]
            if skip is not None:
                r, zero, ratio = skip
                other = _load(b, b.add(cgutils.unpack_tuple(b, r)[t], offset), i8v)
                for k in range(2):
                    real = b.sitofp(b.sub(emit_byte_of(b, other, 2 * half + k), zero), f32v.llvm)
                    steps[k] = b.fadd(steps[k], b.fmul(real, ratio))
            packed = emit_pack_i16(b, emit_round_i32(b, steps[0]), emit_round_i32(b, steps[1]))
            words = emit_add_saturate(b, packed, zero_point)
            place = pointer(b, _at(b, aside, VB * t), i16v.llvm)
            if half == 0:
                b.store(words, place, align=1)
            else:
                packed = emit_lane_shuffle(b, emit_pack_act(b, b.load(place, align=1), words), TRANSPOSE)
                b.store(
                    emit_clamp_act(b, packed, low, high), pointer(b, b.add(y[t], offset), i8v.llvm), align=1
                )  # fmt: skip

    if residual:

        @intrinsic
        def store_add(
            tyctx: Any, acc: Any, scale: Any, zero_point: Any, low: Any, high: Any, y: Any, offset: Any, aside: Any,
            r: Any, zero: Any, ratio: Any,
        ) -> Any:  # fmt: skip
            def codegen(ctx: Any, b: Any, sig: Any, args: Any) -> Any:
                body(b, args[:8], args[8:])
                return ctx.get_dummy_value()

            return types.void(kind, i, i16v, i8v, i8v, addresses, i, i, addresses, i32v, f32v), codegen

        return store_add

    @intrinsic
    def store(
        tyctx: Any, acc: Any, scale: Any, zero_point: Any, low: Any, high: Any, y: Any, offset: Any, aside: Any
    ) -> Any:
        def codegen(ctx: Any, b: Any, sig: Any, args: Any) -> Any:
            body(b, args, None)
            return ctx.get_dummy_value()

        return types.void(kind, i, i16v, i8v, i8v, addresses, i, i), codegen

    return store
