"""A few rows of int8 in groups (g32) against blocks that keep only some numbers (bitmap8, bitmap4, nm8, nm4).

y = clamp(x w + bias + residual), with the bits of the dense kernels (matvec_groups.py). For decoding, where the kept
numbers are streamed once. Many rows are gemm_bitmap.py's.
"""

from __future__ import annotations

from typing import Any

from edgert.kernels_cpu.registry import record_fields
from edgert.kernels_cpu.simd import (
    REGISTERS,
    helper,
    load_f32,
    load_i32,
    load_i64,
    load_u32,
    panel_store_f32,
    splat_f32,
    udiv,
)  # fmt: skip
from edgert.kernels_cpu.simd.bitmap import LONGEST, bitmap_step, bitmap_unpack, whole_block
from edgert.kernels_cpu.simd.group_panel import excess, group_bytes, group_step
from edgert.kernels_cpu.simd.groups import Q4, Q8G, VECTORS, Grouped
from edgert.kernels_cpu.simd.panel_sums import row_starts, sums_add, sums_zero
from edgert.kernels_cpu.simd.rows import present_rows
from edgert.kernels_cpu.simd.target import has

ROWS = 4 if REGISTERS == 32 else 2
"""Of the largest tile: so many share each expanded line, while their sums stay in registers."""
AHEAD = 8192
"""Bytes of prefetch: half as many were 0.85 of the speed of memory, half as many again no more."""


def _expanding(form: Grouped, rows: int) -> Any:
    """A function: a block against `rows` rows of x, then against their second terms unless `second` is 0 -> (the sums,
    where the next block begins). Lines are expanded into registers."""
    step, whole = bitmap_step(form, rows, AHEAD), whole_block(LONGEST)

    @helper
    def block(acc, x, value, scale, total, second, w, end, scratch):  # type: ignore[no-untyped-def]
        place = whole(w, end, scratch)
        acc, size = step(acc, x, value, scale, total, place)
        if second != 0:
            acc, size = step(acc, x, second + value, second + scale, second + total, place)
        return acc, w + size

    return block


def _unpacking(form: Grouped, rows: int) -> Any:
    """The same by way of scratch, where the block becomes a panel as that of products of many rows."""
    unpack, step, group = bitmap_unpack(form, AHEAD, excess(form)), group_step(form, rows, VECTORS), group_bytes(form)

    @helper
    def block(acc, x, value, scale, total, second, w, end, scratch):  # type: ignore[no-untyped-def]
        panel = scratch + LONGEST
        following = unpack(w, end, scratch, panel)
        for g in range(2):
            acc = step(acc, x, value + 32 * g, scale + 4 * g, total + 4 * g, panel + group * g)
        if second != 0:
            for g in range(2):
                at = second + 4 * g
                acc = step(acc, x, second + value + 32 * g, at + scale, at + total, panel + group * g)
        return acc, following

    return block


def _tile(form: Grouped, rows: int, F: Any) -> Any:
    """A function: `rows` rows of x and y times 16 rows of weights, from `column` on."""
    block = (_expanding if has("expand") else _unpacking)(form, rows)
    starts, zero = row_starts(rows), sums_zero(rows, VECTORS)
    add, store = sums_add(rows, VECTORS), panel_store_f32(rows, VECTORS)

    @helper
    def tile(height, record, row, column, w, end, scratch):  # type: ignore[no-untyped-def]
        blocks, terms, columns = load_i32(record + F.blocks), load_i32(record + F.terms), load_i32(record + F.columns)
        stride, second = 80 * terms * blocks, 80 * blocks * (terms - 1)
        x = starts(load_i64(record + F.x) + row * stride, stride)
        acc = zero()
        for i in range(blocks):
            scale = 64 * blocks + 8 * i
            acc, w = block(acc, x, 64 * i, scale, scale + 8 * blocks, second, w, end, scratch)
        pitch, count = 4 * columns, columns - column
        place = row * pitch + 4 * column
        bias, residual = load_i64(record + F.bias), load_i64(record + F.residual)
        if bias != 0:
            acc = add(acc, bias + 4 * column, 0, count)
        if residual != 0:
            acc = add(acc, residual + place, pitch, count)
        low, high = splat_f32(load_f32(record + F.low)), splat_f32(load_f32(record + F.high))
        store(acc, low, high, load_i64(record + F.y) + place, pitch, count)

    return tile


def _up_to(form: Grouped, rows: int, F: Any) -> Any:
    """A function like that of `_tile`, of any height from 1 to `rows`."""
    whole = _tile(form, rows, F)
    if rows == 1:
        return whole
    smaller = _up_to(form, rows - 1, F)

    @helper
    def chosen(height, record, row, column, w, end, scratch):  # type: ignore[no-untyped-def]
        if height == rows:
            whole(height, record, row, column, w, end, scratch)
        else:
            smaller(height, record, row, column, w, end, scratch)

    return chosen


def _kernel(form: Grouped, F: Any) -> Any:
    tile = _up_to(form, ROWS, F)

    def matvec(record, chunk, scratch):  # type: ignore[no-untyped-def]
        """A chunk is a range of blocks of 16 rows of w, from the table `bounds`: about as many bytes in each."""
        rows = present_rows(record + F.rows_at, record + F.rows)
        w, start, bounds = load_i64(record + F.w), load_i64(record + F.start), load_i64(record + F.bounds)
        units = udiv(load_i32(record + F.columns) + 15, 16)
        end = w + 8 * load_u32(start + 4 * units)
        for unit in range(load_i32(bounds + 4 * chunk), load_i32(bounds + 4 * chunk + 4)):
            at = w + 8 * load_u32(start + 4 * unit)
            row = 0
            while row < rows:
                height = min(ROWS, rows - row)
                tile(height, record, row, 16 * unit, at, end, scratch)
                row += height

    return matvec


matvec_bitmap8 = _kernel(Q8G, record_fields("matvec_bitmap8_n16k64"))
matvec_bitmap4 = _kernel(Q4, record_fields("matvec_bitmap4_n16k64"))
