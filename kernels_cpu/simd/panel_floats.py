"""Products of float16 weights, many rows at once: lines of 16 halves widened to a panel, then tiles of rows x vectors.

Import from here, not through the package. A panel is blocks of 16 columns side by side, one k after the other.
"""

from __future__ import annotations

from typing import Any

from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from edgert.kernels_cpu.simd.groups import LINE, at, emit_fma
from edgert.kernels_cpu.simd.half import emit_load_half
from edgert.kernels_cpu.simd.types import F32, VB, f32v, pointer, splat


@intrinsic
def widen_line(tyctx: Any, w: Any, panel: Any) -> Any:
    """The 16 halves at w become 16 floats at `panel`."""

    def codegen(ctx: Any, b: Any, sig: Any, args: Any) -> Any:
        w, panel = args
        for v in range(0, LINE, VB):
            wide = emit_load_half(b, at(b, w, v // 2), f32v.lanes)
            b.store(wide, pointer(b, at(b, panel, v), f32v.llvm), align=1)
        return ctx.get_dummy_value()

    return types.void(types.int64, types.int64), codegen


def float_step(rows: int, vectors: int) -> Any:
    """An intrinsic `step(acc, x, offset, panel)`: acc[r * vectors + v] = fma(x[r], line[v], acc), the float of row r
    being at x[r] + offset (x: a tuple of addresses)."""
    kind, addresses = types.UniTuple(f32v, rows * vectors), types.UniTuple(types.int64, rows)

    @intrinsic
    def step(tyctx: Any, acc: Any, x: Any, offset: Any, panel: Any) -> Any:
        def codegen(ctx: Any, b: Any, sig: Any, args: Any) -> Any:
            acc, x, offset, panel = args
            acc, x = cgutils.unpack_tuple(b, acc), cgutils.unpack_tuple(b, x)
            lines = [b.load(pointer(b, at(b, panel, VB * v), f32v.llvm), align=1) for v in range(vectors)]
            for r in range(rows):
                one = splat(b, b.load(pointer(b, b.add(x[r], offset), F32), align=1), f32v.llvm)
                for v in range(vectors):
                    acc[r * vectors + v] = emit_fma(b, one, lines[v], acc[r * vectors + v])
            return cgutils.pack_array(b, acc)

        return kind(kind, addresses, types.int64, types.int64), codegen

    return step
