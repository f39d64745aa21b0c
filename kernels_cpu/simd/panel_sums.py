"""The float sums of a tile, rows x vectors in a tuple: begun at zero or taken from memory, and what is added last.

Import from here, not through the package. Sum (r, v) is element r * V + v; columns from `count` on do not exist, and
reading stays within a vector of those that do. Storing is panel_store_f32 (panel.py). Also where a tile's rows begin.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from edgert.kernels_cpu.simd.target import LANES
from edgert.kernels_cpu.simd.types import I8, I64, VB, call, const, f32v, pointer


def _vectors(b: Any, address: Any, count: Any, vectors: int) -> list[Any]:
    """The vectors at `address`; one that lies wholly beyond `count` columns is read at the first one's place."""
    found = []
    for v in range(vectors):
        at = address
        if v:
            inside = b.icmp_signed(">", count, ir.Constant(I64, v * LANES))
            at = b.add(address, b.select(inside, ir.Constant(I64, v * VB), ir.Constant(I64, 0)))
        found.append(b.load(pointer(b, at, f32v.llvm), align=1))
    return found


def _row(b: Any, address: Any, stride: Any, row: int) -> Any:
    return b.add(address, b.mul(stride, ir.Constant(I64, row))) if row else address


def sums_zero(rows: int, vectors: int) -> Any:
    """An intrinsic `zero()`."""
    kind = types.UniTuple(f32v, rows * vectors)

    @intrinsic
    def zero(tyctx: Any) -> Any:
        def codegen(ctx: Any, b: Any, sig: Any, args: Any) -> Any:
            return cgutils.pack_array(b, [const(f32v.llvm, 0.0)] * (rows * vectors))

        return kind(), codegen

    return zero


def sums_load(rows: int, vectors: int) -> Any:
    """An intrinsic `load(y, y_row, count)`: what was stored at y before."""
    kind = types.UniTuple(f32v, rows * vectors)

    @intrinsic
    def load(tyctx: Any, y: Any, y_row: Any, count: Any) -> Any:
        def codegen(ctx: Any, b: Any, sig: Any, args: Any) -> Any:
            y, y_row, count = args
            lines = [_vectors(b, _row(b, y, y_row, r), count, vectors) for r in range(rows)]
            return cgutils.pack_array(b, [v for line in lines for v in line])

        return kind(types.int64, types.int64, types.int64), codegen

    return load


def sums_add(rows: int, vectors: int) -> Any:
    """An intrinsic `add(acc, values, stride, count)`: row r of the tile plus the floats at values + r * stride."""
    kind = types.UniTuple(f32v, rows * vectors)

    @intrinsic
    def add(tyctx: Any, acc: Any, values: Any, stride: Any, count: Any) -> Any:
        def codegen(ctx: Any, b: Any, sig: Any, args: Any) -> Any:
            acc, values, stride, count = args
            acc = cgutils.unpack_tuple(b, acc)
            lines = [_vectors(b, _row(b, values, stride, r), count, vectors) for r in range(rows)]
            added = [v for line in lines for v in line]
            return cgutils.pack_array(b, [b.fadd(a, v) for a, v in zip(acc, added, strict=True)])

        return kind(kind, types.int64, types.int64, types.int64), codegen

    return add


def row_starts(rows: int) -> Any:
    """An intrinsic `starts(x, x_row)` -> tuple of the addresses of `rows` rows, about which LLVM knows nothing: else it
    derives each from the one before, for each load in the loop, a chain of additions longer than the products."""
    kind = types.UniTuple(types.int64, rows)

    @intrinsic
    def starts(tyctx: Any, x: Any, x_row: Any) -> Any:
        def codegen(ctx: Any, b: Any, sig: Any, args: Any) -> Any:
            x, x_row = args
            made = [b.inttoptr(b.add(x, b.mul(x_row, ir.Constant(I64, r))), I8.as_pointer()) for r in range(rows)]
            hidden = [call(b, "llvm.launder.invariant.group.p0", p.type, p) for p in made]
            return cgutils.pack_array(b, [b.ptrtoint(p, I64) for p in hidden])

        return kind(types.int64, types.int64), codegen

    return starts
