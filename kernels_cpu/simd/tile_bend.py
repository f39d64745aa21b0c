"""What a tile of float sums goes through before it is clamped and stored: a residual added, negative sums scaled.

Import from here, not through the package. The tiles are those of tile.py.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from edgert.kernels_cpu.simd.types import F32, I64, const, f32v, pointer, splat


def tile_add_f32(rows: int, columns: int) -> Any:
    """An intrinsic `add(acc, r, offset, plane)`: accumulator (r, t) + the floats at r[t] + offset + r * plane."""
    kind, addresses = types.UniTuple(f32v, rows * columns), types.UniTuple(types.int64, columns)

    @intrinsic
    def add(tyctx: Any, acc: Any, skip: Any, offset: Any, plane: Any) -> Any:
        def codegen(ctx: Any, b: Any, sig: Any, args: Any) -> Any:
            acc, skip, offset, plane = args
            values, skip = cgutils.unpack_tuple(b, acc), cgutils.unpack_tuple(b, skip)
            for r in range(rows):
                place = b.add(offset, b.mul(plane, ir.Constant(I64, r))) if r else offset
                for t in range(columns):
                    other = b.load(pointer(b, b.add(skip[t], place), f32v.llvm), align=1)
                    values[r * columns + t] = b.fadd(values[r * columns + t], other)
            return cgutils.pack_array(b, values)

        return kind(kind, addresses, types.int64, types.int64), codegen

    return add


def tile_bend_f32(rows: int, columns: int) -> Any:
    """An intrinsic `bend(acc, slope)`: accumulators (r, t) below 0 times the float at slope + 4 * r."""
    kind = types.UniTuple(f32v, rows * columns)

    @intrinsic
    def bend(tyctx: Any, acc: Any, slope: Any) -> Any:
        def codegen(ctx: Any, b: Any, sig: Any, args: Any) -> Any:
            acc, slope = args
            values, zero = cgutils.unpack_tuple(b, acc), const(f32v.llvm, 0.0)
            for r in range(rows):
                value = b.load(pointer(b, b.add(slope, ir.Constant(I64, 4 * r)), F32), align=1)
                factor = splat(b, value, f32v.llvm)
                for t in range(columns):
                    v = values[r * columns + t]
                    values[r * columns + t] = b.select(b.fcmp_ordered("<", v, zero), b.fmul(v, factor), v)
            return cgutils.pack_array(b, values)

        return kind(kind, types.int64), codegen

    return bend


__all__ = ["tile_add_f32", "tile_bend_f32"]
