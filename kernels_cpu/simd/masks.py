"""Truth as bytes: vectors of 32-bit lanes compared to 0 and 1, and stored as one byte per lane."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from edgert.kernels_cpu.simd.partial import emit_store_first
from edgert.kernels_cpu.simd.types import I8, VB, i32v

_BYTES = ir.VectorType(I8, VB // 4)


def _compared(signed: str, ordered: str) -> Any:
    @intrinsic
    def f(tyctx: Any, x: Any, y: Any) -> Any:
        def codegen(ctx: Any, b: Any, sig: Any, args: Any) -> Any:
            if not x.is_float:
                found = b.icmp_signed(signed, *args)
            elif ordered == "!=":
                found = b.fcmp_unordered("!=", *args)
            else:
                found = b.fcmp_ordered(ordered, *args)
            return b.zext(found, i32v.llvm)

        return i32v(x, x), codegen

    return f


is_equal, is_unequal, is_greater, is_at_least = (
    _compared("==", "=="), _compared("!=", "!="), _compared(">", ">"), _compared(">=", ">="),
)  # fmt: skip
"""Elementwise 1 or 0, an i32v, of two f32v or two i32v. With NaN all are 0, but is_unequal is 1."""


@intrinsic
def store_first_bytes(tyctx: Any, address: Any, v: Any, count: Any) -> Any:
    """Stores the low bytes of the first min(count, LANES) lanes of an i32v."""

    def codegen(ctx: Any, b: Any, sig: Any, args: Any) -> Any:
        emit_store_first(b, args[0], b.trunc(args[1], _BYTES), args[2])
        return ctx.get_dummy_value()

    return types.void(types.int64, i32v, types.int64), codegen
