"""How convolution kernels cut an image into chunks and rows. Shared by the conv sources."""

from __future__ import annotations

from edgert.kernels_cpu.simd import helper, udiv


@helper
def row_geometry(chunk, parts, total):  # type: ignore[no-untyped-def]
    """(image, first, last): chunk number -> image, and its share [first, last) of `total` items cut in `parts`."""
    image = udiv(chunk, parts)
    part = chunk - image * parts
    return image, udiv(total * part, parts), udiv(total * (part + 1), parts)


@helper
def row_of(v, per_row):  # type: ignore[no-untyped-def]
    """(row, place) of vector v. The division is avoided where rows have one vector, or there is one row."""
    if per_row == 1:
        return v, 0
    if v < per_row:
        return 0, v
    row = udiv(v, per_row)
    return row, v - row * per_row
