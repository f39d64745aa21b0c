"""Tiles of a matrix product that begin with values of their own in every row, in the manner of `panel.py`.
There a tile begins with a bias that all rows share."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from edgert.kernels_cpu.simd.types import I64, VB, f32v, pointer


def panel_load_f32(rows: int, vectors: int) -> Any:
    """An intrinsic `load(x, x_row)`: acc[r,v] = vector v at x + r * x_row."""
    result = types.UniTuple(f32v, rows * vectors)

    @intrinsic
    def load(tyctx: Any, x: Any, x_row: Any) -> Any:
        def codegen(ctx: Any, b: Any, sig: Any, args: Any) -> Any:
            values = []
            for r in range(rows):
                row = b.add(args[0], b.mul(args[1], ir.Constant(I64, r)))
                for v in range(vectors):
                    place = b.add(row, ir.Constant(I64, v * VB))
                    values.append(b.load(pointer(b, place, f32v.llvm), align=1))
            return cgutils.pack_array(b, values)

        return result(types.int64, types.int64), codegen

    return load
