"""Tiles of the int8 convolutions with pixels as vectors: where their vectors lie, rows narrower than one, residuals.

What four output channels of a tile take is each kernel's own: conv2d_q8.py, and sparse.py for those that skip zeros.
"""

from __future__ import annotations

from edgert.kernels_cpu.conv.tiling import all_tiles, row_geometry, row_of
from edgert.kernels_cpu.simd import (
    VECTOR_BYTES,
    helper,
    load_f32,
    load_i32,
    load_i64,
    row_addresses,
    splat_f32,
    splat_i8,
    splat_i16,
    splat_i32,
    store_i32,
)  # fmt: skip

AHEAD = 2048
"""Bytes that weights are fetched ahead: they stream from memory once per inference, and prefetchers stop at pages."""


@helper
def _as_it_lies(own, inputs, aside):  # type: ignore[no-untyped-def]
    pass


def _in_place(columns):  # type: ignore[no-untyped-def]
    return _as_it_lies


def byte_tiles(fields, operands, four, wide, gather=_in_place):  # type: ignore[no-untyped-def]
    """A function `run(record, part, n0, n1, scratch)`: output channels 4 n0 to 4 n1 of the pixel vectors of `part`, in
    tiles of at most `wide` vectors. scratch: a vector for each of them, and what `four` and `gather` use as `aside`.

    fields: those of the kernel's record. operands(record): what `four` needs of it, a tuple, read once per tile.
    four(columns) makes a function that computes and stores four channels of `columns` vectors:
    four(own, n, inputs, zero_point, low, high, outputs, plane, aside, adds, skips, residual_zero, residual_scale),
    with that tuple, the channels' number, and the arguments of tile_store_q8, plane being its offset. aside: scratch
    after those vectors; adds: whether there is a residual. gather(columns) makes a function that runs once per tile,
    before any `four`: gather(own, inputs, aside), for those that first copy the tile's input."""

    def make(columns):  # type: ignore[no-untyped-def]
        return _tile(fields, operands, columns, four(columns), gather(columns))

    tiles = all_tiles(make, wide)

    @helper
    def run(record, part, n0, n1, scratch):  # type: ignore[no-untyped-def]
        image, v, last = row_geometry(part, load_i32(record + fields.parts), load_i32(record + fields.vectors))
        x = load_i64(record + fields.x) + image * load_i32(record + fields.x_batch)
        y = load_i64(record + fields.y) + image * load_i32(record + fields.y_batch)
        residual = load_i64(record + fields.residual)
        if residual != 0:
            residual += image * load_i32(record + fields.y_batch)
        tiles(record, v, last, n0, n1, x, y, residual, scratch)

    return run


def _tile(fields, operands, columns, four, gather):  # type: ignore[no-untyped-def]
    """A function that computes `columns` pixel vectors of output channels 4 n0 to 4 n1."""
    addresses = row_addresses(columns)

    @helper
    def tile(record, v, n0, n1, x, y, residual, scratch):  # type: ignore[no-untyped-def]
        own = operands(record)
        per_row, row_last = load_i32(record + fields.per_row), load_i32(record + fields.row_last)
        row_bytes, y_plane = load_i32(record + fields.row_bytes), load_i32(record + fields.y_plane)
        zero_point = splat_i16(load_i32(record + fields.zero_point))
        low, high = splat_i8(load_i32(record + fields.low)), splat_i8(load_i32(record + fields.high))
        residual_zero = splat_i32(load_i32(record + fields.residual_zero))
        residual_scale = splat_f32(load_f32(record + fields.residual_scale))
        row, place = row_of(v, per_row)
        inputs = addresses(x, row, place, per_row, VECTOR_BYTES, row_last, load_i32(record + fields.x_pitch))
        skips = addresses(residual, row, place, per_row, VECTOR_BYTES, row_last, row_bytes)
        outputs = addresses(y, row, place, per_row, VECTOR_BYTES, row_last, row_bytes)
        narrow, adds, aside = row_bytes < VECTOR_BYTES, residual != 0, scratch + VECTOR_BYTES * columns
        gather(own, inputs, aside)
        for n in range(n0, n1):
            plane = n * y_plane
            if narrow:  # a vector would run into the next row: store in scratch, then copy what belongs
                outputs = addresses(scratch - plane, 0, 0, columns, VECTOR_BYTES, VECTOR_BYTES * columns, 0)
            four(
                own, n, inputs, zero_point, low, high, outputs, plane, aside, adds, skips, residual_zero, residual_scale
            )  # fmt: skip
            if narrow:
                for t in range(columns):
                    target, source = y + plane + (v + t) * row_bytes, scratch + VECTOR_BYTES * t
                    for k in range(0, row_bytes, 4):
                        store_i32(target + k, load_i32(source + k))

    return tile
