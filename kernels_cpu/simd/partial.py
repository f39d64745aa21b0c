"""The ends of rows: storing only the first elements of a vector, masking the rest, and a chunk's share of work.

Reading past a row is allowed (buffers are padded); writing past it never is.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from edgert.kernels_cpu.abi import CHUNKS_OFFSET
from edgert.kernels_cpu.simd.arith import emit_first
from edgert.kernels_cpu.simd.target import has
from edgert.kernels_cpu.simd.types import I64, VOID, Vec, call, f32v, i8v, i32v, pointer


def _store_masked(b: Any, address: Any, v: Any, count: Any) -> None:
    t = v.type
    name = f"llvm.masked.store.v{t.count}{'f' if isinstance(t.element, ir.FloatType) else 'i'}"
    name += f"{32 if isinstance(t.element, ir.FloatType) else t.element.width}.p0"
    mask = emit_first(b, count, t.count)
    call(b, name, VOID, v, pointer(b, address, t), ir.Constant(ir.IntType(32), 1), mask)


def _store_loop(b: Any, address: Any, v: Any, count: Any) -> None:
    """Through the stack, element by element: compact where the ISA has no masked store."""
    t = v.type
    width = 4 if isinstance(t.element, ir.FloatType) else t.element.width // 8
    slot = cgutils.alloca_once(b, t)
    b.store(v, slot)
    elements = b.bitcast(slot, t.element.as_pointer())
    with cgutils.for_range(b, count) as loop:
        value = b.load(b.gep(elements, [loop.index]))
        at = b.add(address, b.mul(loop.index, ir.Constant(I64, width)))
        b.store(value, pointer(b, at, t.element), align=1)


def emit_store_first(b: Any, address: Any, v: Any, count: Any) -> None:
    """Stores the first min(count, all) elements of v."""
    t = v.type
    floats = isinstance(t.element, ir.FloatType)
    native = has("avx512") or (has("avx2") and (floats or t.element.width == 32))
    with b.if_else(b.icmp_signed(">=", count, ir.Constant(I64, t.count))) as (whole, part):
        with whole:
            b.store(v, pointer(b, address, t), align=1)
        with part:
            (_store_masked if native else _store_loop)(b, address, v, count)


def _store_first(vec: Vec) -> Any:
    @intrinsic
    def store(tyctx: Any, address: Any, value: Any, count: Any) -> Any:
        def codegen(ctx: Any, b: Any, sig: Any, args: Any) -> Any:
            emit_store_first(b, *args)
            return ctx.get_dummy_value()

        return types.void(types.int64, vec, types.int64), codegen

    return store


store_first_i8v, store_first_i32v, store_first_f32v = (_store_first(v) for v in (i8v, i32v, f32v))
"""store(address, v, count): writes the first min(count, all) elements; count >= 0."""


@intrinsic
def keep_first(tyctx: Any, v: Any, count: Any, fill: Any) -> Any:
    """Elements 0 .. count-1 of v, and `fill` (a vector of its type) after them."""

    def codegen(ctx: Any, b: Any, sig: Any, args: Any) -> Any:
        v, count, fill = args
        return b.select(emit_first(b, count, v.type.count), v, fill)

    return v(v, types.int64, v), codegen


@intrinsic
def share(tyctx: Any, record: Any, units: Any, chunk: Any) -> Any:
    """Where `chunk` begins when the record's chunks divide `units` evenly; share(record, units, chunk + 1) ends it."""

    def codegen(ctx: Any, b: Any, sig: Any, args: Any) -> Any:
        record, units, chunk = args
        i32 = ir.IntType(32)
        chunks = b.zext(b.load(pointer(b, b.add(record, ir.Constant(I64, CHUNKS_OFFSET)), i32), align=4), I64)
        return b.udiv(b.mul(units, chunk), chunks)

    i = types.int64
    return i(i, i, i), codegen


__all__ = ["keep_first", "share", "store_first_f32v", "store_first_i8v", "store_first_i32v"]
