"""Depthwise windows for NEON without a dot product: tap by tap, 4 pixels x 4 channels at once.

Two taps' products are added in 16 bits before they are widened (|weight| <= 127, rule F31, and |activation| <= 128).
window.py has the form that gathers rows of taps into dot products, for every ISA.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from edgert.kernels_cpu.simd.order import emit_after
from edgert.kernels_cpu.simd.types import I16, I64, call, halves, i8v, i32v, pointer, shuffle, undef

_WORDS = ir.VectorType(I16, 8)


def tap_weights(rows: int, columns: int) -> Any:
    """An intrinsic `weights(address)` -> tuple of rows * columns i8v, a tap's 4 channels repeated, from
    [rows][blocks][4 channels][4 taps] bytes."""
    blocks, result = -(-columns // 4), types.UniTuple(i8v, rows * columns)

    @intrinsic
    def weights(tyctx: Any, address: Any) -> Any:
        def codegen(ctx: Any, b: Any, sig: Any, args: Any) -> Any:
            found = []
            for r in range(rows):
                for s in range(columns):
                    place = b.add(args[0], ir.Constant(I64, 16 * (r * blocks + s // 4)))
                    block = b.load(pointer(b, place, i8v.llvm), align=1)
                    found.append(shuffle(b, block, undef(block.type), [4 * c + s % 4 for c in range(4)] * 4))
            return cgutils.pack_array(b, found)

        return result(types.int64), codegen

    return weights


def _pixels(b: Any, row: Any, column: int, stride: int) -> Any:
    """4 pixels, `stride` apart, from pixel `column` of a row on."""
    if stride == 1:
        return b.load(pointer(b, b.add(row, ir.Constant(I64, 4 * column)), i8v.llvm), align=1)
    place = b.add(row, ir.Constant(I64, 8 * (column // 2)))
    words = [b.load(pointer(b, b.add(place, ir.Constant(I64, 16 * i)), i32v.llvm), align=1) for i in range(2)]
    return b.bitcast(shuffle(b, *words, range(column % 2, 8, 2)), i8v.llvm)


def _multiply(b: Any, x: Any, w: Any) -> list[Any]:
    """16-bit products: of pixels 0 and 1, of 2 and 3."""
    return [
        call(b, "llvm.aarch64.neon.smull.v8i16", _WORDS, *pair) for pair in zip(halves(b, x), halves(b, w), strict=True)
    ]


def tap_window(rows: int, columns: int, stride: int) -> Any:
    """An intrinsic `window(acc, x, pitch, w)`: adds a window of rows x columns taps to 4 accumulators (pixel j: its 4
    channels); x addresses the first output pixel's first tap, rows are `pitch` bytes apart, w is the tuple of
    tap_weights. Output pixels are `stride` (1 or 2) input pixels apart."""
    kind, taps = types.UniTuple(i32v, 4), types.UniTuple(i8v, rows * columns)

    @intrinsic
    def window(tyctx: Any, acc: Any, x: Any, pitch: Any, w: Any) -> Any:
        def codegen(ctx: Any, b: Any, sig: Any, args: Any) -> Any:
            acc, x, pitch, w = args
            values, w = cgutils.unpack_tuple(b, acc), cgutils.unpack_tuple(b, w)
            for first in range(0, rows * columns, 2):
                words: list[Any] = []
                for n in range(first, min(first + 2, rows * columns)):
                    row = b.add(x, b.mul(pitch, ir.Constant(I64, n // columns)))
                    products = _multiply(b, _pixels(b, row, n % columns, stride), w[n])
                    words = products if n == first else [b.add(v, p) for v, p in zip(words, products, strict=True)]
                for j, quad in enumerate(quad for v in words for quad in halves(b, v)):
                    values[j] = b.add(values[j], b.sext(quad, i32v.llvm))
                x = emit_after(b, x, values)
            return cgutils.pack_array(b, values)

        return kind(kind, types.int64, types.int64, taps), codegen

    return window
