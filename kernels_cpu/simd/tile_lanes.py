"""Register tiles of byte products for NEON: an accumulator per pixel, its four lanes the four output channels.

A 16-byte weight block multiplies one pixel's four bytes, taken by element, so a loaded vector of pixels serves four
products and a loaded block all pixels of the tile; sums come out in the output's own order of bytes. tile.py has the
form with pixels in the lanes, for every ISA. Accumulator 4t + p is pixel p of vector t.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from edgert.kernels_cpu.simd.target import LANES
from edgert.kernels_cpu.simd.tile_store import store_q8
from edgert.kernels_cpu.simd.types import I16, I32, I64, call, f32v, i8v, i32v, pointer, shuffle, undef


def _at(b: Any, address: Any, offset: int) -> Any:
    return b.add(address, ir.Constant(I64, offset)) if offset else address


def _load(b: Any, address: Any, kind: Any) -> Any:
    return b.load(pointer(b, address, kind), align=1)


def lanes_init(columns: int) -> Any:
    """An intrinsic `init(bias)`: every accumulator starts at the 4 int32 values at bias."""
    result = types.UniTuple(i32v, LANES * columns)

    @intrinsic
    def init(tyctx: Any, bias: Any) -> Any:
        def codegen(ctx: Any, b: Any, sig: Any, args: Any) -> Any:
            return cgutils.pack_array(b, [_load(b, args[0], i32v.llvm)] * (LANES * columns))

        return result(types.int64), codegen

    return init


def _add_products(b: Any, acc: list[Any], block: Any, places: list[Any]) -> None:
    """acc[4t + p] += block x the four bytes of pixel p at places[t]."""
    for t, place in enumerate(places):
        pixels = _load(b, place, i32v.llvm)
        for p in range(LANES):
            one = b.bitcast(shuffle(b, pixels, undef(pixels.type), [p] * LANES), i8v.llvm)
            n = LANES * t + p
            acc[n] = call(b, "llvm.aarch64.neon.sdot.v4i32.v16i8", acc[n].type, acc[n], block, one)


def lanes_step(columns: int, cells: int) -> Any:
    """An intrinsic `step(acc, x, w)`: adds the products of `cells` weight blocks, 16 bytes each from w on: [4 output
    channels][4 input channels]. Those of a block meet the tile's `columns` vectors, [4 pixels][4 channels], which lie
    together at x, one block's after the other's."""
    kind = types.UniTuple(i32v, LANES * columns)

    @intrinsic
    def step(tyctx: Any, acc: Any, x: Any, w: Any) -> Any:
        def codegen(ctx: Any, b: Any, sig: Any, args: Any) -> Any:
            acc, x, w = args
            values = cgutils.unpack_tuple(b, acc)
            for i in range(cells):
                block = _load(b, _at(b, w, 16 * i), i8v.llvm)
                _add_products(b, values, block, [_at(b, x, 16 * (columns * i + t)) for t in range(columns)])
            return cgutils.pack_array(b, values)

        return kind(kind, types.int64, types.int64), codegen

    return step


def lanes_step_apart(columns: int, cells: int) -> Any:
    """An intrinsic `step(acc, x, taps, w)`: as lanes_step, the vectors of block i at x[t] + taps[i] (x: tuple of
    addresses, taps: address of int32 offsets)."""
    kind, addresses = types.UniTuple(i32v, LANES * columns), types.UniTuple(types.int64, columns)

    @intrinsic
    def step(tyctx: Any, acc: Any, x: Any, taps: Any, w: Any) -> Any:
        def codegen(ctx: Any, b: Any, sig: Any, args: Any) -> Any:
            acc, x, taps, w = args
            values, x = cgutils.unpack_tuple(b, acc), cgutils.unpack_tuple(b, x)
            for i in range(cells):
                offset = b.sext(_load(b, _at(b, taps, 4 * i), I32), I64)
                block = _load(b, _at(b, w, 16 * i), i8v.llvm)
                _add_products(b, values, block, [b.add(place, offset) for place in x])
            return cgutils.pack_array(b, values)

        return kind(kind, addresses, types.int64, types.int64), codegen

    return step


def residual_floats(b: Any, skip: Any, zero: Any, ratio: Any) -> list[Any]:
    """The residual's 16 bytes as four vectors of (byte - zero) * ratio, in their order."""
    narrow = b.trunc(zero, ir.VectorType(I16, LANES))
    wide = b.sext(skip, ir.VectorType(I16, 16))
    found = []
    for p in range(LANES):
        quad = shuffle(b, wide, undef(wide.type), range(LANES * p, LANES * p + LANES))
        found.append(b.fmul(b.sitofp(b.sext(b.sub(quad, narrow), i32v.llvm), f32v.llvm), ratio))
    return found


def lanes_store_q8(columns: int, residual: bool) -> Any:
    """The intrinsic of tile_store.store_q8 for accumulators of this form."""

    def scales(b: Any, address: Any) -> Any:
        return _load(b, address, f32v.llvm)

    def floats(b: Any, values: Any, scale: Any, t: int, skip: Any) -> list[Any]:
        quads = [b.fmul(b.sitofp(v, f32v.llvm), scale) for v in values[LANES * t : LANES * t + LANES]]
        if skip is not None:
            quads = [b.fadd(q, s) for q, s in zip(quads, residual_floats(b, *skip), strict=True)]
        return quads

    return store_q8(LANES * columns, columns, residual, scales, floats)
