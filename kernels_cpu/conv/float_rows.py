"""How float convolutions end: sums of R output channels x T pixel vectors, activated and stored into channel planes.

Shared by the dense kernel and those that skip zeros.
"""

from __future__ import annotations

from edgert.kernels_cpu.conv.tiling import row_of
from edgert.kernels_cpu.simd import (
    VECTOR_BYTES,
    helper,
    load_f32,
    load_i32,
    load_i64,
    pixel_spill,
    row_addresses,
    splat_f32,
    store_f32,
    store_i32,
    tile_store_f32,
)  # fmt: skip
from edgert.kernels_cpu.simd.tile_bend import tile_add_f32, tile_bend_f32


def row_outputs(F, columns):  # type: ignore[no-untyped-def]
    """A function that gives the addresses where a tile's vectors go, in channel plane 0 of the image at y, or in
    scratch where a vector would run into the next row of pixels. F: the fields of the kernel's record."""
    addresses = row_addresses(columns)

    @helper
    def outputs(record, v, y, scratch):  # type: ignore[no-untyped-def]
        per_row, row_bytes = load_i32(record + F.per_row), load_i32(record + F.row_bytes)
        if row_bytes < VECTOR_BYTES:
            return addresses(scratch, 0, 0, columns, VECTOR_BYTES, VECTOR_BYTES * columns, 0)
        row, place = row_of(v, per_row)
        return addresses(y, row, place, per_row, VECTOR_BYTES, load_i32(record + F.row_last), row_bytes)

    return outputs


def row_store(F, rows, columns):  # type: ignore[no-untyped-def]
    """A function that adds the residual to the sums `acc` of `rows` output channels from n, scales those below 0 by
    their channel's slope (`slopes` bytes after its bias; 0: none has one), clamps them, and stores them at `outputs`.
    scratch: 2 * rows * columns vectors."""
    addresses = row_addresses(columns)
    store, add, bend = tile_store_f32(rows, columns, False), tile_add_f32(rows, columns), tile_bend_f32(rows, columns)

    @helper
    def finish(record, acc, n, v, outputs, y, residual, scratch):  # type: ignore[no-untyped-def]
        per_row, row_last = load_i32(record + F.per_row), load_i32(record + F.row_last)
        row_bytes, y_plane = load_i32(record + F.row_bytes), load_i32(record + F.y_plane)
        low, high = splat_f32(load_f32(record + F.low)), splat_f32(load_f32(record + F.high))
        plane, slopes = n * y_plane, load_i32(record + F.slopes)
        narrow = row_bytes < VECTOR_BYTES
        offset, channel_stride = (0, VECTOR_BYTES * columns) if narrow else (plane, y_plane)
        if residual != 0:
            if narrow:
                # bring the residual aside too, so that both sides have the strides of scratch
                aside = scratch + VECTOR_BYTES * columns * rows
                for r in range(rows):
                    for t in range(columns):
                        source = residual + plane + r * y_plane + (v + t) * row_bytes
                        for k in range(0, row_bytes, 4):
                            store_i32(aside + VECTOR_BYTES * (columns * r + t) + k, load_i32(source + k))
                skips = addresses(aside, 0, 0, columns, VECTOR_BYTES, VECTOR_BYTES * columns, 0)
            else:
                row, place = row_of(v, per_row)
                skips = addresses(residual, row, place, per_row, VECTOR_BYTES, row_last, row_bytes)
            acc = add(acc, skips, offset, channel_stride)
        if slopes != 0:
            acc = bend(acc, load_i64(record + F.bias) + slopes + 4 * n)
        store(acc, low, high, outputs, offset, channel_stride)
        if narrow:
            for r in range(rows):
                for t in range(columns):
                    target = y + plane + r * y_plane + (v + t) * row_bytes
                    source = scratch + VECTOR_BYTES * (columns * r + t)
                    for k in range(0, row_bytes, 4):
                        store_i32(target + k, load_i32(source + k))

    return finish


def pixel_store(F):  # type: ignore[no-untyped-def]
    """A function that does the same for the sums (f32x4) of 4 output channels from n of one pixel, `place` bytes into
    its channel planes."""

    @helper
    def finish(record, four, n, place, y, residual, scratch):  # type: ignore[no-untyped-def]
        y_plane, slopes = load_i32(record + F.y_plane), load_i32(record + F.slopes)
        low, high = load_f32(record + F.low), load_f32(record + F.high)
        pixel_spill(four, scratch)
        for r in range(4):
            at, value = place + (n + r) * y_plane, load_f32(scratch + 4 * r)
            if residual != 0:
                value += load_f32(residual + at)
            if slopes != 0 and value < 0:
                value *= load_f32(load_i64(record + F.bias) + slopes + 4 * (n + r))
            store_f32(y + at, min(max(value, low), high))

    return finish


def odd_pixel(F, columns):  # type: ignore[no-untyped-def]
    """A function that gives the address of the pixel after a tile's vectors from v, in plane 0 at x, if the tile is the
    last one of an image that has one pixel more than whole vectors; else 0."""

    @helper
    def pixel(record, v, x):  # type: ignore[no-untyped-def]
        if load_i32(record + F.leftover) != 0 and v + columns == load_i32(record + F.vectors):
            return x + VECTOR_BYTES * (v + columns)
        return 0

    return pixel
