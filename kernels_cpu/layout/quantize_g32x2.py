"""Floats -> g32x2: a row of g32, and behind it the g32 of what that left over: about 16 bits of every value.

One term alone is quantize_g32.py; what a group becomes is in simd/group_quantize.py.
"""

from __future__ import annotations

from edgert.kernels_cpu.registry import record_fields
from edgert.kernels_cpu.simd import (
    LANES,
    broadcast_f32,
    load_f32v,
    load_i32,
    load_i64,
    load_u8_i32,
    share,
    splat_i32,
    store_f32v,
    to_f32,
    udiv,
)  # fmt: skip
from edgert.kernels_cpu.simd.group_quantize import GROUP, quantize_row
from edgert.kernels_cpu.simd.rows import present_rows

F = record_fields("quantize_f32_g32x2")


def quantize_g32x2(record, chunk, scratch):  # type: ignore[no-untyped-def]
    """A chunk is a range of rows. What is left over, x - scale * value, passes through scratch."""
    depth, blocks = load_i32(record + F.count), load_i32(record + F.blocks)
    rows, sign = present_rows(record + F.rows_at, record + F.rows), splat_i32(128)
    for row in range(share(record, rows, chunk), share(record, rows, chunk + 1)):
        x = load_i64(record + F.x) + row * load_i32(record + F.x_row)
        y = load_i64(record + F.y) + row * load_i32(record + F.y_row)
        quantize_row(x, y, depth)
        scales = y + 64 * blocks
        for i in range(0, depth, LANES):
            value = to_f32((load_u8_i32(y + i) ^ sign) - sign)
            meant = value * broadcast_f32(scales + 4 * udiv(i, GROUP))
            store_f32v(scratch + 4 * i, load_f32v(x + 4 * i) - meant)
        quantize_row(scratch, y + 80 * blocks, depth)
