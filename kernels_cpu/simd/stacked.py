"""Stacks of output rows of one channel: each vector of input meets the taps of every row of the stack that it is under.

A window of k x k alone loads k * k vectors for one of output, most across cache lines. R rows of output under each
other load (R - 1) * stride + k rows instead of R * k.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from edgert.kernels_cpu.simd.tile import emit_fma
from edgert.kernels_cpu.simd.types import F32, I64, f32v, pointer, splat


def stack_sums(rows: int, kernel: int, stride: int) -> Any:
    """An intrinsic `sums(bias, w, x, pitch, phase)` -> tuple of `rows` f32v: bias[0] + the sum over ky, kx of
    w[kernel * ky + kx] * the vector for (stride * r + ky, kx), fused, kx outer. bias, w: addresses of floats. Line l
    of input is at x + l * pitch; of its cells, kx = 0, stride, ... follow each other, those from 1 on lie `phase` bytes
    further."""
    kind, i = types.UniTuple(f32v, rows), types.int64

    @intrinsic
    def sums(tyctx: Any, bias: Any, w: Any, x: Any, pitch: Any, phase: Any) -> Any:
        def codegen(ctx: Any, b: Any, sig: Any, args: Any) -> Any:
            bias, w, x, pitch, phase = args

            def number(address: Any, place: int) -> Any:
                at = b.add(address, ir.Constant(I64, 4 * place))
                return splat(b, b.load(pointer(b, at, F32), align=1), f32v.llvm)

            found = [number(bias, 0)] * rows
            lines = [b.add(x, b.mul(pitch, ir.Constant(I64, row))) for row in range((rows - 1) * stride + kernel)]
            for kx in range(kernel):
                column = b.add(b.mul(phase, ir.Constant(I64, kx % stride)), ir.Constant(I64, 4 * (kx // stride)))
                weights = [number(w, kernel * ky + kx) for ky in range(kernel)]
                for row, line in enumerate(lines):
                    cells = b.load(pointer(b, b.add(line, column), f32v.llvm), align=1)
                    for r in range(rows):
                        ky = row - stride * r
                        if 0 <= ky < kernel:
                            found[r] = emit_fma(b, cells, weights[ky], found[r])
            return cgutils.pack_array(b, found)

        return kind(i, i, i, i, i), codegen

    return sums


def stack_store(rows: int) -> Any:
    """An intrinsic `store(acc, low, high, y, pitch)`: writes min(max(v, low), high) of vector r of the tuple at
    y + r * pitch, the first row first."""
    kind = types.UniTuple(f32v, rows)

    @intrinsic
    def store(tyctx: Any, acc: Any, low: Any, high: Any, y: Any, pitch: Any) -> Any:
        def codegen(ctx: Any, b: Any, sig: Any, args: Any) -> Any:
            acc, low, high, y, pitch = args
            for r, v in enumerate(cgutils.unpack_tuple(b, acc)):
                v = b.select(b.fcmp_ordered(">", v, low), v, low)
                v = b.select(b.fcmp_ordered("<", v, high), v, high)
                place = b.add(y, b.mul(pitch, ir.Constant(I64, r)))
                b.store(v, pointer(b, place, f32v.llvm), align=1)
            return ctx.get_dummy_value()

        return types.void(kind, f32v, f32v, types.int64, types.int64), codegen

    return store


__all__ = ["stack_store", "stack_sums"]
