"""Softmax and LogSoftmax over rows. Source: ONNX Softmax-13, LogSoftmax-13.

Three passes over a row: its maximum, the sum of exponentials, the result.
"""

from __future__ import annotations

from edgert.kernels_cpu.elementwise.functions import const, exp, log
from edgert.kernels_cpu.norm.reduce import row_max, row_sum
from edgert.kernels_cpu.registry import record_fields
from edgert.kernels_cpu.simd import (
    LANES,
    keep_first,
    load_f32v,
    load_i32,
    load_i64,
    reduce_add,
    share,
    splat_f32,
    store_first_f32v,
)  # fmt: skip

F = record_fields("softmax_f32_row")


def softmax(record, chunk, scratch):  # type: ignore[no-untyped-def]
    """A chunk is a range of rows."""
    count, rows, logarithm = load_i32(record + F.count), load_i32(record + F.rows), load_i32(record + F.logarithm)
    for row in range(share(record, rows, chunk), share(record, rows, chunk + 1)):
        x, y = load_i64(record + F.x) + 4 * count * row, load_i64(record + F.y) + 4 * count * row
        top = splat_f32(row_max(x, count))
        if logarithm != 0:
            total = const(0.0)
            for i in range(0, count, LANES):
                total = total + keep_first(exp(load_f32v(x + 4 * i) - top), count - i, const(0.0))
            lost = top + log(splat_f32(reduce_add(total)))
            for i in range(0, count, LANES):
                store_first_f32v(y + 4 * i, load_f32v(x + 4 * i) - lost, count - i)
        else:
            for i in range(0, count, LANES):
                store_first_f32v(y + 4 * i, exp(load_f32v(x + 4 * i) - top), count - i)
            total = splat_f32(row_sum(y, count))
            for i in range(0, count, LANES):
                store_first_f32v(y + 4 * i, load_f32v(y + 4 * i) / total, count - i)
