"""Depthwise windows for NEON's byte dot product: input rows interleaved, so that a product takes a column of taps.

Bytes of four rows zipped twice are one pixel's [4 channels][4 rows], what a dot product wants, and serve every
output that has the pixel under its window: in two rows of outputs and as many columns as the kernel has.
window.py has the form that gathers rows of taps, for every ISA.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from edgert.kernels_cpu.simd.bytes8 import emit_dot4
from edgert.kernels_cpu.simd.types import I64, const, i8v, i16v, i32v, pointer, shuffle

_LOW, _HIGH = [n // 2 + 16 * (n % 2) for n in range(16)], [8 + n // 2 + 16 * (n % 2) for n in range(16)]
"""Byte masks of zip1 and zip2."""
_LOW16, _HIGH16 = [n // 2 + 8 * (n % 2) for n in range(8)], [4 + n // 2 + 8 * (n % 2) for n in range(8)]


def _load(b: Any, address: Any, offset: int) -> Any:
    return b.load(pointer(b, b.add(address, ir.Constant(I64, offset)), i8v.llvm), align=1)


def _steps(columns: int) -> tuple[int, ...]:
    """First columns of the pairs of taps that one product takes where two rows remain."""
    return tuple(range(0, columns, 2))


def _products(rows: int, columns: int, outputs: int) -> list[list[list[tuple[int, int] | None]]]:
    """For every output row its weight vectors, in order of use: which (row, column) of the kernel each of the four
    taps is, None where none."""

    def tap(row: int, column: int) -> tuple[int, int] | None:
        return (row, column) if 0 <= row < rows and column < columns else None

    found = []
    for o in range(outputs):
        quads = [[tap(i - o, s) for i in range(4)] for s in range(columns)]
        if rows > 4 - outputs + 1:
            quads += [[tap(4 + i % 2 - o, s + i // 2) for i in range(4)] for s in _steps(columns)]
        found.append(quads)
    return found


def row_weights(rows: int, columns: int, outputs: int) -> Any:
    """An intrinsic `weights(address)` -> tuple of i8v for row_window, from [rows][blocks][4 channels][4 taps] bytes."""
    blocks, products = -(-columns // 4), _products(rows, columns, outputs)
    result = types.UniTuple(i8v, sum(len(quads) for quads in products))

    @intrinsic
    def weights(tyctx: Any, address: Any) -> Any:
        def codegen(ctx: Any, b: Any, sig: Any, args: Any) -> Any:
            stored = [_load(b, args[0], 16 * i) for i in range(rows * blocks)]
            found = []
            for taps in (taps for quads in products for taps in quads):
                v = const(i8v.llvm, 0)
                for i, source in enumerate(stored):
                    index = list(range(16))
                    for k, tap in enumerate(taps):
                        if tap is not None and tap[0] * blocks + tap[1] // 4 == i:
                            for channel in range(4):
                                index[4 * channel + k] = 16 + 4 * channel + tap[1] % 4
                    if index != list(range(16)):
                        v = shuffle(b, v, source, index)
                found.append(v)
            return cgutils.pack_array(b, found)

        return result(types.int64), codegen

    return weights


def row_window(rows: int, columns: int, outputs: int) -> Any:
    """An intrinsic `window(start, x, pitch, w)` -> 4 * outputs accumulators: a window of rows x columns (3 x 3 or
    5 x 5) at 4 neighbouring pixels in each of `outputs` (1 or 2) rows; each starts at `start` (i32v: 4 channels).
    x addresses the first pixel's first tap, rows are `pitch` bytes apart, w is the tuple of row_weights."""
    products = _products(rows, columns, outputs)
    kind = types.UniTuple(i32v, 4 * outputs)
    taps = types.UniTuple(i8v, sum(len(quads) for quads in products))
    last = rows + outputs - 2

    @intrinsic
    def window(tyctx: Any, start: Any, x: Any, pitch: Any, w: Any) -> Any:
        def codegen(ctx: Any, b: Any, sig: Any, args: Any) -> Any:
            start, x, pitch, w = args
            w = cgutils.unpack_tuple(b, w)
            halves = range(-(-(columns + 3) // 4))
            pixels: dict[int, list[Any]] = {}
            for r in range(last + 1):
                row = b.add(x, b.mul(pitch, ir.Constant(I64, r)))
                pixels[r] = [_load(b, row, 16 * h) for h in halves]
            acc = [start] * (4 * outputs)
            fours = _interleave4(b, [pixels[min(r, last)] for r in range(4)])
            twos = _interleave2(b, pixels[4], pixels[min(5, last)]) if last >= 4 else []
            for o in range(outputs):
                n = sum(len(quads) for quads in products[:o])
                for s in range(columns):
                    for j in range(4):
                        acc[4 * o + j] = emit_dot4(b, acc[4 * o + j], fours[j + s], w[n + s])
                for i, s in enumerate(_steps(columns) if last >= 4 else ()):
                    for j in range(4):
                        acc[4 * o + j] = emit_dot4(b, acc[4 * o + j], twos[j + s], w[n + columns + i])
            return cgutils.pack_array(b, acc)

        return kind(i32v, types.int64, types.int64, taps), codegen

    return window


def _interleave4(b: Any, rows: list[list[Any]]) -> list[Any]:
    """Pixels of four rows -> per pixel [4 channels][4 rows]."""
    found = []
    for first, second, third, fourth in zip(*rows, strict=True):
        for half in (_LOW, _HIGH):
            upper = b.bitcast(shuffle(b, first, second, half), i16v.llvm)
            lower = b.bitcast(shuffle(b, third, fourth, half), i16v.llvm)
            found += [b.bitcast(shuffle(b, upper, lower, mask), i8v.llvm) for mask in (_LOW16, _HIGH16)]
    return found


def _interleave2(b: Any, first: list[Any], second: list[Any]) -> list[Any]:
    """Pixels of two rows -> per pixel [4 channels][2 pixels][2 rows], the pixel and its right neighbour (nothing to
    rely on for the last)."""
    pairs = [b.bitcast(shuffle(b, x, y, half), i16v.llvm)
             for x, y in zip(first, second, strict=True) for half in (_LOW, _HIGH)]  # fmt: skip
    found = []
    for i, pair in enumerate(pairs):
        right = pairs[min(i + 1, len(pairs) - 1)]
        found.append(b.bitcast(shuffle(b, pair, right, [0, 4, 1, 5, 2, 6, 3, 7]), i8v.llvm))
        found.append(b.bitcast(shuffle(b, pair, right, [4, 8, 5, 9, 6, 10, 7, 11]), i8v.llvm))
    return found
