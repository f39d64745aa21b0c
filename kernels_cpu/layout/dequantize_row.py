"""Unsigned bytes -> floats in the same order, for 8-bit tensors in row layout.

The k4p form is in dequantize_k4p.py.
"""

from __future__ import annotations

from edgert.kernels_cpu.registry import record_fields
from edgert.kernels_cpu.simd import (
    LANES,
    load_f32,
    load_i32,
    load_i64,
    load_u8_i32,
    share,
    splat_f32,
    splat_i32,
    store_first_f32v,
    to_f32,
    udiv,
)  # fmt: skip

F = record_fields("dequantize_q8_row")


def dequantize_row(record, chunk, scratch):  # type: ignore[no-untyped-def]
    """A chunk is a range of output vectors."""
    count = load_i32(record + F.count)
    scale, zero_point = splat_f32(load_f32(record + F.scale)), splat_i32(load_i32(record + F.zero_point))
    x, y = load_i64(record + F.x), load_i64(record + F.y)
    units = udiv(count + LANES - 1, LANES)
    for i in range(share(record, units, chunk), share(record, units, chunk + 1)):
        value = to_f32(load_u8_i32(x + LANES * i) - zero_point) * scale
        store_first_f32v(y + 4 * LANES * i, value, count - LANES * i)
