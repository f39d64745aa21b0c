"""Fully connected layers on bytes: y = requantize(x w + bias), weights in lines of 16 columns x 4 k (n16k4).

One line is one vector of dot products at 512 bits; the four bytes of x are broadcast. Zero points are folded into
the bias. x is rows of bytes, or one pixel of k4p, whose groups of four are x_step = 64 bytes apart.
"""

from __future__ import annotations

from edgert.kernels_cpu.registry import record_fields
from edgert.kernels_cpu.simd import (
    REGISTERS,
    VECTOR_BYTES,
    helper,
    i32v,
    load_i32,
    load_i64,
    panel_init,
    panel_step_q8,
    panel_store_q8,
    splat_i8,
    splat_i16,
    udiv,
)  # fmt: skip

F = record_fields("gemm_q8_n16k4")
LINES = max(VECTOR_BYTES // 16, 1)
"""Lines of 16 columns in the widest tile: four vectors."""
BLOCK = 64 // VECTOR_BYTES
"""Vectors of one line."""
ROWS = 4 if REGISTERS == 32 or VECTOR_BYTES == 32 else 2
"""Rows of the tallest tile."""
TALL_LINES = LINES if REGISTERS == 32 else 1
"""Lines of the tallest tile: accumulators, lines and x fit the registers."""


def _tile(rows, lines):  # type: ignore[no-untyped-def]
    """A function computing `rows` rows of x against `lines` lines of columns."""
    vectors = lines * BLOCK
    init, step, store = panel_init(i32v, rows, vectors), panel_step_q8(rows, vectors), panel_store_q8(rows, vectors)

    @helper
    def tile(record, x, w, block, column, y, count):  # type: ignore[no-untyped-def]
        x_row, x_step = load_i32(record + F.x_row), load_i32(record + F.x_step)
        flip = splat_i8(load_i32(record + F.x_flip))
        acc = init(load_i64(record + F.bias) + 4 * column)
        for k in range(load_i32(record + F.steps)):
            acc = step(acc, x + k * x_step, x_row, w + 64 * k, block, flip)
        scale = load_i64(record + F.scale) + 4 * column
        zero_point = splat_i16(load_i32(record + F.zero_point))
        low, high = splat_i8(load_i32(record + F.low)), splat_i8(load_i32(record + F.high))
        y_flip, y_row = splat_i8(load_i32(record + F.y_flip)), load_i32(record + F.y_row)
        store(acc, scale, zero_point, low, high, y_flip, y, y_row, min(count, 16 * lines))

    return tile


_wide, _single, _tall, _tall_single = _tile(1, LINES), _tile(1, 1), _tile(ROWS, TALL_LINES), _tile(ROWS, 1)


def gemm_q8(record, chunk, scratch):  # type: ignore[no-untyped-def]
    """A chunk is a range of rows and a range of lines of 16 columns. Lines are the outer loop: their weights stay
    in cache while all rows pass."""
    column_parts, row_parts = load_i32(record + F.column_parts), load_i32(record + F.row_parts)
    rows, columns, steps = load_i32(record + F.rows), load_i32(record + F.columns), load_i32(record + F.steps)
    row_part = udiv(chunk, column_parts)
    column_part = chunk - row_part * column_parts
    first, last = udiv(rows * row_part, row_parts), udiv(rows * (row_part + 1), row_parts)
    blocks, block = udiv(columns + 15, 16), 64 * steps
    line, end = udiv(blocks * column_part, column_parts), udiv(blocks * (column_part + 1), column_parts)
    x, y, y_row = load_i64(record + F.x), load_i64(record + F.y), load_i32(record + F.y_row)
    x_row, w = load_i32(record + F.x_row), load_i64(record + F.w)
    while line < end:
        row = first
        step = TALL_LINES if end - line >= TALL_LINES else 1
        if last - first < ROWS:
            step = LINES if end - line >= LINES else 1
        at, column = w + line * block, 16 * line
        count = columns - column
        while last - row >= ROWS:
            if step == TALL_LINES:
                _tall(record, x + row * x_row, at, block, column, y + row * y_row + column, count)
            else:
                _tall_single(record, x + row * x_row, at, block, column, y + row * y_row + column, count)
            row += ROWS
        while row < last:
            if step == LINES:
                _wide(record, x + row * x_row, at, block, column, y + row * y_row + column, count)
            else:
                _single(record, x + row * x_row, at, block, column, y + row * y_row + column, count)
            row += 1
        line += step
