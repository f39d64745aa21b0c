"""Vectors of any numbers to other types: loaded, converted and stored in one word per pair of types."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from edgert.kernels_cpu.simd.partial import emit_store_first
from edgert.kernels_cpu.simd.types import F32, I8, I32, I64, VB, call, pointer

_ELEMENTS: dict[str, Any] = {"float32": F32, "int64": I64, "int32": I32, "uint8": I8, "int8": I8, "bool": I8}
LANES = VB // 4


def cast(source: str, target: str) -> Any:
    """An intrinsic cast(x, y, count): the first min(count, LANES) numbers at x, of type `source`, to y as `target`.

    Floats saturate into integers and NaN becomes 0; integers keep their low bits; what is not 0 is true.
    """
    load_type = ir.VectorType(_ELEMENTS[source], LANES)
    store_type = ir.VectorType(_ELEMENTS[target], LANES)

    def converted(b: Any, v: Any) -> Any:
        if target == "bool":
            zero = ir.Constant(load_type, None)
            return b.zext(
                b.fcmp_unordered("!=", v, zero) if source == "float32" else b.icmp_signed("!=", v, zero), store_type
            )
        unsigned = source in ("uint8", "bool")
        if target == "float32":
            return (b.uitofp if unsigned else b.sitofp)(v, store_type)
        if source == "float32":
            kind = "fptoui" if target == "uint8" else "fptosi"
            width = store_type.element.width
            return call(b, f"llvm.{kind}.sat.v{LANES}i{width}.v{LANES}f32", store_type, v)
        if store_type.element.width > load_type.element.width:
            return (b.zext if unsigned else b.sext)(v, store_type)
        return v if load_type == store_type else b.trunc(v, store_type)

    @intrinsic
    def f(tyctx: Any, x: Any, y: Any, count: Any) -> Any:
        def codegen(ctx: Any, b: Any, sig: Any, args: Any) -> Any:
            v = b.load(pointer(b, args[0], load_type), align=1)
            emit_store_first(b, args[1], converted(b, v), args[2])
            return ctx.get_dummy_value()

        return types.void(types.int64, types.int64, types.int64), codegen

    return f
