"""Rows of 4-byte cells with their border in place: what convolutions read instead of the bare input.

Rows are written with whole vectors that may run past the row's end: the next row is written after it. The last row
of a region that others may be writing behind is written exactly.
"""

from __future__ import annotations

from edgert.kernels_cpu.simd import (
    VECTOR_BYTES,
    deinterleave_even,
    deinterleave_odd,
    helper,
    iota_i32,
    load_i32,
    load_i32v,
    select_gt,
    splat_i32,
    store_i32,
    store_i32v,
    udiv,
)  # fmt: skip

LANES = VECTOR_BYTES // 4


@helper
def head_cells(left, stride, phase, columns):  # type: ignore[no-untyped-def]
    """How many cells phase, phase + stride, ... of a row padded by `left` lie in the left padding."""
    head = 0 if left <= phase else udiv(left - phase + stride - 1, stride)
    return min(head, columns)


@helper
def body_cells(head, left, stride, phase, width, columns):  # type: ignore[no-untyped-def]
    """How many cells after the head come from the input of `width` cells."""
    first = head * stride + phase - left
    if first >= width:
        return 0
    return min(columns - head, udiv(width - 1 - first, stride) + 1)


@helper
def row_masks(masks, head, body, columns):  # type: ignore[no-untyped-def]
    """For every vector of a row of `columns` cells: all ones where the cell comes from the input, else zero."""
    ones, zeros = splat_i32(-1), splat_i32(0)
    before, end = splat_i32(head - 1), splat_i32(head + body)
    for c in range(0, columns, LANES):
        cell = iota_i32() + splat_i32(c)
        store_i32v(masks + 4 * c, select_gt(cell, before, ones, zeros) & select_gt(end, cell, ones, zeros))


@helper
def padded_row(target, source, inside, masks, stride, columns, border):  # type: ignore[no-untyped-def]
    """`columns` cells: the input's where the masks say so, else border; all border when not `inside`.

    source: where cell 0 would be, were the input that wide; its cells are `stride` (1 or 2) apart. Reads up to the
    border's width outside the input, writes up to a vector past the row.
    """
    blank = splat_i32(border)
    if not inside:
        for c in range(0, columns, LANES):
            store_i32v(target + 4 * c, blank)
    elif stride == 1:
        for c in range(0, columns, LANES):
            cells = load_i32v(source + 4 * c)
            store_i32v(target + 4 * c, blank ^ ((blank ^ cells) & load_i32v(masks + 4 * c)))
    else:
        for c in range(0, columns, LANES):
            cells = deinterleave_even(load_i32v(source + 8 * c), load_i32v(source + 8 * c + VECTOR_BYTES))
            store_i32v(target + 4 * c, blank ^ ((blank ^ cells) & load_i32v(masks + 4 * c)))


@helper
def bordered_row(target, source, inside, head, body, columns, border):  # type: ignore[no-untyped-def]
    """As padded_row at stride 1, for vectors of 16 bytes and without masks: the input is copied 16 cells at a time,
    then the border laid over what was too much. Writes up to 60 bytes past the row."""
    blank, end = splat_i32(border), 0
    if inside:
        end = head + body
        for c in range(0, end, 4 * LANES):
            place, cells = target + 4 * c, source + 4 * c
            first, second = load_i32v(cells), load_i32v(cells + VECTOR_BYTES)
            third, fourth = load_i32v(cells + 2 * VECTOR_BYTES), load_i32v(cells + 3 * VECTOR_BYTES)
            store_i32v(place, first)
            store_i32v(place + VECTOR_BYTES, second)
            store_i32v(place + 2 * VECTOR_BYTES, third)
            store_i32v(place + 3 * VECTOR_BYTES, fourth)
        for c in range(head):
            store_i32(target + 4 * c, border)
    for c in range(end, columns, LANES):
        store_i32v(target + 4 * c, blank)


@helper
def padded_row_phases(target, source, inside, masks, columns, border):  # type: ignore[no-untyped-def]
    """Both column phases of a row at stride 2, `columns` cells each, one after the other: as two padded_row, with one
    pass over the input."""
    blank, second = splat_i32(border), 4 * columns
    if not inside:
        for c in range(0, 2 * columns, LANES):
            store_i32v(target + 4 * c, blank)
        return
    for c in range(0, columns, LANES):
        low, high = load_i32v(source + 8 * c), load_i32v(source + 8 * c + VECTOR_BYTES)
        even, odd = deinterleave_even(low, high), deinterleave_odd(low, high)
        place = target + 4 * c
        store_i32v(place, blank ^ ((blank ^ even) & load_i32v(masks + 4 * c)))
        store_i32v(place + second, blank ^ ((blank ^ odd) & load_i32v(masks + second + 4 * c)))


@helper
def padded_row_exact(target, source, inside, head, body, stride, columns, border):  # type: ignore[no-untyped-def]
    """As padded_row, cell by cell: any stride, nothing read or written outside."""
    for c in range(columns):
        value = border
        if inside and c >= head and c < head + body:
            value = load_i32(source + 4 * stride * c)
        store_i32(target + 4 * c, value)


@helper
def copy_cells(target, source, count):  # type: ignore[no-untyped-def]
    """`count` 4-byte cells, exactly."""
    c = 0
    while c + LANES <= count:
        store_i32v(target + 4 * c, load_i32v(source + 4 * c))
        c += LANES
    while c < count:
        store_i32(target + 4 * c, load_i32(source + 4 * c))
        c += 1
