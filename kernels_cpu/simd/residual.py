"""Adding what lies in memory to a register tile of a matrix product: residuals.

Import from here, not through the package. The tiles are those of panel.py.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from edgert.kernels_cpu.simd.types import I64, VB, f32v, pointer


def panel_add_f32(rows: int, vectors: int) -> Any:
    """An intrinsic `add(acc, residual, stride)`: acc[r,v] + vector v at residual + r * stride, read whole."""
    kind = types.UniTuple(f32v, rows * vectors)

    @intrinsic
    def add(tyctx: Any, acc: Any, residual: Any, stride: Any) -> Any:
        def codegen(ctx: Any, b: Any, sig: Any, args: Any) -> Any:
            acc, residual, stride = args
            values = cgutils.unpack_tuple(b, acc)
            for i in range(rows * vectors):
                row = b.add(residual, b.mul(stride, ir.Constant(I64, i // vectors)))
                at = b.add(row, ir.Constant(I64, i % vectors * VB))
                values[i] = b.fadd(values[i], b.load(pointer(b, at, f32v.llvm), align=1))
            return cgutils.pack_array(b, values)

        return kind(kind, types.int64, types.int64), codegen

    return add


__all__ = ["panel_add_f32"]
