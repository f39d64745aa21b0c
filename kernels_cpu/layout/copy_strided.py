"""Copies elements over up to 8 axes with any strides on both sides.

Transpose, Slice, Expand, Tile, Concat, Split and plane copies between row and kp are all this, with strides (in
bytes) chosen by the lowering; axes that are contiguous together are merged there.
"""

from __future__ import annotations

from edgert.kernels_cpu.registry import record_fields
from edgert.kernels_cpu.simd import (
    VECTOR_BYTES,
    helper,
    load_i8,
    load_i8v,
    load_i16,
    load_i32,
    load_i64,
    share,
    store_i8,
    store_i8v,
    store_i16,
    store_i32,
    store_i64,
    udiv,
)  # fmt: skip

F = record_fields("copy_strided_row")


@helper
def copy_elements(x, x_stride, y, y_stride, size, element):  # type: ignore[no-untyped-def]
    if element == 4:
        for i in range(size):
            store_i32(y + i * y_stride, load_i32(x + i * x_stride))
    elif element == 1:
        for i in range(size):
            store_i8(y + i * y_stride, load_i8(x + i * x_stride))
    elif element == 8:
        for i in range(size):
            store_i64(y + i * y_stride, load_i64(x + i * x_stride))
    else:
        for i in range(size):
            store_i16(y + i * y_stride, load_i16(x + i * x_stride))


@helper
def copy_run(x, y, nbytes):  # type: ignore[no-untyped-def]
    """At least VECTOR_BYTES bytes: the last vector overlaps the one before."""
    end = nbytes - VECTOR_BYTES
    for i in range(0, end, VECTOR_BYTES):
        store_i8v(y + i, load_i8v(x + i))
    store_i8v(y + end, load_i8v(x + end))


def copy_strided(record, chunk, scratch):  # type: ignore[no-untyped-def]
    """A chunk is a range of the innermost rows, counted over all other axes."""
    element, size = load_i32(record + F.element), load_i32(record + F.size7)
    x_step, y_step = load_i32(record + F.x_stride7), load_i32(record + F.y_stride7)
    run = size * element if x_step == element and y_step == element else 0
    rows = load_i32(record + F.size6)
    units = rows
    for axis in range(6):
        units *= load_i32(record + F.size0 + 4 * axis)
    i, last = share(record, units, chunk), share(record, units, chunk + 1)
    while i < last:
        rest = udiv(i, rows)
        row = i - rest * rows
        stop = min(rows, row + last - i)
        x, y = load_i64(record + F.x), load_i64(record + F.y)
        for axis in range(5, -1, -1):
            n = load_i32(record + F.size0 + 4 * axis)
            outer = udiv(rest, n)
            x += (rest - outer * n) * load_i32(record + F.x_stride0 + 4 * axis)
            y += (rest - outer * n) * load_i32(record + F.y_stride0 + 4 * axis)
            rest = outer
        for r in range(row, stop):
            xr, yr = x + r * load_i32(record + F.x_stride6), y + r * load_i32(record + F.y_stride6)
            if run >= VECTOR_BYTES:
                copy_run(xr, yr, run)
            else:
                copy_elements(xr, x_step, yr, y_step, size, element)
        i += stop - row
