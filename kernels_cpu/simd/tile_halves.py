"""Register tiles of byte products for NEON without a dot product: sums of two products fit 16 bits, so two blocks of
weights are multiplied before their pairs of sums are widened: 6 instructions for 32 products.

|weight| <= 127 (rule F31 of the format) and |activation| <= 128: two products are at most 32512. An accumulator holds
two pixels of one output channel, each as two partial sums. Two channels of T vectors are computed at a time: those of
(r, t) are elements 2 (r * T + t) and the next one.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from edgert.kernels_cpu.simd.order import emit_after
from edgert.kernels_cpu.simd.types import I8, I16, I32, I64, call, i8v, i32v, pointer, shuffle, splat, undef

_HALF, _WORDS = ir.VectorType(I8, 8), ir.VectorType(I16, 8)
HALVES = (0, 1, 4, 5), (2, 3, 6, 7)
"""32-bit lanes of two blocks -> the low halves of both, then the high halves."""


def _at(b: Any, address: Any, offset: int) -> Any:
    return b.add(address, ir.Constant(I64, offset)) if offset else address


def _load(b: Any, address: Any, kind: Any) -> Any:
    return b.load(pointer(b, address, kind), align=1)


def _weights(b: Any, w: Any, cells: int) -> list[Any]:
    """For the two output channels at w a vector each: the 4 weights of one block repeated, or of two blocks in a half
    each."""
    pair = ir.VectorType(I32, 2)
    blocks = [_load(b, _at(b, w, 16 * i), pair) for i in range(cells)]
    if cells == 1:
        masks = [0] * 4, [1] * 4
        return [b.bitcast(shuffle(b, blocks[0], undef(pair), mask), i8v.llvm) for mask in masks]
    mixed = shuffle(b, *blocks, [0, 2, 1, 3])
    return [b.bitcast(shuffle(b, mixed, undef(mixed.type), mask), i8v.llvm) for mask in ([0, 0, 1, 1], [2, 2, 3, 3])]


def _product(b: Any, x: Any, w: Any, half: int) -> Any:
    index = range(8 * half, 8 * half + 8)
    return call(b, "llvm.aarch64.neon.smull.v8i16", _WORDS, *(shuffle(b, v, undef(v.type), index) for v in (x, w)))


def halves_step(columns: int, cells: int, starts: bool) -> Any:
    """An intrinsic `step(acc, x, w)` that adds the products of two output channels of `cells` (1 or 2) weight blocks,
    their first at w, with the tile's vectors at x, of one block as they lie, of two their HALVES; starts: `step(x, w)`,
    the first."""
    kind, i = types.UniTuple(i32v, 4 * columns), types.int64

    def body(b: Any, acc: list[Any] | None, x: Any, w: Any) -> Any:
        weights, found = _weights(b, w, cells), [None] * (4 * columns)
        for t in range(columns):
            pixels = [_load(b, _at(b, x, 16 * (cells * t + i)), i8v.llvm) for i in range(cells)]
            for r in range(2):
                for half in range(2):
                    v = pixels[half] if cells == 2 else pixels[0]
                    words = _product(b, v, weights[r], 0 if cells == 2 else half)
                    if cells == 2:
                        words = b.add(words, _product(b, v, weights[r], 1))
                    n = 2 * (r * columns + t) + half
                    sums = call(b, "llvm.aarch64.neon.saddlp.v4i32.v8i16", i32v.llvm, words)
                    found[n] = sums if acc is None else b.add(acc[n], sums)
            done = [found[2 * (r * columns + t) + half] for r in range(2) for half in range(2)]
            x = emit_after(b, x, done)
        return cgutils.pack_array(b, found)

    if starts:

        @intrinsic
        def start(tyctx: Any, x: Any, w: Any) -> Any:
            return kind(i, i), lambda ctx, b, sig, args: body(b, None, *args)

        return start

    @intrinsic
    def step(tyctx: Any, acc: Any, x: Any, w: Any) -> Any:
        def codegen(ctx: Any, b: Any, sig: Any, args: Any) -> Any:
            return body(b, cgutils.unpack_tuple(b, args[0]), *args[1:])

        return kind(kind, i, i), codegen

    return step


def halves_sums(columns: int) -> Any:
    """An intrinsic `sums(first, second, bias)`: the partial sums of two and two output channels added up, plus int32
    bias[r] of channel r, as tile.py has them: (r, t) is element r * T + t, a pixel per lane."""
    result = kind = types.UniTuple(i32v, 4 * columns)

    @intrinsic
    def sums(tyctx: Any, first: Any, second: Any, bias: Any) -> Any:
        def codegen(ctx: Any, b: Any, sig: Any, args: Any) -> Any:
            halves, found = cgutils.unpack_tuple(b, args[0]) + cgutils.unpack_tuple(b, args[1]), []
            for r in range(4):
                start = splat(b, _load(b, _at(b, args[2], 4 * r), I32), i32v.llvm)
                for n in range(2 * r * columns, 2 * (r + 1) * columns, 2):
                    pairs = call(b, "llvm.aarch64.neon.addp.v4i32", i32v.llvm, halves[n], halves[n + 1])
                    found.append(b.add(pairs, start))
            return cgutils.pack_array(b, found)

        return result(kind, kind, types.int64), codegen

    return sums
