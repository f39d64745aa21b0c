"""Rows of 4-byte cells with their border in place: what convolutions read instead of the bare input.

Rows are written with whole vectors that may run past the row's end: the next row is written after it. The last row
of a region that others may be writing behind is written exactly.
"""

from __future__ import annotations

from edgert.kernels_cpu.simd import (
    VECTOR_BYTES, deinterleave_even, helper, load_i32, load_i32v, splat_i32, store_i32, store_i32v, udiv,
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
def padded_row(target, source, inside, head, body, stride, columns, border):  # type: ignore[no-untyped-def]
    """`columns` cells: `head` of border, `body` from `source` on (`stride` cells apart), then border; all border
    when not `inside`. May write up to a vector past the row and read two past the input's row."""
    blank = splat_i32(border)
    if not inside:
        for c in range(0, columns, LANES):
            store_i32v(target + 4 * c, blank)
        return
    for c in range(0, head, LANES):
        store_i32v(target + 4 * c, blank)
    if stride == 1:
        for c in range(0, body, LANES):
            store_i32v(target + 4 * (head + c), load_i32v(source + 4 * c))
    elif stride == 2:
        for c in range(0, body, LANES):
            low, high = load_i32v(source + 8 * c), load_i32v(source + 8 * c + VECTOR_BYTES)
            store_i32v(target + 4 * (head + c), deinterleave_even(low, high))
    else:
        for c in range(body):
            store_i32(target + 4 * (head + c), load_i32(source + 4 * stride * c))
    for c in range(head + body, columns, LANES):
        store_i32v(target + 4 * c, blank)


@helper
def padded_row_exact(target, source, inside, head, body, stride, columns, border):  # type: ignore[no-untyped-def]
    """As padded_row, cell by cell, nothing past the row."""
    for c in range(columns):
        value = border
        if inside and c >= head and c < head + body:
            value = load_i32(source + 4 * stride * (c - head))
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
