"""Rows brought to mean 0 and variance 1, then scaled: LayerNormalization, RMSNormalization, InstanceNormalization.

Source: ONNX operators of these names. The variance is the mean of squared differences, in a pass of its own.
"""

from __future__ import annotations

from edgert.kernels_cpu.elementwise.functions import const
from edgert.kernels_cpu.norm.reduce import row_sum
from edgert.kernels_cpu.registry import record_fields
from edgert.kernels_cpu.simd import (
    LANES,
    VECTOR_BYTES,
    broadcast_f32,
    fma,
    helper,
    keep_first,
    load_f32,
    load_f32v,
    load_i32,
    load_i64,
    reduce_add,
    share,
    splat_f32,
    sqrt,
    store_first_f32v,
    udiv,
    urem,
)  # fmt: skip
from edgert.kernels_cpu.simd.rows import present_rows

F = record_fields("normalize_f32_row")


@helper
def square_sum(x, count, mean):  # type: ignore[no-untyped-def]
    """The sum of (x - mean)**2, by four running vectors."""
    zero = const(0.0)
    s0, s1, s2, s3 = zero, zero, zero, zero
    vectors = udiv(count, LANES)
    quads = udiv(vectors, 4)
    for i in range(quads):
        at = x + 4 * VECTOR_BYTES * i
        d0, d1 = load_f32v(at) - mean, load_f32v(at + VECTOR_BYTES) - mean
        d2, d3 = load_f32v(at + 2 * VECTOR_BYTES) - mean, load_f32v(at + 3 * VECTOR_BYTES) - mean
        s0, s1, s2, s3 = fma(d0, d0, s0), fma(d1, d1, s1), fma(d2, d2, s2), fma(d3, d3, s3)
    for i in range(4 * quads, vectors):
        d = load_f32v(x + VECTOR_BYTES * i) - mean
        s0 = fma(d, d, s0)
    if count > vectors * LANES:
        d = keep_first(load_f32v(x + VECTOR_BYTES * vectors) - mean, count - vectors * LANES, zero)
        s1 = fma(d, d, s1)
    return splat_f32(reduce_add((s0 + s1) + (s2 + s3)))


@helper
def statistics(x, count, centre, epsilon):  # type: ignore[no-untyped-def]
    """(mean, 1 / sqrt(var + epsilon)) of a row; without `centre` the mean is taken as 0."""
    size = splat_f32(count)
    mean = splat_f32(row_sum(x, count)) / size if centre != 0 else const(0.0)
    return mean, const(1.0) / sqrt(square_sum(x, count, mean) / size + epsilon)


@helper
def scaled_row(x, count, centre, epsilon, scale, bias, y):  # type: ignore[no-untyped-def]
    """A row normalized, then scaled and shifted value by value, to y."""
    mean, inverse = statistics(x, count, centre, epsilon)
    for i in range(0, count, LANES):
        v = (load_f32v(x + 4 * i) - mean) * inverse
        store_first_f32v(y + 4 * i, v * load_f32v(scale + 4 * i) + load_f32v(bias + 4 * i), count - i)


def normalize(record, chunk, scratch):  # type: ignore[no-untyped-def]
    """A chunk is a range of rows. With channel_scale, row r has the one scale and bias number r modulo `period`;
    without, every row is scaled value by value. Without `centre` the mean is left in (RMS)."""
    count, period = load_i32(record + F.count), load_i32(record + F.period)
    rows = present_rows(record + F.rows_at, record + F.rows)
    channel_scale, centre = load_i32(record + F.channel_scale), load_i32(record + F.centre)
    epsilon = splat_f32(load_f32(record + F.epsilon))
    scale, bias = load_i64(record + F.scale), load_i64(record + F.bias)
    for row in range(share(record, rows, chunk), share(record, rows, chunk + 1)):
        x = load_i64(record + F.x) + row * load_i32(record + F.x_row)
        y = load_i64(record + F.y) + row * load_i32(record + F.y_row)
        if channel_scale != 0:
            mean, inverse = statistics(x, count, centre, epsilon)
            s = broadcast_f32(scale + 4 * urem(row, period))
            b = broadcast_f32(bias + 4 * urem(row, period))
            for i in range(0, count, LANES):
                v = (load_f32v(x + 4 * i) - mean) * inverse
                store_first_f32v(y + 4 * i, v * s + b, count - i)
        else:
            scaled_row(x, count, centre, epsilon, scale, bias, y)
