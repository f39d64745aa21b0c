"""Rows brought to mean 0 and variance 1, then scaled: LayerNormalization, RMSNormalization, InstanceNormalization.

Source: ONNX operators of these names. The variance is the mean of squared differences, in a pass of its own.
"""

from __future__ import annotations

from edgert.kernels_cpu.elementwise.functions import const
from edgert.kernels_cpu.norm.reduce import row_sum
from edgert.kernels_cpu.registry import record_fields
from edgert.kernels_cpu.simd import (
    LANES,
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
    urem,
)  # fmt: skip

F = record_fields("normalize_f32_row")


@helper
def square_sum(x, count, mean):  # type: ignore[no-untyped-def]
    """The sum of (x - mean)**2."""
    total = const(0.0)
    for i in range(0, count, LANES):
        d = keep_first(load_f32v(x + 4 * i) - mean, count - i, const(0.0))
        total = fma(d, d, total)
    return splat_f32(reduce_add(total))


def normalize(record, chunk, scratch):  # type: ignore[no-untyped-def]
    """A chunk is a range of rows. With channel_scale, row r has the one scale and bias number r modulo `period`;
    without, every row is scaled value by value. Without `centre` the mean is left in (RMS)."""
    count, rows, period = load_i32(record + F.count), load_i32(record + F.rows), load_i32(record + F.period)
    channel_scale, centre = load_i32(record + F.channel_scale), load_i32(record + F.centre)
    epsilon, size = splat_f32(load_f32(record + F.epsilon)), splat_f32(count)
    scale, bias = load_i64(record + F.scale), load_i64(record + F.bias)
    for row in range(share(record, rows, chunk), share(record, rows, chunk + 1)):
        x = load_i64(record + F.x) + row * load_i32(record + F.x_row)
        y = load_i64(record + F.y) + row * load_i32(record + F.y_row)
        mean = splat_f32(row_sum(x, count)) / size if centre != 0 else const(0.0)
        inverse = const(1.0) / sqrt(square_sum(x, count, mean) / size + epsilon)
        if channel_scale != 0:
            s = broadcast_f32(scale + 4 * urem(row, period))
            b = broadcast_f32(bias + 4 * urem(row, period))
            for i in range(0, count, LANES):
                v = (load_f32v(x + 4 * i) - mean) * inverse
                store_first_f32v(y + 4 * i, v * s + b, count - i)
        else:
            for i in range(0, count, LANES):
                v = (load_f32v(x + 4 * i) - mean) * inverse
                store_first_f32v(y + 4 * i, v * load_f32v(scale + 4 * i) + load_f32v(bias + 4 * i), count - i)
