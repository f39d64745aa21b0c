"""A few rows of int8 in groups (g32) against weights in groups (n16k64): y = clamp(x w + bias + residual).

Rows of two terms (g32x2) are a row of g32 and behind it one of what that left over; a block meets both in turn.
For decoding, where the weights are streamed once and memory is the limit. Many rows are gemm_group*.py's.
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
    panel_store_f32,
    prefetch,
    share,
    splat_f32,
    udiv,
)  # fmt: skip
from edgert.kernels_cpu.simd.groups import Q4, Q4M, Q8G, VECTORS, Grouped, block_step
from edgert.kernels_cpu.simd.panel_sums import row_starts, sums_add, sums_zero
from edgert.kernels_cpu.simd.rows import present_rows

ROWS = 4 if REGISTERS == 32 else 2
"""Of the largest tile: so many share each line of weights, loaded and unpacked, while their sums stay in registers."""
AHEAD = 6144
"""Bytes of prefetch. One stream, block after block, runs at the speed of memory; two side by side at 0.8 of it."""


def _tile(form: Grouped, rows: int, F: Any) -> Any:
    """A function: `rows` rows of x and y times 16 rows of weights, from `column` on. It fetches `ahead` of its blocks:
    those whose number has `turn` in the bits of `every`."""
    step, starts, size = block_step(form, rows), row_starts(rows), form.nbytes
    zero, add, store = sums_zero(rows, VECTORS), sums_add(rows, VECTORS), panel_store_f32(rows, VECTORS)

    @helper
    def tile(height, record, row, column, w, ahead, every, turn):  # type: ignore[no-untyped-def]
        blocks, terms, columns = load_i32(record + F.blocks), load_i32(record + F.terms), load_i32(record + F.columns)
        stride = 80 * terms * blocks
        x = starts(load_i64(record + F.x) + row * stride, stride)
        acc = zero()
        for i in range(blocks):
            if i & every == turn:
                for line in range(0, size, 64):
                    prefetch(w + ahead + line)
            scale = 64 * blocks + 8 * i
            acc = step(acc, x, 64 * i, scale, scale + 8 * blocks, w)
            if terms == 2:
                second = 80 * blocks
                acc = step(acc, x, second + 64 * i, second + scale, second + scale + 8 * blocks, w)
            w += size
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
    def chosen(height, record, row, column, w, ahead, every, turn):  # type: ignore[no-untyped-def]
        if height == rows:
            whole(height, record, row, column, w, ahead, every, turn)
        else:
            smaller(height, record, row, column, w, ahead, every, turn)

    return chosen


def _kernel(form: Grouped, F: Any) -> Any:
    tile, single, size = _up_to(form, ROWS, F), _tile(form, 1, F), form.nbytes

    def matvec(record, chunk, scratch):  # type: ignore[no-untyped-def]
        """A chunk is a range of blocks of 16 rows of w. The rows of x pass, a tile at a time, while a block is near."""
        rows = present_rows(record + F.rows_at, record + F.rows)
        w, pitch = load_i64(record + F.w), size * load_i32(record + F.blocks)
        units = udiv(load_i32(record + F.columns) + 15, 16)
        # memory is to be busy during two tiles if there are two: they fetch the next row of blocks in turns
        ahead, every = (pitch, 1) if rows > ROWS else (AHEAD, 0)
        for unit in range(share(record, units, chunk), share(record, units, chunk + 1)):
            if rows == 1:  # choosing a tile would cost it a twentieth
                single(1, record, 0, 16 * unit, w + unit * pitch, ahead, 0, 0)
                continue
            row, turn = 0, 0
            while row < rows:
                height = min(ROWS, rows - row)
                tile(height, record, row, 16 * unit, w + unit * pitch, ahead, every, turn)
                row, turn = row + height, turn + 1

    return matvec


matvec_q4 = _kernel(Q4, record_fields("matvec_q4_n16k64"))
matvec_q4m = _kernel(Q4M, record_fields("matvec_q4m_n16k64"))
matvec_q8g = _kernel(Q8G, record_fields("matvec_q8g_n16k64"))
