"""float16 numbers in memory, float32 in registers: loads that widen exactly, stores that round half to even.

Import from here, not through the package. Arithmetic on halves does not exist: kernels compute in float32.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from edgert.kernels_cpu.simd.partial import emit_store_first
from edgert.kernels_cpu.simd.target import ARCH, has
from edgert.kernels_cpu.simd.types import F16, F32, I16, I32, VB, const, f32v, pointer, splat

LANES = VB // 4
_CONVERTS = has("avx2") or ARCH == "aarch64"
"""vcvtph2ps / vcvtps2ph (F16C comes with this project's AVX2 levels) or fcvtl / fcvtn; elsewhere LLVM would call a
library."""
_SMALLEST = 113 << 23
"""The bits of 2**-14, the smallest normal half, as a float32."""
_REBIAS = 112 << 23
"""What the exponent of a float32 has more than that of a half."""
_INFINITE = 143 << 23
"""The bits of 2**16: from here on halves are infinite (what rounds up to it carries into the exponent by itself)."""
_ALIGN = 126 << 23
"""The bits of 0.5: a float32 below 1 whose last bit is 2**-24, the smallest half."""


def _like(t: Any, lanes_of: Any) -> Any:
    return ir.VectorType(t, lanes_of.count) if isinstance(lanes_of, ir.VectorType) else t


def _number(t: Any, value: int) -> Any:
    return const(t, value) if isinstance(t, ir.VectorType) else ir.Constant(t, value)


def _widen_bits(b: Any, h: Any) -> Any:
    """Bits of halves (i16) -> float32, by integers and one exact subtraction.

    Source: F. Giesen, half-to-float by exponent adjustment."""
    i, f = _like(I32, h.type), _like(F32, h.type)
    word = b.zext(h, i)
    body = b.shl(b.and_(word, _number(i, 0x7FFF)), _number(i, 13))
    normal = b.add(body, _number(i, _REBIAS))
    special = b.add(normal, _number(i, _REBIAS))
    # a subnormal half is m * 2**-24: take it as 2**-14 + m * 2**-24 and subtract
    smallest = _number(i, _SMALLEST)
    small = b.fsub(b.bitcast(b.add(body, smallest), f), b.bitcast(smallest, f))
    value = b.select(b.icmp_unsigned("<", body, _number(i, 1 << 23)), b.bitcast(small, i), normal)
    value = b.select(b.icmp_unsigned(">=", body, _number(i, 31 << 23)), special, value)
    sign = b.shl(b.and_(word, _number(i, 0x8000)), _number(i, 16))
    return b.bitcast(b.or_(value, sign), f)


def _narrow_bits(b: Any, v: Any) -> Any:
    """float32 -> bits of halves (i16), ties to even; NaN stays NaN. Source: F. Giesen, float_to_half_fast3_rtne."""
    i, f = _like(I32, v.type), v.type
    word = b.bitcast(v, i)
    body = b.and_(word, _number(i, 0x7FFFFFFF))
    odd = b.and_(b.lshr(body, _number(i, 13)), _number(i, 1))
    normal = b.lshr(b.add(b.add(b.sub(body, _number(i, _REBIAS)), _number(i, 0xFFF)), odd), _number(i, 13))
    # below the normal halves: adding 0.5 leaves the value's multiple of 2**-24, rounded, in the last bits
    align = _number(i, _ALIGN)
    small = b.sub(b.bitcast(b.fadd(b.bitcast(body, f), b.bitcast(align, f)), i), align)
    nan = b.icmp_unsigned(">", body, _number(i, 255 << 23))
    special = b.select(nan, _number(i, 0x7E00), _number(i, 0x7C00))
    value = b.select(b.icmp_unsigned("<", body, _number(i, _SMALLEST)), small, normal)
    value = b.select(b.icmp_unsigned(">=", body, _number(i, _INFINITE)), special, value)
    sign = b.and_(b.lshr(word, _number(i, 16)), _number(i, 0x8000))
    return b.trunc(b.or_(value, sign), _like(I16, v.type))


def emit_load_half(b: Any, address: Any, lanes: int) -> Any:
    """`lanes` halves at `address` as float32; one alone is a scalar."""
    element = F16 if _CONVERTS else I16
    t = element if lanes == 1 else ir.VectorType(element, lanes)
    h = b.load(pointer(b, address, t), align=1)
    return b.fpext(h, _like(F32, t)) if _CONVERTS else _widen_bits(b, h)


def emit_narrow(b: Any, v: Any) -> Any:
    """float32, a vector or a scalar, as the bits (i16) of the nearest halves."""
    return b.bitcast(b.fptrunc(v, _like(F16, v.type)), _like(I16, v.type)) if _CONVERTS else _narrow_bits(b, v)


@intrinsic
def load_f16v(tyctx: Any, address: Any) -> Any:
    """LANES halves -> f32v."""
    return f32v(types.int64), lambda ctx, b, sig, args: emit_load_half(b, args[0], LANES)


@intrinsic
def load_f16(tyctx: Any, address: Any) -> Any:
    """One half -> float32."""
    return types.float32(types.int64), lambda ctx, b, sig, args: emit_load_half(b, args[0], 1)


@intrinsic
def broadcast_f16(tyctx: Any, address: Any) -> Any:
    """One half in every element -> f32v."""
    return f32v(types.int64), lambda ctx, b, sig, args: splat(b, emit_load_half(b, args[0], 1), f32v.llvm)


def _store(value_type: Any) -> Any:
    @intrinsic
    def store(tyctx: Any, address: Any, value: Any) -> Any:
        def codegen(ctx: Any, b: Any, sig: Any, args: Any) -> Any:
            h = emit_narrow(b, args[1])
            b.store(h, pointer(b, args[0], h.type), align=1)
            return ctx.get_dummy_value()

        return types.void(types.int64, value_type), codegen

    return store


store_f16v, store_f16 = _store(f32v), _store(types.float32)
"""store(address, v): LANES floats, or one, as halves."""


@intrinsic
def store_first_f16v(tyctx: Any, address: Any, v: Any, count: Any) -> Any:
    """Writes the first min(count, LANES) floats of v as halves; count >= 0."""

    def codegen(ctx: Any, b: Any, sig: Any, args: Any) -> Any:
        emit_store_first(b, args[0], emit_narrow(b, args[1]), args[2])
        return ctx.get_dummy_value()

    return types.void(types.int64, f32v, types.int64), codegen
