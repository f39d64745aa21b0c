"""QLinearAdd and QLinearMul on activation bytes, whatever their layout: bytes are taken in the order they lie.

Source: com.microsoft QLinearAdd and QLinearMul, as in reference/quantized.py; both ratios come ready-made. Sums may be
fixed-point, as XNNPACK's: floor(total / 2**shift). Of the total, less its last 12 bits, floats hold every bit; times
a_ratio = 2**(12 - shift), plus b_ratio = a_ratio / 2 - 0.5, it is rounded to that floor, and never is it halfway.
"""

from __future__ import annotations

from edgert.kernels_cpu.elementwise import BINARY_Q8, FIXED_SHIFT
from edgert.kernels_cpu.registry import record_fields
from edgert.kernels_cpu.simd import (
    VECTOR_BYTES,
    broadcast_i8x4,
    byte0,
    byte1,
    byte2,
    byte3,
    clamp_act,
    helper,
    load_f32,
    load_i8v,
    load_i32,
    load_i64,
    requantize,
    share,
    shift_right_signed,
    splat_f32,
    splat_i8,
    splat_i16,
    splat_i32,
    store_first_i8v,
    to_f32,
    transpose4x4,
    udiv,
)  # fmt: skip

F = record_fields("binary_q8")
MUL = BINARY_Q8.index("QLinearMul")
FIXED = BINARY_Q8.index("FixedPointAdd")


@helper
def summed(a, b, a_zero, b_zero, a_ratio, b_ratio):  # type: ignore[no-untyped-def]
    return to_f32(a - a_zero) * a_ratio + to_f32(b - b_zero) * b_ratio


@helper
def multiplied(a, b, a_zero, b_zero, a_ratio, b_ratio):  # type: ignore[no-untyped-def]
    return to_f32((a - a_zero) * (b - b_zero)) * a_ratio


def _bytes(combine):  # type: ignore[no-untyped-def]
    @helper
    def each(a, b, a_zero, b_zero, a_ratio, b_ratio, zero_point):  # type: ignore[no-untyped-def]
        q0 = combine(byte0(a), byte0(b), a_zero, b_zero, a_ratio, b_ratio)
        q1 = combine(byte1(a), byte1(b), a_zero, b_zero, a_ratio, b_ratio)
        q2 = combine(byte2(a), byte2(b), a_zero, b_zero, a_ratio, b_ratio)
        q3 = combine(byte3(a), byte3(b), a_zero, b_zero, a_ratio, b_ratio)
        return transpose4x4(requantize(q0, q1, q2, q3, zero_point))

    return each


_sum, _product = _bytes(summed), _bytes(multiplied)


@helper
def fixed(a, b, a_multiplier, b_multiplier, rest, a_ratio, b_ratio):  # type: ignore[no-untyped-def]
    return to_f32(shift_right_signed(a * a_multiplier + b * b_multiplier + rest, FIXED_SHIFT)) * a_ratio + b_ratio


@helper
def _fixed_sum(a, b, a_multiplier, b_multiplier, rest, a_ratio, b_ratio, zero_point):  # type: ignore[no-untyped-def]
    q0 = fixed(byte0(a), byte0(b), a_multiplier, b_multiplier, rest, a_ratio, b_ratio)
    q1 = fixed(byte1(a), byte1(b), a_multiplier, b_multiplier, rest, a_ratio, b_ratio)
    q2 = fixed(byte2(a), byte2(b), a_multiplier, b_multiplier, rest, a_ratio, b_ratio)
    q3 = fixed(byte3(a), byte3(b), a_multiplier, b_multiplier, rest, a_ratio, b_ratio)
    return transpose4x4(requantize(q0, q1, q2, q3, zero_point))


def binary_q8(record, chunk, scratch):  # type: ignore[no-untyped-def]
    """A chunk is a range of vectors, counted over all rows. With `spread`, b gives four bytes for a whole row:
    one pixel of k4p for each group of channels. Row r of b is r modulo b_rows."""
    op, row_bytes, spread = load_i32(record + F.op), load_i32(record + F.row_bytes), load_i32(record + F.spread)
    flip, zero_point = splat_i8(load_i32(record + F.flip)), splat_i16(load_i32(record + F.zero_point))
    low, high = splat_i8(load_i32(record + F.low)), splat_i8(load_i32(record + F.high))
    a_zero, b_zero = splat_i32(load_i32(record + F.a_zero)), splat_i32(load_i32(record + F.b_zero))
    a_multiplier, b_multiplier = (
        splat_i32(load_i32(record + F.a_multiplier)),
        splat_i32(load_i32(record + F.b_multiplier)),
    )
    rest = splat_i32(load_i32(record + F.rounding)) - a_zero * a_multiplier - b_zero * b_multiplier
    a_ratio, b_ratio = splat_f32(load_f32(record + F.a_ratio)), splat_f32(load_f32(record + F.b_ratio))
    vectors = udiv(row_bytes + VECTOR_BYTES - 1, VECTOR_BYTES)
    units, b_rows = load_i32(record + F.rows) * vectors, load_i32(record + F.b_rows)
    i, last = share(record, units, chunk), share(record, units, chunk + 1)
    while i < last:
        row = udiv(i, vectors)
        start = i - row * vectors
        stop = min(vectors, start + last - i)
        a = load_i64(record + F.a) + row * load_i32(record + F.a_row)
        b = load_i64(record + F.b) + (row - udiv(row, b_rows) * b_rows) * load_i32(record + F.b_row)
        y = load_i64(record + F.y) + row * load_i32(record + F.y_row)
        for at in range(VECTOR_BYTES * start, VECTOR_BYTES * stop, VECTOR_BYTES):
            av = load_i8v(a + at) ^ flip
            bv = (broadcast_i8x4(b) if spread != 0 else load_i8v(b + at)) ^ flip
            if op == MUL:
                v = _product(av, bv, a_zero, b_zero, a_ratio, b_ratio, zero_point)
            elif op == FIXED:
                v = _fixed_sum(av, bv, a_multiplier, b_multiplier, rest, a_ratio, b_ratio, zero_point)
            else:
                v = _sum(av, bv, a_zero, b_zero, a_ratio, b_ratio, zero_point)
            store_first_i8v(y + at, clamp_act(v, low, high) ^ flip, row_bytes - at)
        i += stop - start
