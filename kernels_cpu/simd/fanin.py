"""Weights of constant fan-in, 16 outputs as lanes: every lane takes the number of x that its index says.

Import from here, not through the package. A line is 16 uint16 indices and 16 int8 weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from edgert.kernels_cpu.simd.groups import VECTORS, at, emit_fma
from edgert.kernels_cpu.simd.target import LANES
from edgert.kernels_cpu.simd.types import F32, I8, I16, I32, I64, VB, f32v, i32v, pointer, undef


def _gather(b: Any, x: Any, numbers: Sequence[Any]) -> Any:
    """The floats at x + 4 * number, one for each lane. By single loads: where there is a gather it is no faster."""
    found = undef(f32v.llvm)
    for lane, number in enumerate(numbers):
        place = b.add(x, b.shl(number, ir.Constant(I64, 2)))
        found = b.insert_element(found, b.load(pointer(b, place, F32), align=4), ir.Constant(I32, lane))
    return found


def fanin_step(rows: int) -> Any:
    """An intrinsic `step(acc, x, index, data)`: one line, acc = fma(float(data), x[index], acc) for each of 16 outputs
    and each row of x. x is a tuple of the rows' addresses (row_starts); index and data are addresses."""
    kind, addresses = types.UniTuple(f32v, rows * VECTORS), types.UniTuple(types.int64, rows)

    @intrinsic
    def step(tyctx: Any, acc: Any, x: Any, index: Any, data: Any) -> Any:
        def codegen(ctx: Any, b: Any, sig: Any, args: Any) -> Any:
            acc, x, index, data = args
            values, starts = cgutils.unpack_tuple(b, acc), cgutils.unpack_tuple(b, x)
            for v in range(VECTORS):
                first = at(b, index, 2 * LANES * v)
                places = [pointer(b, at(b, first, 2 * lane), I16) for lane in range(LANES)]
                numbers = [b.zext(b.load(place, align=2), I64) for place in places]
                weights = b.load(pointer(b, at(b, data, LANES * v), ir.VectorType(I8, LANES)), align=1)
                weight = b.sitofp(b.sext(weights, i32v.llvm), f32v.llvm)
                for r, start in enumerate(starts):
                    i = r * VECTORS + v
                    values[i] = emit_fma(b, weight, _gather(b, start, numbers), values[i])
            return cgutils.pack_array(b, values)

        i64 = types.int64
        return kind(kind, addresses, i64, i64), codegen

    return step


def scaled(rows: int) -> Any:
    """An intrinsic `by(acc, scale)`: the sums of each row times the 16 floats at `scale`."""
    kind = types.UniTuple(f32v, rows * VECTORS)

    @intrinsic
    def by(tyctx: Any, acc: Any, scale: Any) -> Any:
        def codegen(ctx: Any, b: Any, sig: Any, args: Any) -> Any:
            acc, scale = args
            factors = [b.load(pointer(b, at(b, scale, VB * v), f32v.llvm), align=1) for v in range(VECTORS)]
            values = cgutils.unpack_tuple(b, acc)
            return cgutils.pack_array(b, [b.fmul(value, factors[i % VECTORS]) for i, value in enumerate(values)])

        return kind(kind, types.int64), codegen

    return by


__all__ = ["fanin_step", "scaled"]
