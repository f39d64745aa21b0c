"""Register tiles with output channels as vectors over NC4HW4 bytes: P pixels x V vectors of channels.

Import from here, not through the package. Pixels as vectors are tile.py, rows of a matrix panel.py (whose
`panel_init` begins these tiles too). Accumulator (p, v) is element p * V + v; x is a tuple of P addresses.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from edgert.kernels_cpu.simd.bytes8 import (
    TRANSPOSE,
    emit_byte_of,
    emit_clamp_act,
    emit_dot4,
    emit_lane_shuffle,
    emit_requantize,
)  # fmt: skip
from edgert.kernels_cpu.simd.types import (
    I8,
    I32,
    I64,
    VB,
    concat,
    f32v,
    i8v,
    i16v,
    i32v,
    pointer,
    shuffle,
    splat,
    undef,
)

_LANE = ir.VectorType(I8, 16)
_LANES = VB // 16
"""128-bit lanes of a vector: each is four channels of a pixel as sums, four pixels of a channel plane as bytes."""


def pixel_addresses(pixels: int) -> Any:
    """An intrinsic `addresses(base, row, place, per_row, pitch, live)` -> tuple of `pixels` addresses of consecutive
    4-byte pixels, the first at `place` of `row`; rows have per_row pixels and lie `pitch` bytes apart. Beyond the
    first `live` pixels the last of them is repeated, so that nothing outside is read."""
    result = types.UniTuple(types.int64, pixels)

    @intrinsic
    def addresses(tyctx: Any, base: Any, row: Any, place: Any, per_row: Any, pitch: Any, live: Any) -> Any:
        def codegen(ctx: Any, b: Any, sig: Any, args: Any) -> Any:
            base, row, place, per_row, pitch, live = args
            zero, one, four = (ir.Constant(I64, n) for n in (0, 1, 4))
            start = b.add(base, b.mul(row, pitch))
            found = [b.add(start, b.mul(place, four))]
            for i in range(1, pixels):
                place = b.add(place, one)
                ends = b.icmp_signed("==", place, per_row)
                start, place = b.add(start, b.select(ends, pitch, zero)), b.select(ends, zero, place)
                alive = b.icmp_signed("<", ir.Constant(I64, i), live)
                found.append(b.select(alive, b.add(start, b.mul(place, four)), found[-1]))
            return cgutils.pack_array(b, found)

        return result(*[types.int64] * 6), codegen

    return addresses


def line_step(pixels: int, vectors: int) -> Any:
    """An intrinsic `step(acc, x, offset, w)`: acc[p,v] += dot4 of the four bytes at x[p] + offset with the weights of
    every channel of vector v at w."""
    kind, addresses = types.UniTuple(i32v, pixels * vectors), types.UniTuple(types.int64, pixels)

    @intrinsic
    def step(tyctx: Any, acc: Any, x: Any, offset: Any, w: Any) -> Any:
        def codegen(ctx: Any, b: Any, sig: Any, args: Any) -> Any:
            acc, x, offset, w = args
            values, x = cgutils.unpack_tuple(b, acc), cgutils.unpack_tuple(b, x)
            lines = [b.load(pointer(b, b.add(w, ir.Constant(I64, v * VB)), i8v.llvm), align=1) for v in range(vectors)]
            for p in range(pixels):
                four = b.load(pointer(b, b.add(x[p], offset), I32), align=1)
                pixel = b.bitcast(splat(b, four, i32v.llvm), i8v.llvm)
                for v in range(vectors):
                    values[p * vectors + v] = emit_dot4(b, values[p * vectors + v], pixel, lines[v])
            return cgutils.pack_array(b, values)

        return kind(kind, addresses, types.int64, types.int64), codegen

    return step


def line_store(pixels: int, vectors: int, residual: bool) -> Any:
    """An intrinsic `store(acc, scale, zero_point, low, high, y, plane, planes, aside[, r, residual_zero,
    residual_scale])`: requantizes as tile_store_q8 does and writes four pixels at a time to channel planes `plane`
    bytes apart, the first at y; those after `planes` of them go to the 16 bytes at `aside`.

    scale: address of a float per channel; r: address of the residual's first plane. Where `pixels` is no multiple of
    four, the last pixel is written again up to one."""
    kind, i = types.UniTuple(i32v, pixels * vectors), types.int64

    def body(b: Any, args: Any, skip: Any) -> None:
        acc, scale, zero_point, low, high, y, plane, planes, aside = args
        values = cgutils.unpack_tuple(b, acc)

        def place(base: Any, number: int, first: int, whole: bool) -> Any:
            """Pixel `first` of channel plane `number`; aside where there is no such plane, unless all are there."""
            at = b.add(base, b.add(b.mul(plane, ir.Constant(I64, number)), ir.Constant(I64, 4 * first)))
            if not whole:
                at = b.select(b.icmp_signed("<", ir.Constant(I64, number), planes), at, aside)
            return pointer(b, at, _LANE)

        parts: list[tuple[int, int, Any]] = []
        for v in range(vectors):
            scales = b.load(pointer(b, b.add(scale, ir.Constant(I64, v * VB)), f32v.llvm), align=1)
            for first in range(0, pixels, 4):
                sums = [values[min(first + j, pixels - 1) * vectors + v] for j in range(4)]
                quads = [b.fmul(b.sitofp(s, f32v.llvm), scales) for s in sums]
                numbers = range(v * _LANES, (v + 1) * _LANES)
                if skip is not None:
                    r, zero, ratio = skip
                    lanes = [b.load(place(r, n, first, False), align=1) for n in numbers]
                    while len(lanes) > 1:
                        lanes = [concat(b, lanes[n], lanes[n + 1]) for n in range(0, len(lanes), 2)]
                    other = emit_lane_shuffle(b, lanes[0], TRANSPOSE)
                    for j in range(4):
                        real = b.sitofp(b.sub(emit_byte_of(b, other, j), zero), f32v.llvm)
                        quads[j] = b.fadd(quads[j], b.fmul(real, ratio))
                packed = emit_clamp_act(b, emit_requantize(b, quads, zero_point), low, high)
                lanes = [shuffle(b, packed, undef(packed.type), range(16 * n, 16 * n + 16)) for n in range(_LANES)]
                parts += [(n, first, lane) for n, lane in zip(numbers, lanes, strict=True)]
        all_there = b.icmp_signed(">=", planes, ir.Constant(I64, vectors * _LANES))
        with b.if_else(all_there) as (whole, partial):
            for branch, there in ((whole, True), (partial, False)):
                with branch:
                    for number, first, lane in parts:
                        b.store(lane, place(y, number, first, there), align=1)

    if residual:

        @intrinsic
        def store_add(
            tyctx: Any, acc: Any, scale: Any, zero_point: Any, low: Any, high: Any, y: Any, plane: Any, planes: Any,
            aside: Any, r: Any, zero: Any, ratio: Any,
        ) -> Any:  # fmt: skip
            def codegen(ctx: Any, b: Any, sig: Any, args: Any) -> Any:
                body(b, args[:9], args[9:])
                return ctx.get_dummy_value()

            return types.void(kind, i, i16v, i8v, i8v, i, i, i, i, i, i32v, f32v), codegen

        return store_add

    @intrinsic
    def store(
        tyctx: Any, acc: Any, scale: Any, zero_point: Any, low: Any, high: Any, y: Any, plane: Any, planes: Any,
        aside: Any,
    ) -> Any:  # fmt: skip
        def codegen(ctx: Any, b: Any, sig: Any, args: Any) -> Any:
            body(b, args, None)
            return ctx.get_dummy_value()

        return types.void(kind, i, i16v, i8v, i8v, i, i, i, i), codegen

    return store


__all__ = ["line_step", "line_store", "pixel_addresses"]
