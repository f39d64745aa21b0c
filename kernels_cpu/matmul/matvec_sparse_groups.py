"""A few rows of int8 in groups (g32) against 4-bit groups of which some are kept: y = clamp(x w + bias + residual).

group4 keeps 16 of every 32 rows of a group, rowgroup4 any of 16. Where all groups are kept is matvec_groups.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from edgert.kernels_cpu.registry import record_fields
from edgert.kernels_cpu.simd import (
    REGISTERS,
    VECTOR_BYTES,
    helper,
    load_f32,
    load_i32,
    load_i64,
    load_u32,
    panel_store_f32,
    prefetch,
    share,
    splat_f32,
    store_i64,
    udiv,
)  # fmt: skip
from edgert.kernels_cpu.simd.groups import Q4, VECTORS
from edgert.kernels_cpu.simd.panel_sums import row_starts, sums_add, sums_zero
from edgert.kernels_cpu.simd.rows import present_rows
from edgert.kernels_cpu.simd.sparse_groups import HALVES, balanced_step, ragged_step
from edgert.kernels_cpu.simd.spread import popcount

F, G = record_fields("matvec_group4_n32k64"), record_fields("matvec_rowgroup4_n16k64")
"""They differ after the operand rows_at only."""
BALANCED_ROWS = {64: 4, 32: 1}.get(VECTOR_BYTES, 2)
RAGGED_ROWS = 4 if REGISTERS == 32 else 2
"""Of the largest tile: so many share what is made of a line of weights, while their sums stay in registers."""
AHEAD = 6144
"""Bytes of prefetch, of one stream."""
BEYOND = 64
"""So much may be read behind a block of rowgroup4."""
BLOCK, WORDS, FACTORS = Q4.nbytes, Q4.factors // 2, (Q4.nbytes - Q4.factors) // 2
"""Bytes of a block of q4, of the words of a group, and of its scales."""


def _finish(rows: int, vectors: int) -> Any:
    """A function that adds bias and residual to the sums of a tile and stores them, from `column` on."""
    add, store = sums_add(rows, vectors), panel_store_f32(rows, vectors)

    @helper
    def finish(record, acc, row, column):  # type: ignore[no-untyped-def]
        columns = load_i32(record + F.columns)
        pitch, count = 4 * columns, columns - column
        place = row * pitch + 4 * column
        bias, residual = load_i64(record + F.bias), load_i64(record + F.residual)
        if bias != 0:
            acc = add(acc, bias + 4 * column, 0, count)
        if residual != 0:
            acc = add(acc, residual + place, pitch, count)
        low, high = splat_f32(load_f32(record + F.low)), splat_f32(load_f32(record + F.high))
        store(acc, low, high, load_i64(record + F.y) + place, pitch, count)

    return finish


def _balanced(rows: int) -> Any:
    """A function: `rows` rows of x and y from `row` on times block `unit` of 32 rows of group4."""
    vectors = HALVES * VECTORS
    step, starts, zero = balanced_step(rows), row_starts(rows), sums_zero(rows, vectors)
    finish = _finish(rows, vectors)

    @helper
    def block(acc, x, value, scale, total, masks, w):  # type: ignore[no-untyped-def]
        factors = w + 2 * WORDS
        acc = step(acc, x, value, scale, total, load_u32(masks), w, factors)
        return step(acc, x, value + 32, scale + 4, total + 4, load_u32(masks + 4), w + WORDS, factors + FACTORS)

    @helper
    def tile(height, record, row, unit, scratch):  # type: ignore[no-untyped-def]
        blocks, terms = load_i32(record + F.blocks), load_i32(record + F.terms)
        stride, second = 80 * terms * blocks, 80 * blocks
        x = starts(load_i64(record + F.x) + row * stride, stride)
        w = load_i64(record + F.w) + unit * blocks * BLOCK
        masks = load_i64(record + F.mask) + unit * blocks * 8
        acc = zero()
        for i in range(blocks):
            for line in range(0, BLOCK, 64):
                prefetch(w + AHEAD + line)
            value, scale, total = 64 * i, 64 * blocks + 8 * i, 72 * blocks + 8 * i
            acc = block(acc, x, value, scale, total, masks, w)
            if terms == 2:
                acc = block(acc, x, second + value, second + scale, second + total, masks, w)
            w, masks = w + BLOCK, masks + 8
        finish(record, acc, row, 32 * unit)

    return tile


@helper
def readable(block, size, end, scratch):  # type: ignore[no-untyped-def]
    """Where the block, of `size` bytes, may be read BEYOND: in place unless the weights end before; then a copy."""
    if block + size + BEYOND <= end:
        return block
    for i in range(0, size, 8):
        store_i64(scratch + i, load_i64(block + i))
    return scratch


def _ragged(rows: int) -> Any:
    """A function: `rows` rows of x and y from `row` on times row `unit` of blocks of rowgroup4."""
    step, starts, zero, finish = ragged_step(rows), row_starts(rows), sums_zero(rows, VECTORS), _finish(rows, VECTORS)

    @helper
    def block(acc, x, value, scale, total, first, second, words, factors):  # type: ignore[no-untyped-def]
        count = popcount(first)
        # groups that no row has are met as well: rare, and asking would cost all others a third
        acc = step(acc, x, value, scale, total, first, words, factors)
        return step(acc, x, value + 32, scale + 4, total + 4, second, words + 16 * count, factors + 2 * count)

    @helper
    def tile(height, record, row, unit, scratch):  # type: ignore[no-untyped-def]
        blocks, terms = load_i32(record + G.blocks), load_i32(record + G.terms)
        stride, again = 80 * terms * blocks, 80 * blocks
        x = starts(load_i64(record + G.x) + row * stride, stride)
        weights, start = load_i64(record + G.w), load_i64(record + G.start)
        units = udiv(load_i32(record + G.columns) + 15, 16)
        w, end = weights + 8 * load_u32(start + 4 * unit), weights + 8 * load_u32(start + 4 * units)
        acc = zero()
        for i in range(blocks):
            masks = load_u32(w)
            kept = popcount(masks)
            size = (8 + 18 * kept + 7) & -8
            for line in range(0, 320, 64):
                prefetch(w + AHEAD + line)
            if kept > 16:
                for line in range(320, 640, 64):
                    prefetch(w + AHEAD + line)
            at = readable(w, size, end, scratch)
            first, second, words, factors = masks & 0xFFFF, masks >> 16, at + 8, at + 8 + 16 * kept
            value, scale, total = 64 * i, 64 * blocks + 8 * i, 72 * blocks + 8 * i
            acc = block(acc, x, value, scale, total, first, second, words, factors)
            if terms == 2:
                acc = block(
                    acc, x, again + value, again + scale, again + total, first, second, words, factors
                )  # fmt: skip
            w += size
        finish(record, acc, row, 16 * unit)

    return tile


def _up_to(tile_of: Callable[[int], Any], rows: int) -> Any:
    """A function like that of `tile_of`, of any height from 1 to `rows`."""
    whole = tile_of(rows)
    if rows == 1:
        return whole
    smaller = _up_to(tile_of, rows - 1)

    @helper
    def chosen(height, record, row, unit, scratch):  # type: ignore[no-untyped-def]
        if height == rows:
            whole(height, record, row, unit, scratch)
        else:
            smaller(height, record, row, unit, scratch)

    return chosen


def _unit(tile_of: Callable[[int], Any], most: int) -> Any:
    """A function: all rows of x, a tile at a time, while the weights of a unit are near."""
    tile = _up_to(tile_of, most)

    @helper
    def unit_(record, rows, unit, scratch):  # type: ignore[no-untyped-def]
        row = 0
        while row < rows:
            height = min(most, rows - row)
            tile(height, record, row, unit, scratch)
            row += height

    return unit_


_balanced_unit, _ragged_unit = _unit(_balanced, BALANCED_ROWS), _unit(_ragged, RAGGED_ROWS)


def matvec_group4(record, chunk, scratch):  # type: ignore[no-untyped-def]
    """A chunk is a range of blocks of 32 rows of w."""
    rows = present_rows(record + F.rows_at, record + F.rows)
    units = udiv(load_i32(record + F.columns) + 31, 32)
    for unit in range(share(record, units, chunk), share(record, units, chunk + 1)):
        _balanced_unit(record, rows, unit, scratch)


def matvec_rowgroup4(record, chunk, scratch):  # type: ignore[no-untyped-def]
    """A chunk is a range of blocks of 16 rows of w: bounds[chunk] .. bounds[chunk + 1] - 1."""
    rows = present_rows(record + G.rows_at, record + G.rows)
    bounds = load_i64(record + G.bounds) + 4 * chunk
    for unit in range(load_u32(bounds), load_u32(bounds + 4)):
        _ragged_unit(record, rows, unit, scratch)
