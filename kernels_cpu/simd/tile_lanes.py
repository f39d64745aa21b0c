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

from edgert.kernels_cpu.simd.bytes8 import emit_clamp_act, emit_requantize
from edgert.kernels_cpu.simd.target import LANES
from edgert.kernels_cpu.simd.types import I16, I64, call, f32v, i8v, i16v, i32v, pointer, shuffle, undef


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


def lanes_step_apart(columns: int) -> Any:
    """An intrinsic `step(acc, x, offset, w)`: as lanes_step for one block and the vectors at x[t] + offset (x: tuple
    of addresses)."""
    kind, addresses = types.UniTuple(i32v, LANES * columns), types.UniTuple(types.int64, columns)

    @intrinsic
    def step(tyctx: Any, acc: Any, x: Any, offset: Any, w: Any) -> Any:
        def codegen(ctx: Any, b: Any, sig: Any, args: Any) -> Any:
            acc, x, offset, w = args
            values = cgutils.unpack_tuple(b, acc)
            places = [b.add(place, offset) for place in cgutils.unpack_tuple(b, x)]
            _add_products(b, values, _load(b, w, i8v.llvm), places)
            return cgutils.pack_array(b, values)

        return kind(kind, addresses, types.int64, types.int64), codegen

    return step


def lanes_gather(columns: int) -> Any:
    """An intrinsic `gather(x, offset, target)`: copies the vectors at x[t] + offset (x: tuple of addresses) to target,
    one after the other."""
    addresses = types.UniTuple(types.int64, columns)

    @intrinsic
    def gather(tyctx: Any, x: Any, offset: Any, target: Any) -> Any:
        def codegen(ctx: Any, b: Any, sig: Any, args: Any) -> Any:
            x, offset, target = args
            vectors = [_load(b, b.add(place, offset), i8v.llvm) for place in cgutils.unpack_tuple(b, x)]
            for t, v in enumerate(vectors):
                b.store(v, pointer(b, _at(b, target, 16 * t), i8v.llvm), align=1)
            return ctx.get_dummy_value()

        return types.void(addresses, types.int64, types.int64), codegen

    return gather


def _residual_floats(b: Any, skip: Any, zero: Any, ratio: Any) -> list[Any]:
    """The residual's 16 bytes as four vectors of (byte - zero) * ratio, one per pixel."""
    narrow = b.trunc(zero, ir.VectorType(I16, LANES))
    wide = b.sext(skip, ir.VectorType(I16, 16))
    found = []
    for p in range(LANES):
        quad = shuffle(b, wide, undef(wide.type), range(LANES * p, LANES * p + LANES))
        found.append(b.fmul(b.sitofp(b.sext(b.sub(quad, narrow), i32v.llvm), f32v.llvm), ratio))
    return found


def lanes_store_q8(columns: int, residual: bool) -> Any:
    """An intrinsic `store(acc, scale, zero_point, low, high, y, offset[, r, residual_zero, residual_scale])`: what
    tile_store_q8 does, in the same order of rounding, for accumulators of this form."""
    kind, addresses, i = types.UniTuple(i32v, LANES * columns), types.UniTuple(types.int64, columns), types.int64

    def body(b: Any, args: Any, skip: Any) -> None:
        acc, scale, zero_point, low, high, y, offset = args
        values, y = cgutils.unpack_tuple(b, acc), cgutils.unpack_tuple(b, y)
        scales = _load(b, scale, f32v.llvm)
        for t in range(columns):
            quads = [b.fmul(b.sitofp(v, f32v.llvm), scales) for v in values[LANES * t : LANES * t + LANES]]
            if skip is not None:
                r, zero, ratio = skip
                other = _load(b, b.add(cgutils.unpack_tuple(b, r)[t], offset), i8v.llvm)
                quads = [b.fadd(q, s) for q, s in zip(quads, _residual_floats(b, other, zero, ratio), strict=True)]
            packed = emit_clamp_act(b, emit_requantize(b, quads, zero_point), low, high)
            b.store(packed, pointer(b, b.add(y[t], offset), i8v.llvm), align=1)

    if residual:

        @intrinsic
        def store_add(
            tyctx: Any, acc: Any, scale: Any, zero_point: Any, low: Any, high: Any, y: Any, offset: Any,
            r: Any, zero: Any, ratio: Any,
        ) -> Any:  # fmt: skip
            def codegen(ctx: Any, b: Any, sig: Any, args: Any) -> Any:
                body(b, args[:7], args[7:])
                return ctx.get_dummy_value()

            return types.void(kind, i, i16v, i8v, i8v, addresses, i, addresses, i32v, f32v), codegen

        return store_add

    @intrinsic
    def store(tyctx: Any, acc: Any, scale: Any, zero_point: Any, low: Any, high: Any, y: Any, offset: Any) -> Any:
        def codegen(ctx: Any, b: Any, sig: Any, args: Any) -> Any:
            body(b, args, None)
            return ctx.get_dummy_value()

        return types.void(kind, i, i16v, i8v, i8v, addresses, i), codegen

    return store
