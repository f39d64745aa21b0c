"""Sums of three columns of a filter, kept apart until the pixels at the borders of rows have lost what is not theirs.

For convolutions that read planes as they lie, where a vector may have the end of a row and the start of the next.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from edgert.kernels_cpu.simd.types import I64, f32v, i32v, pointer


def mask_addresses(columns: int) -> Any:
    """An intrinsic `addresses(masks, place, step, width)` -> tuple of `columns` addresses: the masks of consecutive
    vectors, the first of which begins `place` cells into a row of `width`; from one to the next it is `step` more,
    less a row where that ends. 0 <= place, step < width."""
    result = types.UniTuple(types.int64, columns)

    @intrinsic
    def addresses(tyctx: Any, masks: Any, place: Any, step: Any, width: Any) -> Any:
        def codegen(ctx: Any, b: Any, sig: Any, args: Any) -> Any:
            masks, place, step, width = args
            found = []
            for _ in range(columns):
                found.append(b.add(masks, b.shl(place, ir.Constant(I64, 2))))
                place = b.add(place, step)
                place = b.select(b.icmp_signed(">=", place, width), b.sub(place, width), place)
            return cgutils.pack_array(b, found)

        return result(*[types.int64] * 4), codegen

    return addresses


def next_vectors(columns: int) -> Any:
    """An intrinsic `vectors(base)` -> tuple of the addresses of `columns` vectors that lie one after the other."""
    result = types.UniTuple(types.int64, columns)

    @intrinsic
    def vectors(tyctx: Any, base: Any) -> Any:
        def codegen(ctx: Any, b: Any, sig: Any, args: Any) -> Any:
            return cgutils.pack_array(b, [b.add(args[0], ir.Constant(I64, 4 * f32v.lanes * t)) for t in range(columns)])

        return result(types.int64), codegen

    return vectors


def edge_store(columns: int) -> Any:
    """An intrinsic `store(middle, left, right, masks, second, low, high, y)`: writes min(max(v, low), high) of v =
    middle[t] + (left[t] where the mask at masks[t] is all ones) + (right[t] where that at masks[t] + second is) to
    vector t from y."""
    kind, addresses, i = types.UniTuple(f32v, columns), types.UniTuple(types.int64, columns), types.int64

    @intrinsic
    def store(
        tyctx: Any, middle: Any, left: Any, right: Any, masks: Any, second: Any, low: Any, high: Any, y: Any
    ) -> Any:
        def codegen(ctx: Any, b: Any, sig: Any, args: Any) -> Any:
            middle, left, right, masks = (cgutils.unpack_tuple(b, value) for value in args[:4])
            second, low, high, y = args[4:]

            def kept(sums: Any, mask: Any) -> Any:
                bits = b.load(pointer(b, mask, i32v.llvm), align=1)
                return b.bitcast(b.and_(b.bitcast(sums, i32v.llvm), bits), f32v.llvm)

            for t in range(columns):
                v = b.fadd(middle[t], kept(left[t], masks[t]))
                v = b.fadd(v, kept(right[t], b.add(masks[t], second)))
                v = b.select(b.fcmp_ordered(">", v, low), v, low)
                v = b.select(b.fcmp_ordered("<", v, high), v, high)
                place = b.add(y, ir.Constant(I64, 4 * f32v.lanes * t))
                b.store(v, pointer(b, place, f32v.llvm), align=1)
            return ctx.get_dummy_value()

        return types.void(kind, kind, kind, addresses, i, f32v, f32v, i), codegen

    return store
