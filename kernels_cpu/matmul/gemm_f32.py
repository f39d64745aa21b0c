"""Matrix products of floats: y = clamp(x w + bias + residual), columns as vectors.

w is lines of 16 columns: packed weights (n16k1: w_step = 64, w_block = 64 k), or the rows of a row-major matrix
(w_step = its row, w_block = 64), which need no packing. Batches have their own strides, 0 where one repeats.
"""

from __future__ import annotations

from edgert.kernels_cpu.registry import record_fields
from edgert.kernels_cpu.simd import (
    REGISTERS,
    VECTOR_BYTES,
    f32v,
    helper,
    load_f32,
    load_i32,
    load_i64,
    panel_init,
    panel_step_f32,
    panel_store_f32,
    splat_f32,
    udiv,
)  # fmt: skip
from edgert.kernels_cpu.simd.residual import panel_add_f32
from edgert.kernels_cpu.simd.rows import present_rows

F = record_fields("gemm_f32_n16k1")
LINES = max(VECTOR_BYTES // 16, 1)
"""Lines of 16 columns in the widest tile: four vectors."""
BLOCK = 64 // VECTOR_BYTES
"""Vectors of one line."""
ROWS = 6 if REGISTERS == 32 or VECTOR_BYTES == 32 else 2
"""Rows of the tallest tile."""
TALL_LINES = LINES if REGISTERS == 32 else 1
"""Lines of the tallest tile: accumulators, lines and x fit the registers."""


def _tile(rows, lines):  # type: ignore[no-untyped-def]
    """A function computing `rows` rows of x against `lines` lines of columns, to `place` bytes into y."""
    vectors = lines * BLOCK
    init, step, store = panel_init(f32v, rows, vectors), panel_step_f32(rows, vectors), panel_store_f32(rows, vectors)
    add = panel_add_f32(rows, vectors)

    @helper
    def tile(record, x, w, column, y, place, count):  # type: ignore[no-untyped-def]
        x_row, w_step = load_i32(record + F.x_row), load_i32(record + F.w_step)
        block, y_row = load_i32(record + F.w_block), load_i32(record + F.y_row)
        acc = init(load_i64(record + F.bias) + 4 * column)
        for k in range(load_i32(record + F.steps)):
            acc = step(acc, x + 4 * k, x_row, w + k * w_step, block)
        residual = load_i64(record + F.residual)
        if residual != 0:
            acc = add(acc, residual + place, y_row)
        low, high = splat_f32(load_f32(record + F.low)), splat_f32(load_f32(record + F.high))
        store(acc, low, high, y + place, y_row, count)

    return tile


_wide, _single, _tall, _tall_single = _tile(1, LINES), _tile(1, 1), _tile(ROWS, TALL_LINES), _tile(ROWS, 1)


def gemm_f32(record, chunk, scratch):  # type: ignore[no-untyped-def]
    """A chunk is a range of rows and a range of lines of 16 columns of one matrix of the batch. Lines are the outer
    loop: their weights stay in cache while all rows pass."""
    column_parts, row_parts = load_i32(record + F.column_parts), load_i32(record + F.row_parts)
    rows, columns = present_rows(record + F.rows_at, record + F.rows), load_i32(record + F.columns)
    part = udiv(chunk, column_parts)
    column_part = chunk - part * column_parts
    matrix = udiv(part, row_parts)
    row_part = part - matrix * row_parts
    first, last = udiv(rows * row_part, row_parts), udiv(rows * (row_part + 1), row_parts)
    blocks = udiv(columns + 15, 16)
    line, end = udiv(blocks * column_part, column_parts), udiv(blocks * (column_part + 1), column_parts)
    x = load_i64(record + F.x) + matrix * load_i32(record + F.x_batch)
    w = load_i64(record + F.w) + matrix * load_i32(record + F.w_batch)
    y = load_i64(record + F.y) + matrix * load_i32(record + F.y_batch)
    x_row, y_row, block = load_i32(record + F.x_row), load_i32(record + F.y_row), load_i32(record + F.w_block)
    while line < end:
        row = first
        step = TALL_LINES if end - line >= TALL_LINES else 1
        if last - first < ROWS:
            step = LINES if end - line >= LINES else 1
        at, column = w + line * block, 16 * line
        count = columns - column
        while last - row >= ROWS:
            if step == TALL_LINES:
                _tall(record, x + row * x_row, at, column, y, row * y_row + 4 * column, count)
            else:
                _tall_single(record, x + row * x_row, at, column, y, row * y_row + 4 * column, count)
            row += ROWS
        while row < last:
            if step == LINES:
                _wide(record, x + row * x_row, at, column, y, row * y_row + 4 * column, count)
            else:
                _single(record, x + row * x_row, at, column, y, row * y_row + 4 * column, count)
            row += 1
        line += step
