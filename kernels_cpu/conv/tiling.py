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


def all_tiles(make, wide):  # type: ignore[no-untyped-def]
    """A function that cuts pixel vectors [v, last) into tiles of at most `wide`, as equal as can be, and runs each."""
    dispatch = _dispatcher(make, 1, wide)

    @helper
    def run(record, v, last, n0, n1, x, y, residual, scratch):  # type: ignore[no-untyped-def]
        left = udiv(last - v + wide - 1, wide)
        while left > 0:
            columns = udiv(last - v + left - 1, left)
            dispatch(columns, record, v, n0, n1, x, y, residual, scratch)
            v += columns
            left -= 1

    return run


def _dispatcher(make, least, most):  # type: ignore[no-untyped-def]
    """A function that runs the tile `make(columns)` for any least <= columns <= most, found by halving."""
    if least == most:
        tile = make(least)

        @helper
        def only(columns, record, v, n0, n1, x, y, residual, scratch):  # type: ignore[no-untyped-def]
            tile(record, v, n0, n1, x, y, residual, scratch)

        return only
    middle = (least + most) // 2
    narrow, wide = _dispatcher(make, least, middle), _dispatcher(make, middle + 1, most)

    @helper
    def either(columns, record, v, n0, n1, x, y, residual, scratch):  # type: ignore[no-untyped-def]
        if columns <= middle:
            narrow(columns, record, v, n0, n1, x, y, residual, scratch)
        else:
            wide(columns, record, v, n0, n1, x, y, residual, scratch)

    return either
