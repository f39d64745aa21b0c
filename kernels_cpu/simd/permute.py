"""Rearranging bytes and pixels: four planes <-> pixels of four, every n-th pixel, widening loads, 256-entry tables.

Arithmetic is elsewhere. A "pixel" is 32 bits: four bytes of k4p or one float of kp.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from edgert.kernels_cpu.simd.target import has
from edgert.kernels_cpu.simd.types import (
    F32,
    I8,
    I32,
    I64,
    VB,
    Vec,
    call,
    concat,
    const,
    f32v,
    i8v,
    i32v,
    pointer,
    shuffle,
    undef,
)  # fmt: skip

LANES = VB // 4
_ROW = ir.VectorType(I8, LANES)


@intrinsic
def load_interleaved_i8(tyctx: Any, a0: Any, a1: Any, a2: Any, a3: Any) -> Any:
    """LANES bytes from each of four addresses -> i8v: byte p of all four, then byte p + 1."""

    def codegen(ctx: Any, b: Any, sig: Any, args: Any) -> Any:
        rows = [b.load(pointer(b, a, _ROW), align=1) for a in args]
        both = concat(b, concat(b, rows[0], rows[1]), concat(b, rows[2], rows[3]))
        return shuffle(b, both, undef(both.type), [plane * LANES + p for p in range(LANES) for plane in range(4)])

    return i8v(*[types.int64] * 4), codegen


def _plane_bytes(b: Any, v: Any, plane: int) -> Any:
    return shuffle(b, v, undef(v.type), range(plane, VB, 4))


@intrinsic(prefer_literal=True)
def store_plane_i8(tyctx: Any, address: Any, v: Any, plane: Any) -> Any:
    """Writes byte `plane` (a literal) of every pixel of v: LANES bytes."""

    def codegen(ctx: Any, b: Any, sig: Any, args: Any) -> Any:
        b.store(_plane_bytes(b, args[1], plane.literal_value), pointer(b, args[0], _ROW), align=1)
        return ctx.get_dummy_value()

    return types.void(types.int64, i8v, plane), codegen


def emit_sequence_packed(b: Any, v: Any) -> Any:
    """See sequence_packed."""
    lanes = VB // 16
    if lanes == 1:
        return v
    words = b.bitcast(v, i32v.llvm)
    words = shuffle(b, words, undef(words.type), [4 * lane + i for i in range(4) for lane in range(lanes)])
    return b.bitcast(words, i8v.llvm)


@intrinsic
def sequence_packed(tyctx: Any, v: Any) -> Any:
    """Undoes lane-by-lane packing: bytes packed from four vectors come in the order of those vectors.

    32-bit group i of 128-bit lane l moves to place i * lanes + l; the identity for 128-bit vectors.
    """
    return i8v(i8v), lambda ctx, b, sig, args: emit_sequence_packed(b, args[0])


@intrinsic
def load_u8_i32(tyctx: Any, address: Any) -> Any:
    """LANES unsigned bytes -> i32v."""

    def codegen(ctx: Any, b: Any, sig: Any, args: Any) -> Any:
        return b.zext(b.load(pointer(b, args[0], _ROW), align=1), i32v.llvm)

    return i32v(types.int64), codegen


def _every(vec: Vec) -> Any:
    element = F32 if vec.is_float else I32

    @intrinsic(prefer_literal=True)
    def load(tyctx: Any, address: Any, step: Any) -> Any:
        by = step.literal_value

        def codegen(ctx: Any, b: Any, sig: Any, args: Any) -> Any:
            if by == 1:
                v = b.load(pointer(b, args[0], vec.llvm), align=1)
            elif by == 2:
                # two overlapping loads that end at the last pixel wanted, so nothing beyond it is read
                lanes = vec.lanes
                wide = ir.VectorType(element, lanes)
                low = b.load(pointer(b, args[0], wide), align=1)
                high = b.load(pointer(b, b.add(args[0], ir.Constant(I64, 4 * (lanes - 1))), wide), align=1)
                index = [*range(0, lanes, 2), *range(lanes + 1, 2 * lanes, 2)]
                v = shuffle(b, low, high, index)
            else:
                raise ValueError("pixels are taken one by one or every second one")
            return v

        return vec(types.int64, step), codegen

    return load


load_every_i32, load_every_f32 = _every(i32v), _every(f32v)
"""load(address, step): LANES pixels of 32 bits, every `step`-th; step is the literal 1 or 2."""


def _strided(vec: Vec) -> Any:
    element = F32 if vec.is_float else I32

    @intrinsic
    def load(tyctx: Any, address: Any, stride: Any) -> Any:
        def codegen(ctx: Any, b: Any, sig: Any, args: Any) -> Any:
            v, at = undef(vec.llvm), args[0]
            for i in range(vec.lanes):
                v = b.insert_element(v, b.load(pointer(b, at, element), align=1), ir.Constant(I32, i))
                at = b.add(at, args[1])
            return v

        return vec(types.int64, types.int64), codegen

    return load


load_strided_i32, load_strided_f32 = _strided(i32v), _strided(f32v)
"""load(address, stride): LANES pixels of 32 bits, `stride` bytes apart."""


HAS_LOOKUP = has("avx512") or has("neon")


@intrinsic
def lookup_256(tyctx: Any, v: Any, table: Any) -> Any:
    """table[byte] of every unsigned byte of v; table is the address of 256 bytes. Only where HAS_LOOKUP."""

    def codegen(ctx: Any, b: Any, sig: Any, args: Any) -> Any:
        v, table = args
        count = 256 // VB
        parts = [b.load(pointer(b, b.add(table, ir.Constant(I64, VB * i)), i8v.llvm), align=1) for i in range(count)]
        if has("avx512"):
            low, high = (
                call(b, "llvm.x86.avx512.vpermi2var.qi.512", i8v.llvm, parts[i], v, parts[i + 1]) for i in (0, 2)
            )
            return b.select(b.icmp_signed("<", v, const(i8v.llvm, 0)), high, low)
        result = call(b, "llvm.aarch64.neon.tbl4.v16i8", i8v.llvm, *parts[:4], v)
        for i in range(4, 16, 4):
            index = b.sub(v, const(i8v.llvm, 16 * i))
            result = call(b, "llvm.aarch64.neon.tbx4.v16i8", i8v.llvm, result, *parts[i : i + 4], index)
        return result

    return i8v(i8v, types.int64), codegen


__all__ = [
    "HAS_LOOKUP", "load_every_f32", "load_every_i32", "load_interleaved_i8", "load_strided_f32",
    "load_strided_i32", "load_u8_i32", "lookup_256", "sequence_packed", "store_plane_i8",
]  # fmt: skip
