"""Loads and stores by address: scalars, whole vectors, broadcasts and 128-bit lanes at a stride.

Addresses are int64. Vector accesses need no alignment; scalar ones are aligned by their layout.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from edgert.kernels_cpu.simd.types import (
    ELEMENTS,
    F32,
    I8,
    I32,
    I64,
    SCALARS,
    VB,
    VOID,
    Vec,
    call,
    f32v,
    i8v,
    i16v,
    i32v,
    pointer,
    shuffle,
    splat,
    undef,
)  # fmt: skip


def vector_load(vec: Vec) -> Any:
    """An intrinsic `load(address) -> vec`."""

    @intrinsic
    def load(tyctx: Any, address: Any) -> Any:
        def codegen(ctx: Any, b: Any, sig: Any, args: Any) -> Any:
            return b.load(pointer(b, args[0], vec.llvm), align=1)

        return vec(types.int64), codegen

    return load


def vector_store(vec: Vec) -> Any:
    """An intrinsic `store(address, value)`."""

    @intrinsic
    def store(tyctx: Any, address: Any, value: Any) -> Any:
        def codegen(ctx: Any, b: Any, sig: Any, args: Any) -> Any:
            b.store(args[1], pointer(b, args[0], vec.llvm), align=1)
            return ctx.get_dummy_value()

        return types.void(types.int64, vec), codegen

    return store


def scalar_load(elem: str, unsigned: bool = False) -> Any:
    """An intrinsic `load(address)`: integers widen to int64, float32 stays."""

    @intrinsic
    def load(tyctx: Any, address: Any) -> Any:
        def codegen(ctx: Any, b: Any, sig: Any, args: Any) -> Any:
            t = ELEMENTS[elem]
            v = b.load(pointer(b, args[0], t), align=1)
            if elem == "f32" or elem == "i64":
                return v
            return b.zext(v, I64) if unsigned else b.sext(v, I64)

        return (types.float32 if elem == "f32" else types.int64)(types.int64), codegen

    return load


def scalar_store(elem: str) -> Any:
    """An intrinsic `store(address, value)`: integers are truncated to the element."""

    @intrinsic
    def store(tyctx: Any, address: Any, value: Any) -> Any:
        def codegen(ctx: Any, b: Any, sig: Any, args: Any) -> Any:
            t = ELEMENTS[elem]
            v = args[1] if elem in ("f32", "i64") else b.trunc(args[1], t)
            b.store(v, pointer(b, args[0], t), align=1)
            return ctx.get_dummy_value()

        return types.void(types.int64, types.float32 if elem == "f32" else types.int64), codegen

    return store


load_i8v, load_i16v, load_i32v, load_f32v = (vector_load(v) for v in (i8v, i16v, i32v, f32v))
store_i8v, store_i16v, store_i32v, store_f32v = (vector_store(v) for v in (i8v, i16v, i32v, f32v))
load_i8, load_i16, load_i32, load_i64, load_f32 = (scalar_load(e) for e in ("i8", "i16", "i32", "i64", "f32"))
load_u8, load_u16, load_u32 = (scalar_load(e, True) for e in ("i8", "i16", "i32"))
store_i8, store_i16, store_i32, store_i64, store_f32 = (scalar_store(e) for e in ("i8", "i16", "i32", "i64", "f32"))


def broadcast_load(elem: str, vec: Vec) -> Any:
    """An intrinsic that loads one `elem` and repeats it over `vec` (bitcast when the elements differ)."""

    @intrinsic
    def load(tyctx: Any, address: Any) -> Any:
        def codegen(ctx: Any, b: Any, sig: Any, args: Any) -> Any:
            t = ELEMENTS[elem]
            width = 4 if elem == "f32" else t.width // 8
            v = splat(b, b.load(pointer(b, args[0], t), align=1), ir.VectorType(t, VB // width))
            return v if v.type == vec.llvm else b.bitcast(v, vec.llvm)

        return vec(types.int64), codegen

    return load


broadcast_f32 = broadcast_load("f32", f32v)
broadcast_i32 = broadcast_load("i32", i32v)
broadcast_i8x4 = broadcast_load("i32", i8v)
"""Four bytes repeated: what a dot product takes as its other side."""


@intrinsic
def broadcast_lane_f32(tyctx: Any, address: Any) -> Any:
    """4 floats repeated over every 128-bit lane -> f32v."""

    def codegen(ctx: Any, b: Any, sig: Any, args: Any) -> Any:
        v = b.load(pointer(b, args[0], ir.VectorType(F32, 4)), align=1)
        return shuffle(b, v, undef(v.type), list(range(4)) * (VB // 16))

    return f32v(types.int64), codegen


@intrinsic
def extract_i32(tyctx: Any, v: Any, index: Any) -> Any:
    """The 32-bit element `index` of any natural vector, as an int64."""

    def codegen(ctx: Any, b: Any, sig: Any, args: Any) -> Any:
        words = b.bitcast(args[0], i32v.llvm)
        return b.sext(b.extract_element(words, b.trunc(args[1], I32)), I64)

    return types.int64(v, types.int64), codegen


def _splat_of(vec: Vec) -> Any:
    scalar = SCALARS[vec.elem]

    @intrinsic
    def f(tyctx: Any, value: Any) -> Any:
        wide = types.float32 if vec.is_float else types.int64

        def codegen(ctx: Any, b: Any, sig: Any, args: Any) -> Any:
            v = args[0] if vec.is_float or scalar == types.int64 else b.trunc(args[0], ELEMENTS[vec.elem])
            return splat(b, v, vec.llvm)

        return vec(wide), codegen

    return f


splat_i8, splat_i16, splat_i32, splat_f32 = (_splat_of(v) for v in (i8v, i16v, i32v, f32v))
"""One scalar (integers from int64, truncated) in every element."""


def _deinterleave(first: int) -> Any:
    @intrinsic
    def f(tyctx: Any, low: Any, high: Any) -> Any:
        def codegen(ctx: Any, b: Any, sig: Any, args: Any) -> Any:
            return shuffle(b, args[0], args[1], range(first, 2 * low.lanes, 2))

        return low(low, low), codegen

    return f


deinterleave_even, deinterleave_odd = _deinterleave(0), _deinterleave(1)
"""Every second element of two natural vectors, one after the other: elements 0, 2, 4, ... or 1, 3, 5, ..."""


@intrinsic
def prefetch(tyctx: Any, address: Any) -> Any:
    """A hint to bring the line at `address` into the first-level cache."""

    def codegen(ctx: Any, b: Any, sig: Any, args: Any) -> Any:
        one = ir.Constant(I32, 1)
        call(
            b,
            "llvm.prefetch.p0",
            VOID,
            pointer(b, args[0], I8),
            ir.Constant(I32, 0),
            ir.Constant(I32, 3),
            one,
        )
        return ctx.get_dummy_value()

    return types.void(types.int64), codegen
