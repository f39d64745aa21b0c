"""Rows of a table of int8 with a scale for each row (q8), by their numbers, as floats: value * scale.

Source: ONNX Gather along axis 0. Tables of floats and halves are gather_rows.py's.
"""

from __future__ import annotations

from edgert.kernels_cpu.layout.gather_rows import row_number
from edgert.kernels_cpu.registry import record_fields
from edgert.kernels_cpu.simd import (
    LANES,
    load_f32,
    load_i32,
    load_i64,
    load_u8_i32,
    share,
    splat_f32,
    store_first_f32v,
    to_f32,
)  # fmt: skip
from edgert.kernels_cpu.simd.arith import shift_left, shift_right_signed
from edgert.kernels_cpu.simd.rows import present_rows

F = record_fields("gather_q8")


def gather_q8(record, chunk, scratch):  # type: ignore[no-untyped-def]
    """A chunk is a range of the numbers."""
    rows = present_rows(record + F.rows_at, record + F.rows)
    columns, table = load_i32(record + F.columns), load_i32(record + F.table)
    x, y, indices, scales = (
        load_i64(record + F.x),
        load_i64(record + F.y),
        load_i64(record + F.indices),
        load_i64(record + F.scale),
    )
    for i in range(share(record, rows, chunk), share(record, rows, chunk + 1)):
        number = row_number(indices, i, load_i32(record + F.wide), table)
        at, to, scale = x + number * columns, y + i * 4 * columns, splat_f32(load_f32(scales + 4 * number))
        for k in range(0, columns, LANES):
            value = shift_right_signed(shift_left(load_u8_i32(at + k), 24), 24)  # bytes have signs here
            store_first_f32v(to + 4 * k, to_f32(value) * scale, columns - k)
