"""Arithmetic of two float tensors with broadcasting, flat over rows: row and kp alike.

The output is [size0][size1][count]; each operand has strides (0 where it repeats) and either a row of `count`
values or, spread, one value for the whole row.
"""

from __future__ import annotations

from edgert.kernels_cpu.elementwise import BINARY
from edgert.kernels_cpu.elementwise.functions import const
from edgert.kernels_cpu.registry import record_fields
from edgert.kernels_cpu.simd import (
    LANES,
    VECTOR_BYTES,
    broadcast_f32,
    helper,
    load_f32,
    load_f32v,
    load_i32,
    load_i64,
    maximum,
    minimum,
    select_gt,
    select_nan,
    share,
    splat_f32,
    store_first_f32v,
    udiv,
)  # fmt: skip

F = record_fields("binary_f32")


@helper
def add(a, b):  # type: ignore[no-untyped-def]
    return a + b


@helper
def subtract(a, b):  # type: ignore[no-untyped-def]
    return a - b


@helper
def multiply(a, b):  # type: ignore[no-untyped-def]
    return a * b


@helper
def divide(a, b):  # type: ignore[no-untyped-def]
    return a / b


@helper
def smaller(a, b):  # type: ignore[no-untyped-def]
    return select_nan(a, a, minimum(a, b))


@helper
def larger(a, b):  # type: ignore[no-untyped-def]
    return select_nan(a, a, maximum(a, b))


@helper
def prelu(a, b):  # type: ignore[no-untyped-def]
    return select_gt(const(0.0), a, a * b, a)


FUNCTIONS = (add, subtract, multiply, divide, smaller, larger, prelu)
"""In the order of BINARY."""
assert len(FUNCTIONS) == len(BINARY)


def _loop(function):  # type: ignore[no-untyped-def]
    """A function running `function` over vectors start .. stop-1 of one row."""

    @helper
    def loop(a, a_spread, b, b_spread, y, start, stop, count, low, high):  # type: ignore[no-untyped-def]
        for i in range(start, stop):
            av = broadcast_f32(a) if a_spread != 0 else load_f32v(a + VECTOR_BYTES * i)
            bv = broadcast_f32(b) if b_spread != 0 else load_f32v(b + VECTOR_BYTES * i)
            value = minimum(high, maximum(low, function(av, bv)))
            store_first_f32v(y + VECTOR_BYTES * i, value, count - LANES * i)

    return loop


_add, _sub, _mul, _div, _min, _max, _prelu = (_loop(f) for f in FUNCTIONS)


def binary_f32(record, chunk, scratch):  # type: ignore[no-untyped-def]
    """A chunk is a range of vectors, counted over all rows. Bounds that are infinite let NaN through."""
    op, count, size1 = load_i32(record + F.op), load_i32(record + F.count), load_i32(record + F.size1)
    a_spread, b_spread = load_i32(record + F.a_spread), load_i32(record + F.b_spread)
    low, high = splat_f32(load_f32(record + F.low)), splat_f32(load_f32(record + F.high))
    vectors = udiv(count + LANES - 1, LANES)
    units = load_i32(record + F.size0) * size1 * vectors
    i, last = share(record, units, chunk), share(record, units, chunk + 1)
    while i < last:
        row = udiv(i, vectors)
        start = i - row * vectors
        stop = min(vectors, start + last - i)
        outer = udiv(row, size1)
        inner = row - outer * size1
        a = load_i64(record + F.a) + outer * load_i32(record + F.a_stride0) + inner * load_i32(record + F.a_stride1)
        b = load_i64(record + F.b) + outer * load_i32(record + F.b_stride0) + inner * load_i32(record + F.b_stride1)
        y = load_i64(record + F.y) + 4 * count * row
        if op == 0:
            _add(a, a_spread, b, b_spread, y, start, stop, count, low, high)
        elif op == 1:
            _sub(a, a_spread, b, b_spread, y, start, stop, count, low, high)
        elif op == 2:
            _mul(a, a_spread, b, b_spread, y, start, stop, count, low, high)
        elif op == 3:
            _div(a, a_spread, b, b_spread, y, start, stop, count, low, high)
        elif op == 4:
            _min(a, a_spread, b, b_spread, y, start, stop, count, low, high)
        elif op == 5:
            _max(a, a_spread, b, b_spread, y, start, stop, count, low, high)
        else:
            _prelu(a, a_spread, b, b_spread, y, start, stop, count, low, high)
        i += stop - start
