"""Rows with their border in place: what depthwise kernels put into scratch before they compute."""

from __future__ import annotations

from edgert.kernels_cpu.simd import (
    VECTOR_BYTES,
    helper,
    load_i32,
    load_i32v,
    splat_i32,
    store_i32,
    store_i32v,
)

LANES = VECTOR_BYTES // 4


@helper
def fill_cells(target, count, border):  # type: ignore[no-untyped-def]
    """`count` 4-byte cells of `border`."""
    blank = splat_i32(border)
    c = 0
    while c + LANES <= count:
        store_i32v(target + 4 * c, blank)
        c += LANES
    while c < count:
        store_i32(target + 4 * c, border)
        c += 1


@helper
def copy_cells(target, source, count):  # type: ignore[no-untyped-def]
    """`count` 4-byte cells."""
    c = 0
    while c + LANES <= count:
        store_i32v(target + 4 * c, load_i32v(source + 4 * c))
        c += LANES
    while c < count:
        store_i32(target + 4 * c, load_i32(source + 4 * c))
        c += 1


@helper
def gather_cells(target, source, count, step):  # type: ignore[no-untyped-def]
    """`count` 4-byte cells, `step` bytes apart at the source."""
    for c in range(count):
        store_i32(target + 4 * c, load_i32(source))
        source += step


@helper
def padded_row(target, source, inside, left, stride, phase, width, columns, border):  # type: ignore[no-untyped-def]
    """Row `source` of `width` cells, padded by `left`, as `columns` cells phase, phase + stride, ... of the padded
    row; all border when not `inside`. The cells after the input are border."""
    if not inside:
        fill_cells(target, columns, border)
        return
    head = 0  # cells that lie in the left padding
    while head < columns and head * stride + phase < left:
        head += 1
    body = 0
    if head * stride + phase - left < width:
        body = min(columns - head, (width - 1 - (head * stride + phase - left)) // stride + 1)
    fill_cells(target, head, border)
    start = source + 4 * (head * stride + phase - left)
    if stride == 1:
        copy_cells(target + 4 * head, start, body)
    else:
        gather_cells(target + 4 * head, start, body, 4 * stride)
    fill_cells(target + 4 * (head + body), columns - head - body, border)
