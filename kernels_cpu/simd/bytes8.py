"""8-bit arithmetic: the four-way dot product, saturating packs, and byte shuffles within 128-bit lanes.

An "activation" byte is unsigned on x86 and value-128, signed, on ARM (target.ACT_SIGNED); weights are signed
in [-127, 127]. Every shuffle and pack works within 128-bit lanes, so that one lane is one unit on every ISA.
The `emit_*` functions generate code and are shared with tile.py; the intrinsics below wrap them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir
from numba.extending import intrinsic

from edgert.kernels_cpu.simd.arith import emit_round_i32
from edgert.kernels_cpu.simd.target import ACT_SIGNED, ARCH, has
from edgert.kernels_cpu.simd.types import (
    I8,
    I16,
    I32,
    VB,
    Vec,
    call,
    concat,
    const,
    f32v,
    halves,
    i8v,
    i16v,
    i32v,
    shuffle,
    undef,
)  # fmt: skip

_LANES16 = VB // 16


def emit_dot4(b: Any, acc: Any, x: Any, w: Any) -> Any:
    """acc[i] += sum over the 4 bytes of 32-bit group i of x * w; exact at every level."""
    if has("vnni"):
        return call(b, f"llvm.x86.avx512.vpdpbusd.{8 * VB}", acc.type, acc, x, w)
    if has("avx2"):
        # vpmaddubsw saturates at 16 bits: multiply even and odd bytes as 16-bit values instead
        words, eight = i16v.llvm, const(i16v.llvm, 8)
        xw, ww = b.bitcast(x, words), b.bitcast(w, words)
        even = call(b, "llvm.x86.avx2.pmadd.wd", acc.type, b.and_(xw, const(words, 255)),
                    b.ashr(b.shl(ww, eight), eight))  # fmt: skip
        odd = call(b, "llvm.x86.avx2.pmadd.wd", acc.type, b.lshr(xw, eight), b.ashr(ww, eight))
        return b.add(acc, b.add(even, odd))
    if has("dotprod"):
        return call(b, "llvm.aarch64.neon.sdot.v4i32.v16i8", acc.type, acc, w, x)
    if ARCH == "aarch64":
        # |w| <= 127 and |x| <= 128: a sum of two products still fits in 16 bits
        words = ir.VectorType(I16, 8)
        (x0, x1), (w0, w1) = halves(b, x), halves(b, w)
        p0 = call(b, "llvm.aarch64.neon.smull.v8i16", words, x0, w0)
        p1 = call(b, "llvm.aarch64.neon.smull.v8i16", words, x1, w1)
        pairs = call(b, "llvm.aarch64.neon.addp.v8i16", words, p0, p1)
        return b.add(acc, call(b, "llvm.aarch64.neon.saddlp.v4i32.v8i16", acc.type, pairs))
    xw = (b.sext if ACT_SIGNED else b.zext)(x, ir.VectorType(I32, VB))
    products, u = b.mul(xw, b.sext(w, xw.type)), undef(xw.type)
    for k in range(4):
        acc = b.add(acc, shuffle(b, products, u, range(k, VB, 4)))
    return acc


def _lanewise(b: Any, x: Any, y: Any, per_lane: int) -> Any:
    """Concatenates x and y lane by lane: lane l of the result is x's lane l, then y's."""
    index = []
    for lane in range(_LANES16):
        index += [lane * per_lane + i for i in range(per_lane)]
        index += [x.type.count + lane * per_lane + i for i in range(per_lane)]
    return shuffle(b, x, y, index)


def _clamp(b: Any, v: Any, low: int, high: int) -> Any:
    lo, hi = const(v.type, low), const(v.type, high)
    v = b.select(b.icmp_signed("<", v, hi), v, hi)
    return b.select(b.icmp_signed(">", v, lo), v, lo)


def emit_pack_i16(b: Any, x: Any, y: Any) -> Any:
    """Two int32 vectors -> int16, saturating, lane by lane: [x0..3 y0..3] in each 128-bit lane."""
    if has("avx512"):
        return call(b, "llvm.x86.avx512.packssdw.512", i16v.llvm, x, y)
    if has("avx2"):
        return call(b, "llvm.x86.avx2.packssdw", i16v.llvm, x, y)
    if ARCH == "x86_64":
        return call(b, "llvm.x86.sse2.packssdw.128", i16v.llvm, x, y)
    if ARCH == "aarch64":
        half = ir.VectorType(I16, 4)
        return concat(b, *(call(b, "llvm.aarch64.neon.sqxtn.v4i16", half, v) for v in (x, y)))
    narrow = ir.VectorType(I16, VB // 4)
    return _lanewise(b, *(b.trunc(_clamp(b, v, -32768, 32767), narrow) for v in (x, y)), per_lane=4)


def emit_pack_act(b: Any, x: Any, y: Any) -> Any:
    """Two int16 vectors -> activation bytes, saturating, lane by lane."""
    if has("avx512"):
        return call(b, "llvm.x86.avx512.packuswb.512", i8v.llvm, x, y)
    if has("avx2"):
        return call(b, "llvm.x86.avx2.packuswb", i8v.llvm, x, y)
    if ARCH == "x86_64":
        return call(b, "llvm.x86.sse2.packuswb.128", i8v.llvm, x, y)
    if ARCH == "aarch64":
        half = ir.VectorType(I8, 8)
        return concat(b, *(call(b, "llvm.aarch64.neon.sqxtn.v8i8", half, v) for v in (x, y)))
    low, high = (-128, 127) if ACT_SIGNED else (0, 255)
    narrow = ir.VectorType(I8, VB // 2)
    return _lanewise(b, *(b.trunc(_clamp(b, v, low, high), narrow) for v in (x, y)), per_lane=8)


def emit_add_saturate(b: Any, x: Any, y: Any) -> Any:
    """Saturating signed addition of int16 vectors."""
    return call(b, f"llvm.sadd.sat.v{x.type.count}i16", x.type, x, y)


def emit_clamp_act(b: Any, v: Any, low: Any, high: Any) -> Any:
    """min(max(v, low), high) on activation bytes."""
    compare = b.icmp_signed if ACT_SIGNED else b.icmp_unsigned
    v = b.select(compare("<", v, high), v, high)
    return b.select(compare(">", v, low), v, low)


def emit_lane_shuffle(b: Any, v: Any, index: Sequence[int]) -> Any:
    """The same 16-byte permutation in every 128-bit lane."""
    return shuffle(b, v, undef(v.type), [16 * lane + i for lane in range(_LANES16) for i in index])


TRANSPOSE = [4 * (i % 4) + i // 4 for i in range(16)]
"""A lane as a 4x4 byte matrix, transposed (its own inverse)."""


def emit_byte_of(b: Any, v: Any, k: int) -> Any:
    """Byte k of every 32-bit group of activation bytes, widened to int32."""
    words = b.bitcast(v, i32v.llvm)
    if ACT_SIGNED:
        return b.ashr(b.shl(words, const(words.type, 24 - 8 * k)), const(words.type, 24))
    return b.and_(b.lshr(words, const(words.type, 8 * k)), const(words.type, 255))


def _wrap(emit: Callable[..., Any], result: Vec, *arguments: Vec) -> Any:
    """An intrinsic with fixed vector types around an emit function."""
    if len(arguments) == 1:

        @intrinsic
        def one(tyctx: Any, x: Any) -> Any:
            return result(*arguments), lambda ctx, b, sig, args: emit(b, *args)

        return one
    if len(arguments) == 2:

        @intrinsic
        def two(tyctx: Any, x: Any, y: Any) -> Any:
            return result(*arguments), lambda ctx, b, sig, args: emit(b, *args)

        return two

    @intrinsic
    def three(tyctx: Any, x: Any, y: Any, z: Any) -> Any:
        return result(*arguments), lambda ctx, b, sig, args: emit(b, *args)

    return three


dot4 = _wrap(emit_dot4, i32v, i32v, i8v, i8v)
clamp_act = _wrap(emit_clamp_act, i8v, i8v, i8v, i8v)
transpose4x4 = _wrap(lambda b, v: emit_lane_shuffle(b, v, TRANSPOSE), i8v, i8v)
"""Lane by lane: 4 groups of 4 bytes <-> 4 bytes of each group ([channel][pixel] <-> [pixel][channel])."""
byte0, byte1, byte2, byte3 = (_wrap(lambda b, v, k=k: emit_byte_of(b, v, k), i32v, i8v) for k in range(4))
"""Byte k of every 32-bit group of activation bytes, as int32."""


def _emit_max_act(b: Any, x: Any, y: Any) -> Any:
    compare = b.icmp_signed if ACT_SIGNED else b.icmp_unsigned
    return b.select(compare(">", x, y), x, y)


max_act = _wrap(_emit_max_act, i8v, i8v, i8v)
"""Elementwise maximum of activation bytes."""


def emit_requantize(b: Any, quads: Sequence[Any], zero_point: Any) -> Any:
    """Four float32 vectors of scaled accumulators -> one vector of activation bytes, lane by lane
    [q0 x4, q1 x4, q2 x4, q3 x4]: saturate(round_half_even(v) + zero_point), the zero point an i16v."""
    rounded = [emit_round_i32(b, v) for v in quads]
    low = emit_add_saturate(b, emit_pack_i16(b, rounded[0], rounded[1]), zero_point)
    high = emit_add_saturate(b, emit_pack_i16(b, rounded[2], rounded[3]), zero_point)
    return emit_pack_act(b, low, high)


@intrinsic
def requantize(tyctx: Any, q0: Any, q1: Any, q2: Any, q3: Any, zero_point: Any) -> Any:
    """Four f32v and a zero point (i16v) -> i8v; see emit_requantize. Source: ONNX QuantizeLinear."""

    def codegen(ctx: Any, b: Any, sig: Any, args: Any) -> Any:
        return emit_requantize(b, args[:4], args[4])

    return i8v(f32v, f32v, f32v, f32v, i16v), codegen
