"""Weights of constant fan-in, 16 outputs as lanes: every lane takes the number of x that its index says.

Import from here, not through the package. A line is 16 uint16 indices and 16 int8 weights.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from edgert.kernels_cpu.simd.groups import VECTORS, at, emit_fma
from edgert.kernels_cpu.simd.target import LANES, has
from edgert.kernels_cpu.simd.types import F32, I1, I8, I16, I32, I64, VB, call, const, f32v, i32v, pointer, undef


def _gather(b: Any, x: Any, index: Any) -> Any:
    """The floats at x + 4 * index; index is i32v."""
    base = pointer(b, x, I8)
    four = ir.Constant(I8, 4)
    if has("avx512"):
        every = ir.Constant(ir.VectorType(I1, LANES), [ir.Constant(I1, 1)] * LANES)
        return call(b, "llvm.x86.avx512.mask.gather.dps.512", f32v.llvm, const(f32v.llvm, 0.0), base, index, every,
                    ir.Constant(I32, 4))  # fmt: skip
    if has("avx2"):
        every = b.bitcast(const(i32v.llvm, -1), f32v.llvm)
        return call(b, "llvm.x86.avx2.gather.d.ps.256", f32v.llvm, const(f32v.llvm, 0.0), base, index, every, four)
    found = undef(f32v.llvm)
    for lane in range(LANES):
        number = b.zext(b.extract_element(index, ir.Constant(I32, lane)), I64)
        value = b.load(pointer(b, b.add(x, b.shl(number, ir.Constant(I64, 2))), F32), align=4)
        found = b.insert_element(found, value, ir.Constant(I32, lane))
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
                numbers = b.load(pointer(b, at(b, index, 2 * LANES * v), ir.VectorType(I16, LANES)), align=2)
                weights = b.load(pointer(b, at(b, data, LANES * v), ir.VectorType(I8, LANES)), align=1)
                where, weight = b.zext(numbers, i32v.llvm), b.sitofp(b.sext(weights, i32v.llvm), f32v.llvm)
                for r, start in enumerate(starts):
                    i = r * VECTORS + v
                    values[i] = emit_fma(b, weight, _gather(b, start, where), values[i])
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
