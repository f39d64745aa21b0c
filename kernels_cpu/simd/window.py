"""Depthwise windows over NC4HW4 bytes: horizontal taps of one channel gathered into a dot product by lane transposes.

A 128-bit lane is 4 pixels x 4 channels. Transposed it is 4 channels x 4 neighbouring pixels: the 4 horizontal taps
of each channel, ready for a four-way dot product with that channel's 4 weights. Four such vectors, one pixel apart,
give 4 accumulators of [lane: 1 pixel x 4 channels] whose packed form is the output layout again.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from edgert.kernels_cpu.simd.bytes8 import TRANSPOSE, emit_dot4, emit_lane_shuffle
from edgert.kernels_cpu.simd.types import I8, I64, VB, concat, i8v, i32v, pointer, shuffle, undef


def _lane_broadcast(b: Any, address: Any) -> Any:
    v = b.load(pointer(b, address, ir.VectorType(I8, 16)), align=1)
    return shuffle(b, v, undef(v.type), list(range(16)) * (VB // 16))


def _lanes(b: Any, address: Any, stride: int) -> Any:
    """16-byte lanes `stride` bytes apart."""
    if stride == 16:
        return b.load(pointer(b, address, i8v.llvm), align=1)
    lane = ir.VectorType(I8, 16)
    parts = [b.load(pointer(b, b.add(address, ir.Constant(I64, stride * i)), lane), align=1) for i in range(VB // 16)]
    while len(parts) > 1:
        parts = [concat(b, parts[i], parts[i + 1]) for i in range(0, len(parts), 2)]
    return parts[0]


def window_weights(count: int) -> Any:
    """An intrinsic `weights(address)` -> tuple of `count` i8v: [4 channels][4 taps], repeated over lanes."""
    result = types.UniTuple(i8v, count)

    @intrinsic
    def weights(tyctx: Any, address: Any) -> Any:
        def codegen(ctx: Any, b: Any, sig: Any, args: Any) -> Any:
            blocks = [_lane_broadcast(b, b.add(args[0], ir.Constant(I64, 16 * i))) for i in range(count)]
            return cgutils.pack_array(b, blocks)

        return result(types.int64), codegen

    return weights


def window_q8(rows: int, blocks: int, stride: int) -> Any:
    """An intrinsic `window(acc, x, pitch, w)`: adds a window of `rows` rows and 4 * blocks horizontal taps to the 4
    accumulators; x addresses the first output pixel's first tap, rows are `pitch` bytes apart, w is the tuple of
    rows * blocks weight vectors. Output pixels are `stride` input pixels apart."""
    kind, taps = types.UniTuple(i32v, 4), types.UniTuple(i8v, rows * blocks)

    @intrinsic
    def window(tyctx: Any, acc: Any, x: Any, pitch: Any, w: Any) -> Any:
        def codegen(ctx: Any, b: Any, sig: Any, args: Any) -> Any:
            acc, x, pitch, w = args
            values, w = cgutils.unpack_tuple(b, acc), cgutils.unpack_tuple(b, w)
            for r in range(rows):
                row = b.add(x, b.mul(pitch, ir.Constant(I64, r)))
                for s in range(blocks):
                    for j in range(4):
                        place = b.add(row, ir.Constant(I64, 16 * s + 4 * stride * j))
                        pixels = emit_lane_shuffle(b, _lanes(b, place, 16 * stride), TRANSPOSE)
                        values[j] = emit_dot4(b, values[j], pixels, w[r * blocks + s])
            return cgutils.pack_array(b, values)

        return kind(kind, types.int64, types.int64, taps), codegen

    return window


@intrinsic
def broadcast_lane_i32(tyctx: Any, address: Any) -> Any:
    """4 int32 values repeated over every 128-bit lane -> i32v."""

    def codegen(ctx: Any, b: Any, sig: Any, args: Any) -> Any:
        return b.bitcast(_lane_broadcast(b, args[0]), i32v.llvm)

    return i32v(types.int64), codegen
