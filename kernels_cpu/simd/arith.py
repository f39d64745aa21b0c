"""Vector arithmetic beyond the operators: fma, min, max, select, conversions, rounding, reductions.

Each lowers to one instruction where the ISA has it, and to plain LLVM IR with the same result where not.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from edgert.kernels_cpu.simd.target import ARCH, has
from edgert.kernels_cpu.simd.types import (
    F64,
    I8,
    I32,
    SCALARS,
    VB,
    Vec,
    call,
    const,
    f32v,
    i32v,
    shuffle,
    splat,
    undef,
)  # fmt: skip


@intrinsic
def fma(tyctx: Any, a: Any, b_: Any, c: Any) -> Any:
    """a * b + c with one rounding, on vectors or float32 scalars alike, at every level."""

    def codegen(ctx: Any, b: Any, sig: Any, args: Any) -> Any:
        t = args[0].type
        suffix = f"v{t.count}f32" if isinstance(t, ir.VectorType) else "f32"
        if has("fma"):
            return call(b, f"llvm.fma.{suffix}", t, *args)
        # The double product of two floats is exact, so only the sum rounds before the final rounding.
        wide = ir.VectorType(F64, t.count) if isinstance(t, ir.VectorType) else F64
        x, y, z = (b.fpext(v, wide) for v in args)
        return b.fptrunc(b.fadd(b.fmul(x, y), z), t)

    return a(a, a, a), codegen


def emit_first(b: Any, count: Any, lanes: int) -> Any:
    """A mask of `lanes` bits: true for the elements before `count` (an i64)."""
    small = b.trunc(count, I32)
    numbers = ir.VectorType(I32, lanes)
    return b.icmp_signed("<", const(numbers, list(range(lanes))), splat(b, small, numbers))


def _pairwise(name_float: str, name_int: str) -> Any:
    @intrinsic
    def f(tyctx: Any, x: Any, y: Any) -> Any:
        def codegen(ctx: Any, b: Any, sig: Any, args: Any) -> Any:
            if x.is_float:
                # compare + select is what minps/maxps do; unlike llvm.minnum it never calls libm
                return b.select(b.fcmp_ordered(name_float, *args), args[0], args[1])
            return b.select(b.icmp_signed(name_int, *args), args[0], args[1])

        return x(x, x), codegen

    return f


minimum, maximum = _pairwise("<", "<"), _pairwise(">", ">")
"""Elementwise, signed for integers. For floats: x op y ? x : y, so a NaN in x gives y."""


@intrinsic
def select_gt(tyctx: Any, x: Any, y: Any, a: Any, c: Any) -> Any:
    """Elementwise x > y ? a : c; x, y of one type, a, c of one type with as many elements."""

    def codegen(ctx: Any, b: Any, sig: Any, args: Any) -> Any:
        compare = b.fcmp_ordered if x.is_float else b.icmp_signed
        return b.select(compare(">", args[0], args[1]), args[2], args[3])

    return a(x, x, a, a), codegen


@intrinsic
def select_nan(tyctx: Any, x: Any, a: Any, c: Any) -> Any:
    """Elementwise isnan(x) ? a : c."""

    def codegen(ctx: Any, b: Any, sig: Any, args: Any) -> Any:
        return b.select(b.fcmp_unordered("uno", args[0], args[0]), args[1], args[2])

    return a(x, a, a), codegen


def _shift(op: str) -> Any:
    @intrinsic(prefer_literal=True)
    def f(tyctx: Any, x: Any, bits: Any) -> Any:
        amount = bits.literal_value

        def codegen(ctx: Any, b: Any, sig: Any, args: Any) -> Any:
            return getattr(b, op)(args[0], const(args[0].type, amount))

        return x(x, bits), codegen

    return f


shift_left, shift_right_signed = _shift("shl"), _shift("ashr")
"""Shifts by a literal number of bits."""


@intrinsic
def to_f32(tyctx: Any, v: Any) -> Any:
    """int32 vector -> float32 vector."""
    result = Vec("f32", v.lanes)

    def codegen(ctx: Any, b: Any, sig: Any, args: Any) -> Any:
        return b.sitofp(args[0], result.llvm)

    return result(v), codegen


def emit_round_i32(b: Any, x: Any) -> Any:
    """float32 -> int32, nearest, ties to even. |x| must be below 2**31 (portable code clamps at 2**22,
    which is harmless before saturation to 16 bits)."""
    t = ir.VectorType(I32, x.type.count)
    if has("avx512"):
        full, mode = ir.Constant(ir.IntType(16), -1), ir.Constant(I32, 4)
        return call(b, "llvm.x86.avx512.mask.cvtps2dq.512", t, x, const(t, 0), full, mode)
    if has("avx2"):
        return call(b, "llvm.x86.avx.cvt.ps2dq.256", t, x)
    if ARCH == "x86_64":
        return call(b, "llvm.x86.sse2.cvtps2dq", t, x)
    if ARCH == "aarch64":
        return call(b, "llvm.aarch64.neon.fcvtns.v4i32.v4f32", t, x)
    high, low, magic = const(x.type, 4194303.0), const(x.type, -4194303.0), const(x.type, 12582912.0)
    x = b.select(b.fcmp_ordered("<", x, high), x, high)
    x = b.select(b.fcmp_ordered(">", x, low), x, low)
    return b.fptosi(b.fsub(b.fadd(x, magic), magic), t)


def emit_multiply_words(b: Any, x: Any, y: Any) -> Any:
    """i16v, i16v -> i32v: the sums of two neighbouring products each (SSE2's pmaddwd)."""
    if ARCH == "x86_64":
        return call(b, "llvm.x86.sse2.pmadd.wd", i32v.llvm, x, y)
    if has("simd128"):
        return call(b, "llvm.wasm.dot", i32v.llvm, x, y)
    sides = [[b.sext(shuffle(b, v, undef(v.type), range(i, 8, 2)), i32v.llvm) for v in (x, y)] for i in range(2)]
    return b.add(*(b.mul(*side) for side in sides))


@intrinsic
def round_i32(tyctx: Any, v: Any) -> Any:
    """f32v -> i32v, see emit_round_i32."""
    return i32v(f32v), lambda ctx, b, sig, args: emit_round_i32(b, args[0])


@intrinsic
def trunc_i32(tyctx: Any, v: Any) -> Any:
    """float32 vector -> int32 vector, toward zero. |v| must be below 2**31."""

    def codegen(ctx: Any, b: Any, sig: Any, args: Any) -> Any:
        return b.fptosi(args[0], i32v.llvm)

    return i32v(f32v), codegen


@intrinsic
def bits_i32(tyctx: Any, v: Any) -> Any:
    """Any natural vector seen as int32 elements."""
    return i32v(v), lambda ctx, b, sig, args: b.bitcast(args[0], i32v.llvm)


@intrinsic
def bits_f32(tyctx: Any, v: Any) -> Any:
    """Any natural vector seen as float32 elements."""
    return f32v(v), lambda ctx, b, sig, args: b.bitcast(args[0], f32v.llvm)


@intrinsic
def bits_i8(tyctx: Any, v: Any) -> Any:
    """Any natural vector seen as bytes."""
    t = ir.VectorType(I8, VB)
    return Vec("i8", VB)(v), lambda ctx, b, sig, args: b.bitcast(args[0], t)


def _reduce(name_float: str, name_int: str) -> Any:
    @intrinsic
    def f(tyctx: Any, v: Any) -> Any:
        def codegen(ctx: Any, b: Any, sig: Any, args: Any) -> Any:
            # A fixed tree of halves: the same order at every optimisation level.
            x, n = args[0], v.lanes
            while n > 1:
                n //= 2
                low = shuffle(b, x, undef(x.type), range(n))
                high = shuffle(b, x, undef(x.type), range(n, 2 * n))
                op = name_float if v.is_float else name_int
                if op in ("fadd", "add"):
                    x = getattr(b, op)(low, high)
                else:
                    compare = b.fcmp_ordered if v.is_float else b.icmp_signed
                    x = b.select(compare(op, low, high), low, high)
            return b.extract_element(x, ir.Constant(I32, 0))

        return SCALARS[v.elem](v), codegen

    return f


reduce_add, reduce_max, reduce_min = _reduce("fadd", "add"), _reduce(">", ">"), _reduce("<", "<")
"""All elements folded into one scalar, by halves."""


@intrinsic
def udiv(tyctx: Any, x: Any, y: Any) -> Any:
    """x // y for non-negative int64: one instruction, without Python's sign rules."""
    return types.int64(types.int64, types.int64), lambda ctx, b, sig, args: b.udiv(*args)


@intrinsic
def urem(tyctx: Any, x: Any, y: Any) -> Any:
    """x % y for non-negative int64."""
    return types.int64(types.int64, types.int64), lambda ctx, b, sig, args: b.urem(*args)


@intrinsic
def iota_i32(tyctx: Any) -> Any:
    """0, 1, 2, ... -> i32v."""
    return i32v(), lambda ctx, b, sig, args: const(i32v.llvm, list(range(i32v.lanes)))


@intrinsic
def sqrt(tyctx: Any, v: Any) -> Any:
    """Square root of a float32 vector or scalar: exact rounding, one instruction everywhere."""

    def codegen(ctx: Any, b: Any, sig: Any, args: Any) -> Any:
        t = args[0].type
        suffix = f"v{t.count}f32" if isinstance(t, ir.VectorType) else "f32"
        return call(b, f"llvm.sqrt.{suffix}", t, args[0])

    return v(v), codegen


@intrinsic
def absolute(tyctx: Any, v: Any) -> Any:
    """|v| of a float32 vector."""

    def codegen(ctx: Any, b: Any, sig: Any, args: Any) -> Any:
        bits = b.and_(b.bitcast(args[0], i32v.llvm), const(i32v.llvm, 0x7FFFFFFF))
        return b.bitcast(bits, args[0].type)

    return v(v), codegen
