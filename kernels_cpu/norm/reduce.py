"""Reductions of rows of floats: global pooling over planes, and Reduce* over the last axes.

Each row is reduced by one chunk in a fixed order, so results do not depend on threads.
"""

from __future__ import annotations

from edgert.kernels_cpu.elementwise.functions import const
from edgert.kernels_cpu.registry import record_fields
from edgert.kernels_cpu.simd import (
    LANES,
    VECTOR_BYTES,
    absolute,
    bits_f32,
    helper,
    keep_first,
    load_f32v,
    load_i32,
    load_i64,
    maximum,
    minimum,
    reduce_add,
    reduce_max,
    reduce_min,
    select_nan,
    share,
    splat_f32,
    splat_i32,
    sqrt,
    store_first_f32v,
    udiv,
)  # fmt: skip

F = record_fields("reduce_f32_row")


@helper
def itself(v):  # type: ignore[no-untyped-def]
    return v


@helper
def squared(v):  # type: ignore[no-untyped-def]
    return v * v


def _sum(of):  # type: ignore[no-untyped-def]
    @helper
    def total(x, count):  # type: ignore[no-untyped-def]
        """The sum of `of` each of `count` floats, by four running vectors."""
        zero = const(0.0)
        s0, s1, s2, s3 = zero, zero, zero, zero
        vectors = udiv(count, LANES)
        quads = udiv(vectors, 4)
        for i in range(quads):
            at = x + 4 * VECTOR_BYTES * i
            s0, s1 = s0 + of(load_f32v(at)), s1 + of(load_f32v(at + VECTOR_BYTES))
            s2, s3 = s2 + of(load_f32v(at + 2 * VECTOR_BYTES)), s3 + of(load_f32v(at + 3 * VECTOR_BYTES))
        for i in range(4 * quads, vectors):
            s0 = s0 + of(load_f32v(x + VECTOR_BYTES * i))
        if count > vectors * LANES:
            s1 = s1 + of(keep_first(load_f32v(x + VECTOR_BYTES * vectors), count - vectors * LANES, zero))
        return reduce_add((s0 + s1) + (s2 + s3))

    return total


row_sum, row_magnitudes, row_squares = _sum(itself), _sum(absolute), _sum(squared)


@helper
def larger(a, b):  # type: ignore[no-untyped-def]
    return select_nan(a, a, maximum(a, b))


@helper
def smaller(a, b):  # type: ignore[no-untyped-def]
    return select_nan(a, a, minimum(a, b))


def _extreme(combine, reduce_, identity_bits):  # type: ignore[no-untyped-def]
    @helper
    def extreme(x, count):  # type: ignore[no-untyped-def]
        identity = bits_f32(splat_i32(identity_bits))
        best = identity
        nan = const(0.0)
        for i in range(0, count, LANES):
            v = keep_first(load_f32v(x + 4 * i), count - i, identity)
            best = combine(best, v)
            nan = select_nan(v, v, nan)
        # Folding by halves may drop a NaN; adding 0, or the NaN, brings it back.
        return reduce_(best) + reduce_add(nan)

    return extreme


row_max = _extreme(larger, reduce_max, -8388608)  # the bits of -infinity
row_min = _extreme(smaller, reduce_min, 0x7F800000)


def reduce(record, chunk, scratch):  # type: ignore[no-untyped-def]
    """A chunk is a range of rows."""
    op, count, rows = load_i32(record + F.op), load_i32(record + F.count), load_i32(record + F.rows)
    for row in range(share(record, rows, chunk), share(record, rows, chunk + 1)):
        x = load_i64(record + F.x) + row * load_i32(record + F.x_row)
        y = load_i64(record + F.y) + row * load_i32(record + F.y_row)
        if op == 0:
            store_first_f32v(y, splat_f32(row_sum(x, count)) / splat_f32(count), 1)
        elif op == 1:
            store_first_f32v(y, splat_f32(row_sum(x, count)), 1)
        elif op == 2:
            store_first_f32v(y, splat_f32(row_max(x, count)), 1)
        elif op == 3:
            store_first_f32v(y, splat_f32(row_min(x, count)), 1)
        elif op == 4:
            store_first_f32v(y, splat_f32(row_magnitudes(x, count)), 1)
        elif op == 5:
            store_first_f32v(y, splat_f32(row_squares(x, count)), 1)
        else:
            store_first_f32v(y, sqrt(splat_f32(row_squares(x, count))), 1)
