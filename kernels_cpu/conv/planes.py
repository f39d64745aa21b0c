"""Padding and phase split: what a k x k or strided convolution reads, with its border in place.

The input plane [H][W] of 4-byte cells (a float, or a pixel of 4 bytes) becomes stride x stride phase planes
[rows][columns]: phase (i, j) holds the padded input's rows i, i + s, ... and columns j, j + s, ...
Every filter tap then is a plain offset into one phase, whatever the stride and dilation.
"""

from __future__ import annotations

from edgert.kernels_cpu.conv.rows import body_cells, head_cells, padded_row, padded_row_exact, row_masks
from edgert.kernels_cpu.registry import record_fields
from edgert.kernels_cpu.simd import VECTOR_BYTES, load_i32, load_i64

F = record_fields("planes_x4")


def planes_x4(record, chunk, scratch):  # type: ignore[no-untyped-def]
    """A chunk is one channel plane of one image. border: the 32-bit cell that padding holds.
    scratch: a row of masks, 4 * columns bytes and a vector."""
    height, width, top = load_i32(record + F.height), load_i32(record + F.width), load_i32(record + F.top)
    left, stride_h, stride_w = (
        load_i32(record + F.left),
        load_i32(record + F.stride_h),
        load_i32(record + F.stride_w),
    )
    rows, columns, border = (
        load_i32(record + F.rows),
        load_i32(record + F.columns),
        load_i32(record + F.border),
    )
    x = load_i64(record + F.x) + chunk * load_i32(record + F.x_plane)
    y = load_i64(record + F.y) + chunk * load_i32(record + F.y_plane)
    end = y + load_i32(record + F.y_plane)
    for i in range(stride_h):
        for j in range(stride_w):
            head = head_cells(left, stride_w, j, columns)
            body = body_cells(head, left, stride_w, j, width, columns)
            row_masks(scratch, head, body, columns)
            start = x + 4 * (j - left)
            for r in range(rows):
                row = r * stride_h + i - top
                inside, source = row >= 0 and row < height, start + 4 * row * width
                # rows of other strides, and those behind which another chunk may be writing
                if stride_w > 2 or end - y < 4 * columns + VECTOR_BYTES:
                    padded_row_exact(y, source, inside, head, body, stride_w, columns, border)
                else:
                    padded_row(y, source, inside, scratch, stride_w, columns, border)
                y += 4 * columns
