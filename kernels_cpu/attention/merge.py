"""Sums over ranges of positions, which threads made apart, added in order: the second half of attention.

The first half, and what a partial sum is, are in attention.py.
"""

from __future__ import annotations

from edgert.kernels_cpu.attention.head import first_position
from edgert.kernels_cpu.attention.online import LOWEST, clear, divide, first_seen, merge
from edgert.kernels_cpu.attention.sizes import SPLIT, TAIL
from edgert.kernels_cpu.registry import record_fields
from edgert.kernels_cpu.simd import load_f32, load_i32, load_i64, share, store_f32, udiv
from edgert.kernels_cpu.simd.rows import present_rows

F = record_fields("attention_merge_f32_row")


def merge_splits(record, chunk, scratch):  # type: ignore[no-untyped-def]
    """A chunk is a range of query rows of each kv head."""
    rows = present_rows(record + F.rows_at, record + F.rows)
    past = first_position(load_i64(record + F.positions))
    if rows == 0 or past < 0 or past + rows > load_i32(record + F.context):
        return
    group, depth, kv_heads = load_i32(record + F.group), load_i32(record + F.depth), load_i32(record + F.kv_heads)
    stride, low = 4 * depth + TAIL, udiv(first_seen(past, load_i32(record + F.window)), SPLIT)
    end = udiv(past + rows - 1, SPLIT) + 1
    top, total, y = scratch, scratch + 4, scratch + TAIL
    units = kv_heads * rows * group
    for unit in range(share(record, units, chunk), share(record, units, chunk + 1)):
        kv_head = udiv(unit, rows * group)
        row = unit - rows * group * kv_head
        clear(y, depth)
        store_f32(top, LOWEST)
        store_f32(total, 0.0)
        for part in range(low, end):
            at = load_i32(record + F.rows) * group * (kv_heads * (part - low) + kv_head) + row
            x = load_i64(record + F.x) + stride * at
            merge(y, top, total, x, load_f32(x + 4 * depth), load_f32(x + 4 * depth + 4), depth)
        t = udiv(row, group)
        head = group * kv_head + row - group * t
        divide(y, total, load_i64(record + F.y) + load_i32(record + F.y_row) * t + 4 * depth * head, depth)
