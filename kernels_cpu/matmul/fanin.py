"""Rows of floats against weights of constant fan-in: y = clamp(scale * sum of data * x[index] + bias + residual).

Source: the condensed form of Lasby et al. 2024, "Dynamic sparse training with structured sparsity", 16 outputs as
lanes. One sum per output, its weights in their order, by fused multiply-adds; scaled, then bias and residual.
"""

from __future__ import annotations

from typing import Any

from edgert.kernels_cpu.registry import record_fields
from edgert.kernels_cpu.simd import (
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
from edgert.kernels_cpu.simd.fanin import fanin_step, scaled
from edgert.kernels_cpu.simd.groups import VECTORS
from edgert.kernels_cpu.simd.panel_sums import row_starts, sums_add, sums_zero
from edgert.kernels_cpu.simd.rows import present_rows

F = record_fields("matvec_fanin_n16")
ROWS = 4
"""Of the largest tile: so many share the loaded indices and weights."""
AHEAD = 2048
"""Bytes of indices between what is fetched and what is used; of weights half as much."""


def _tile(rows: int) -> Any:
    """A function: `rows` rows of x and y from `row` on times a line of 16 outputs."""
    step, starts, zero = fanin_step(rows), row_starts(rows), sums_zero(rows, VECTORS)
    add, by, store = sums_add(rows, VECTORS), scaled(rows), panel_store_f32(rows, VECTORS)

    @helper
    def tile(height, record, row, unit):  # type: ignore[no-untyped-def]
        count, stride, columns = load_i32(record + F.kept), 4 * load_i32(record + F.depth), load_i32(record + F.columns)
        x = starts(load_i64(record + F.x) + row * stride, stride)
        index = load_i64(record + F.index) + 32 * count * unit
        data = load_i64(record + F.w) + 16 * count * unit
        acc = zero()
        for _ in range(count):
            prefetch(index + AHEAD)
            prefetch(data + AHEAD // 2)
            acc = step(acc, x, index, data)
            index, data = index + 32, data + 16
        column = 16 * unit
        pitch, left = 4 * columns, columns - column
        place = row * pitch + 4 * column
        acc = by(acc, load_i64(record + F.scale) + 4 * column)
        bias, residual = load_i64(record + F.bias), load_i64(record + F.residual)
        if bias != 0:
            acc = add(acc, bias + 4 * column, 0, left)
        if residual != 0:
            acc = add(acc, residual + place, pitch, left)
        low, high = splat_f32(load_f32(record + F.low)), splat_f32(load_f32(record + F.high))
        store(acc, low, high, load_i64(record + F.y) + place, pitch, left)

    return tile


def _up_to(rows: int) -> Any:
    """A function like that of `_tile`, of any height from 1 to `rows`."""
    whole = _tile(rows)
    if rows == 1:
        return whole
    smaller = _up_to(rows - 1)

    @helper
    def chosen(height, record, row, unit):  # type: ignore[no-untyped-def]
        if height == rows:
            whole(height, record, row, unit)
        else:
            smaller(height, record, row, unit)

    return chosen


_any = _up_to(ROWS)


def matvec_fanin(record, chunk, scratch):  # type: ignore[no-untyped-def]
    """A chunk is a range of lines of 16 outputs. The rows of x pass, a tile at a time, while a line is near."""
    rows = present_rows(record + F.rows_at, record + F.rows)
    units = udiv(load_i32(record + F.columns) + 15, 16)
    for unit in range(share(record, units, chunk), share(record, units, chunk + 1)):
        row = 0
        while row < rows:
            height = min(ROWS, rows - row)
            _any(height, record, row, unit)
            row += height
