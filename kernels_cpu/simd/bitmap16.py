"""Blocks of 16 rows x 64 k of halves of which some are kept: a bit mask for each k, then the halves, one by one.

Import from here, not through the package. The blocks are those of the encoding bitmap16 (docs/format.md): 64 masks of
16 bits, bit r for row r; float16 numbers. A line, 16 rows of one k, becomes floats with zeros where none is kept.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from edgert.kernels_cpu.simd import helper
from edgert.kernels_cpu.simd.bitmap import whole_block
from edgert.kernels_cpu.simd.groups import VECTORS, at, emit_fma
from edgert.kernels_cpu.simd.half import emit_load_half
from edgert.kernels_cpu.simd.spread import emit_places, emit_popcount, emit_take_kept
from edgert.kernels_cpu.simd.target import LANES, has
from edgert.kernels_cpu.simd.types import F32, I1, I16, I64, VB, call, const, f32v, pointer, splat

LINES = 64
"""k of a block."""
MASKS = 2 * LINES
"""Bytes before the kept numbers."""
LONGEST = MASKS + 32 * LINES + 32
"""Bytes that may be read at a block: those of a whole one, as each line is read 32 bytes long."""


@helper
def halves_bytes(count):  # type: ignore[no-untyped-def]
    """Of a block that keeps `count` numbers: the next begins at a multiple of 8."""
    return MASKS + ((2 * count + 7) & -8)


def _line(b: Any, w: Any, k: Any, offset: Any) -> tuple[list[Any], Any]:
    """Line k of the block at w, whose kept numbers begin after `offset` of the block -> (f32v, the next offset)."""
    mask = b.zext(b.load(pointer(b, b.add(w, b.shl(k, ir.Constant(I64, 1))), I16), align=1), I64)
    kept = at(b, b.add(w, b.shl(offset, ir.Constant(I64, 1))), MASKS)
    following = b.add(offset, emit_popcount(b, mask))
    if has("avx512"):
        bits = b.bitcast(b.trunc(mask, I16), ir.VectorType(I1, LANES))
        packed, zero = emit_load_half(b, kept, LANES), const(f32v.llvm, 0.0)
        return [call(b, "llvm.x86.avx512.mask.expand.v16f32", f32v.llvm, packed, zero, bits)], following
    line = []
    for place in emit_places(b, mask, VECTORS):
        packed = emit_load_half(b, b.add(kept, b.shl(place.before, ir.Constant(I64, 1))), LANES)
        line.append(emit_take_kept(b, [packed], place))
    return line, following


def halves_step(count: int, blocks: int) -> Any:
    """An intrinsic `step(acc, offsets, x, k, w)` -> (acc, offsets): lines k .. k + count - 1 of `blocks` blocks of 16
    columns: acc = fma(x[i], line k + i, acc). x is the address of floats; w, offsets and acc are tuples: for each block
    its address, how many of its numbers come before line k, and its accumulators."""
    sums = types.UniTuple(types.UniTuple(f32v, VECTORS), blocks)
    places = types.UniTuple(types.int64, blocks)
    both = types.Tuple((sums, places))

    @intrinsic
    def step(tyctx: Any, acc: Any, offsets: Any, x: Any, k: Any, w: Any) -> Any:
        def codegen(ctx: Any, b: Any, sig: Any, args: Any) -> Any:
            acc, offsets, x, k, w = args
            values = [cgutils.unpack_tuple(b, block) for block in cgutils.unpack_tuple(b, acc)]
            counts, starts = cgutils.unpack_tuple(b, offsets), cgutils.unpack_tuple(b, w)
            for i in range(count):
                one = splat(b, b.load(pointer(b, at(b, x, 4 * i), F32), align=4), f32v.llvm)
                for n in range(blocks):
                    line, counts[n] = _line(b, starts[n], at(b, k, i), counts[n])
                    values[n] = [emit_fma(b, one, *pair) for pair in zip(line, values[n], strict=True)]
            made = cgutils.pack_array(b, [cgutils.pack_array(b, block) for block in values])
            return ctx.make_tuple(b, both, (made, cgutils.pack_array(b, counts)))

        i64 = types.int64
        return both(sums, places, i64, i64, places), codegen

    return step


@intrinsic
def _store_line(tyctx: Any, w: Any, k: Any, offset: Any, to: Any) -> Any:
    """Line k as floats at `to` -> the offset of the next."""

    def codegen(ctx: Any, b: Any, sig: Any, args: Any) -> Any:
        w, k, offset, to = args
        line, following = _line(b, w, k, offset)
        for v, vector in enumerate(line):
            b.store(vector, pointer(b, at(b, to, VB * v), f32v.llvm), align=1)
        return following

    i64 = types.int64
    return i64(i64, i64, i64, i64), codegen


def halves_unpack(pitch: int) -> Any:
    """A function `unpack(w, end, spare, panel)` -> the address of the next block: that at w becomes 64 lines of 16
    floats, `pitch` bytes apart. end: that of all blocks; spare: LONGEST bytes of scratch."""
    whole = whole_block(LONGEST)

    @helper
    def unpack(w, end, spare, panel):  # type: ignore[no-untyped-def]
        block, offset = whole(w, end, spare), 0
        for k in range(LINES):
            offset = _store_line(block, k, offset, panel + pitch * k)
        return w + halves_bytes(offset)

    return unpack


__all__ = ["LINES", "LONGEST", "MASKS", "halves_bytes", "halves_step", "halves_unpack", "whole_block"]
