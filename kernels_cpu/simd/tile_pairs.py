"""Register tiles of byte products for NEON's int8 matrix product: an accumulator is two pixels x two output channels.

`smmla` multiplies [2 pixels][8 k] by [2 channels][8 k]: 32 products, where a dot product has 16. k4p has 4 k together,
so two blocks are zipped: pixels when a tile's input is copied together, weights as they are loaded. Vector t has
accumulators 4 t + 2 i + j: its pixels 2 i and 2 i + 1, channels 2 j and 2 j + 1.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from edgert.kernels_cpu.simd.bytes8 import emit_lane_shuffle
from edgert.kernels_cpu.simd.order import emit_after
from edgert.kernels_cpu.simd.tile_lanes import residual_floats
from edgert.kernels_cpu.simd.tile_store import store_q8
from edgert.kernels_cpu.simd.types import I32, I64, call, const, f32v, i8v, i32v, pointer, shuffle, undef

ZIP = (0, 4, 1, 5), (2, 6, 3, 7)
"""32-bit lanes of two blocks -> two vectors of [2 pixels, or channels][8 k]."""
_ORDER = [0, 1, 4, 5, 2, 3, 6, 7, 8, 9, 12, 13, 10, 11, 14, 15]
"""Bytes of four accumulators one after the other <-> [4 pixels][4 channels]."""
_PAIR = ir.VectorType(I32, 2)


def _at(b: Any, address: Any, offset: int) -> Any:
    return b.add(address, ir.Constant(I64, offset)) if offset else address


def _load(b: Any, address: Any, kind: Any) -> Any:
    return b.load(pointer(b, address, kind), align=1)


def _twice(b: Any, address: Any, offset: int, kind: Any) -> Any:
    """The two 32-bit values there, repeated: one per channel of an accumulator."""
    pair = _load(b, _at(b, address, offset), _PAIR)
    return b.bitcast(shuffle(b, pair, undef(_PAIR), [0, 1, 0, 1]), kind)


def pairs_init(columns: int) -> Any:
    """An intrinsic `init(bias)`: every accumulator starts at its channels' of the 4 int32 values at bias."""
    result = types.UniTuple(i32v, 4 * columns)

    @intrinsic
    def init(tyctx: Any, bias: Any) -> Any:
        def codegen(ctx: Any, b: Any, sig: Any, args: Any) -> Any:
            return cgutils.pack_array(b, [_twice(b, args[0], 8 * j, i32v.llvm) for j in range(2)] * (2 * columns))

        return result(types.int64), codegen

    return init


def _zipped(b: Any, first: Any, second: Any) -> list[Any]:
    return [b.bitcast(shuffle(b, first, second, mask), i8v.llvm) for mask in ZIP]


def _weights(b: Any, w: Any, blocks: int) -> list[Any]:
    """Those of the block at w, or of two, for two channels each; beside a block alone are zeros."""
    first = _load(b, w, i32v.llvm)
    return _zipped(b, first, const(i32v.llvm, 0) if blocks == 1 else _load(b, _at(b, w, 16), i32v.llvm))


def _add_products(b: Any, acc: list[Any], t: int, pixels: list[Any], weights: list[Any]) -> None:
    """Adds the products of vector t, whose pixels are two and two, to its accumulators."""
    for i in range(2):
        for j in range(2):
            n = 4 * t + 2 * i + j
            acc[n] = call(b, "llvm.aarch64.neon.smmla.v4i32.v16i8", i32v.llvm, acc[n], pixels[i], weights[j])


def pairs_step(columns: int, blocks: int) -> Any:
    """An intrinsic `step(acc, x, w)`: adds the products of `blocks` weight blocks, one or a multiple of two, 16 bytes
    each from w on: [4 output channels][4 input channels]. Those of two blocks meet the tile's `columns` vectors at x,
    zipped (ZIP) and together; a block alone those zipped with themselves."""
    kind = types.UniTuple(i32v, 4 * columns)

    @intrinsic
    def step(tyctx: Any, acc: Any, x: Any, w: Any) -> Any:
        def codegen(ctx: Any, b: Any, sig: Any, args: Any) -> Any:
            values, x, w = cgutils.unpack_tuple(b, args[0]), args[1], args[2]
            for first in range(0, blocks, 2):
                weights = _weights(b, _at(b, w, 16 * first), blocks)
                for t in range(columns):
                    place = _at(b, x, 16 * (columns * first + 2 * t))
                    pixels = [_load(b, _at(b, place, 16 * i), i8v.llvm) for i in range(2)]
                    _add_products(b, values, t, pixels, weights)
                    x = emit_after(b, x, values[4 * t : 4 * t + 4])
            return cgutils.pack_array(b, values)

        return kind(kind, types.int64, types.int64), codegen

    return step


def pairs_step_apart(columns: int, blocks: int) -> Any:
    """An intrinsic `step(acc, x, taps, w)`: as pairs_step for one or two blocks, the vectors at x[t] + taps[i] (x:
    tuple of addresses, taps: address of int32 offsets)."""
    kind, addresses = types.UniTuple(i32v, 4 * columns), types.UniTuple(types.int64, columns)

    @intrinsic
    def step(tyctx: Any, acc: Any, x: Any, taps: Any, w: Any) -> Any:
        def codegen(ctx: Any, b: Any, sig: Any, args: Any) -> Any:
            values, x = (cgutils.unpack_tuple(b, v) for v in args[:2])
            offsets = [b.sext(_load(b, _at(b, args[2], 4 * i), I32), I64) for i in range(blocks)]
            weights = _weights(b, args[3], blocks)
            for t, place in enumerate(x):
                both = [_load(b, b.add(place, offset), i32v.llvm) for offset in offsets]
                _add_products(b, values, t, _zipped(b, both[0], both[-1]), weights)
            return cgutils.pack_array(b, values)

        return kind(kind, addresses, types.int64, types.int64), codegen

    return step


def pairs_store_q8(columns: int, residual: bool) -> Any:
    """The intrinsic of tile_store.store_q8 for accumulators of this form."""

    def scales(b: Any, address: Any) -> list[Any]:
        return [_twice(b, address, 8 * j, f32v.llvm) for j in range(2)]

    def floats(b: Any, values: Any, scale: Any, t: int, skip: Any) -> list[Any]:
        quads = [b.fmul(b.sitofp(v, f32v.llvm), scale[n % 2]) for n, v in enumerate(values[4 * t : 4 * t + 4])]
        if skip is not None:
            other, zero, ratio = skip
            added = residual_floats(b, emit_lane_shuffle(b, other, _ORDER), zero, ratio)
            quads = [b.fadd(q, s) for q, s in zip(quads, added, strict=True)]
        return quads

    return store_q8(4 * columns, columns, residual, scales, floats, _ORDER)
