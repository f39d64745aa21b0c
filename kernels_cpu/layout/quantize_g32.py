"""Floats -> g32: int8 in groups of 32 along a row, with a scale and a sum each, for products with grouped weights.

What a group becomes is in simd/group_quantize.py; normalizations and GLU make g32 by themselves.
"""

from __future__ import annotations

from edgert.kernels_cpu.registry import record_fields
from edgert.kernels_cpu.simd import load_i32, load_i64, share, udiv, urem
from edgert.kernels_cpu.simd.group_quantize import quantize_groups
from edgert.kernels_cpu.simd.rows import present_rows

F = record_fields("quantize_f32_g32")


def quantize_g32(record, chunk, scratch):  # type: ignore[no-untyped-def]
    """A chunk is a range of blocks of two groups, counted row by row."""
    depth, blocks = load_i32(record + F.count), load_i32(record + F.blocks)
    units = blocks * present_rows(record + F.rows_at, record + F.rows)
    at, end = share(record, units, chunk), share(record, units, chunk + 1)
    while at < end:
        row, block = udiv(at, blocks), urem(at, blocks)
        last = min(blocks, block + end - at)
        x = load_i64(record + F.x) + row * load_i32(record + F.x_row)
        y = load_i64(record + F.y) + row * load_i32(record + F.y_row)
        quantize_groups(x, y, depth, 2 * block, 2 * last)
        at += last - block
