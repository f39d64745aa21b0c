"""Floats from any places: one vector load per lane where the ISA has no gather of its own."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from edgert.kernels_cpu.simd.types import F32, I64, VB, call, f32v, i32v, undef

_PLACES = ir.VectorType(F32.as_pointer(), VB // 4)


@intrinsic
def gather_f32(tyctx: Any, address: Any, offsets: Any) -> Any:
    """The float at address + offset for each of the byte offsets in an i32v -> f32v."""

    def codegen(ctx: Any, b: Any, sig: Any, args: Any) -> Any:
        lanes = VB // 4
        wide = ir.VectorType(I64, lanes)
        base = b.insert_element(undef(wide), args[0], ir.Constant(ir.IntType(32), 0))
        base = b.shuffle_vector(base, undef(wide), ir.Constant(ir.VectorType(ir.IntType(32), lanes), [0] * lanes))
        places = b.inttoptr(b.add(base, b.sext(args[1], wide)), _PLACES)
        every = ir.Constant(ir.VectorType(ir.IntType(1), lanes), [1] * lanes)
        name = f"llvm.masked.gather.v{lanes}f32.v{lanes}p0"
        return call(b, name, f32v.llvm, places, ir.Constant(ir.IntType(32), 4), every, undef(f32v.llvm))

    return f32v(types.int64, i32v), codegen
