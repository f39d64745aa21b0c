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
    dispatch = _dispatcher(make, wide)

    @helper
    def run(record, v, last, n0, n1, x, y, residual, scratch):  # type: ignore[no-untyped-def]
        left = udiv(last - v + wide - 1, wide)
        while left > 0:
            columns = udiv(last - v + left - 1, left)
            dispatch(columns, record, v, n0, n1, x, y, residual, scratch)
            v += columns
            left -= 1

    return run


def _dispatcher(make, wide):  # type: ignore[no-untyped-def]
    """A function that runs the tile `make(columns)` for any 1 <= columns <= wide, wide one of 2, 3, 6."""
    one, two = make(1), make(2)
    if wide == 2:

        @helper
        def up_to_two(columns, record, v, n0, n1, x, y, residual, scratch):  # type: ignore[no-untyped-def]
            if columns == 2:
                two(record, v, n0, n1, x, y, residual, scratch)
            else:
                one(record, v, n0, n1, x, y, residual, scratch)

        return up_to_two
    three = make(3)

    @helper
    def up_to_three(columns, record, v, n0, n1, x, y, residual, scratch):  # type: ignore[no-untyped-def]
        if columns == 3:
            three(record, v, n0, n1, x, y, residual, scratch)
        elif columns == 2:
            two(record, v, n0, n1, x, y, residual, scratch)
        else:
            one(record, v, n0, n1, x, y, residual, scratch)

    if wide == 3:
        return up_to_three
    four, five, six = make(4), make(5), make(6)

    @helper
    def up_to_six(columns, record, v, n0, n1, x, y, residual, scratch):  # type: ignore[no-untyped-def]
        if columns == 6:
            six(record, v, n0, n1, x, y, residual, scratch)
        elif columns == 5:
            five(record, v, n0, n1, x, y, residual, scratch)
        elif columns == 4:
            four(record, v, n0, n1, x, y, residual, scratch)
        else:
            up_to_three(columns, record, v, n0, n1, x, y, residual, scratch)

    return up_to_six
