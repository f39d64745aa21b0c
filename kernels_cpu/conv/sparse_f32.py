"""What the float convolutions that skip zeros share: how blocks are found, chunks, the places of a tile.

The kernels, one per shape of block, are conv2d_b4x1.py, conv2d_b2x1.py and conv2d_b1x1.py; how blocks lie in the file
is edgert/format/encodings/block.py. A block's `index` is the number of its tap and input channel, and taps[index] the
byte offset of that input. Sums take their products in the order of conv2d_f32.py, less those of absent weights.
"""

from __future__ import annotations

from edgert.kernels_cpu.conv.float_rows import odd_pixel, pixel_store, row_outputs, row_store
from edgert.kernels_cpu.conv.tiling import all_tiles, row_geometry, row_of
from edgert.kernels_cpu.registry import record_fields
from edgert.kernels_cpu.simd import (
    REGISTERS,
    VECTOR_BYTES,
    f32v,
    helper,
    load_i32,
    load_i64,
    load_u16,
    pixel_init,
    pixel_step,
    prefetch,
    row_addresses,
    tile_init,
    tile_step,
    udiv,
)  # fmt: skip

F = record_fields("conv2d_b4x1_kp")
"""The record, alike for the three kernels."""
AHEAD = 2048
"""Bytes that weights are fetched ahead, as in conv2d_f32.py."""


def sparse_convolution(group, rows, wide):  # type: ignore[no-untyped-def]
    """A kernel body: every output channel over every pixel vector, in tiles of at most `wide` vectors.

    group(columns) makes a function that computes and stores group number g of `rows` channels, of which `count`
    exist, for `columns` vectors and the pixel after them whose address is not 0."""

    def make(columns):  # type: ignore[no-untyped-def]
        return _tile(columns, group(columns), rows)

    tiles = all_tiles(make, wide)

    @helper
    def run(record, chunk, scratch):  # type: ignore[no-untyped-def]
        groups = udiv(load_i32(record + F.channels) + rows - 1, rows)
        part, g0, g1 = row_geometry(chunk, load_i32(record + F.slices), groups)
        image, v, last = row_geometry(part, load_i32(record + F.parts), load_i32(record + F.vectors))
        x = load_i64(record + F.x) + image * load_i32(record + F.x_batch)
        y = load_i64(record + F.y) + image * load_i32(record + F.y_batch)
        residual = load_i64(record + F.residual)
        if residual != 0:
            residual += image * load_i32(record + F.y_batch)
        tiles(record, v, last, g0, g1, x, y, residual, scratch)

    return run


def _tile(columns, group, rows):  # type: ignore[no-untyped-def]
    """A function that computes `columns` pixel vectors of groups g0 to g1."""
    addresses, places = row_addresses(columns), row_outputs(F, columns)
    after = odd_pixel(F, columns)

    @helper
    def tile(record, v, g0, g1, x, y, residual, scratch):  # type: ignore[no-untyped-def]
        channels, per_row = load_i32(record + F.channels), load_i32(record + F.per_row)
        row_last = load_i32(record + F.row_last)
        row, place = row_of(v, per_row)
        inputs = addresses(x, row, place, per_row, VECTOR_BYTES, row_last, load_i32(record + F.x_pitch))
        outputs = places(record, v, y, scratch)
        pixel = after(record, v, x)
        for g in range(g0, g1):
            group(record, g, min(rows, channels - rows * g), v, inputs, pixel, outputs, y, residual, scratch)

    return tile


def run_step(rows, columns):  # type: ignore[no-untyped-def]
    """A function that adds `blocks` blocks to the sums of `rows` channels: numbers of inputs at `index`, weights at w,
    `stride` bytes from block to block."""
    step = tile_step(f32v, rows, columns)
    # weights of one channel are few bytes a block: fetching each ahead would cost more than it brings

    @helper
    def run(acc, inputs, taps, index, blocks, w, stride):  # type: ignore[no-untyped-def]
        for i in range(blocks):
            if rows > 1:
                prefetch(w + AHEAD)
            acc = step(acc, inputs, load_i32(taps + 4 * load_u16(index + 2 * i)), w)
            w += stride
        return acc

    return run


def blocks_of(rows):  # type: ignore[no-untyped-def]
    """As sparse_convolution's `group`: blocks of `rows` output channels; those of a last, smaller group one by one."""

    def make(columns):  # type: ignore[no-untyped-def]
        init, run, finish = tile_init(f32v, rows, columns), run_step(rows, columns), row_store(F, rows, columns)
        step, finish_pixel = tile_step(f32v, rows, columns), pixel_store(F)
        takes_pixel = rows == 4 and columns == 3  # as in conv2d_f32.py
        init1, run1, finish1 = tile_init(f32v, 1, columns), run_step(1, columns), row_store(F, 1, columns)

        @helper
        def group(record, g, count, v, inputs, pixel, outputs, y, residual, scratch):  # type: ignore[no-untyped-def]
            start, taps = load_i64(record + F.start) + 4 * g, load_i64(record + F.taps)
            first = load_i32(start)
            blocks, index = load_i32(start + 4) - first, load_i64(record + F.index) + 2 * first
            w, n = load_i64(record + F.w) + 4 * rows * first, rows * g
            bias = load_i64(record + F.bias) + 4 * n
            if takes_pixel and pixel != 0:
                acc, four = init(bias), pixel_init(bias)
                for i in range(blocks):
                    tap = load_i32(taps + 4 * load_u16(index + 2 * i))
                    acc = step(acc, inputs, tap, w)
                    four = pixel_step(four, pixel + tap, w)
                    w += 4 * rows
                finish_pixel(record, four, n, (v + columns) * VECTOR_BYTES, y, residual, scratch)
                finish(record, acc, n, v, outputs, y, residual, scratch)
            elif count == rows:
                acc = run(init(bias), inputs, taps, index, blocks, w, 4 * rows)
                finish(record, acc, n, v, outputs, y, residual, scratch)
            else:
                for r in range(count):
                    one = run1(init1(bias + 4 * r), inputs, taps, index, blocks, w + 4 * r, 4 * rows)
                    finish1(record, one, n + r, v, outputs, y, residual, scratch)

        return group

    return make


WIDE4 = 6 if REGISTERS == 32 else 3
"""Pixel vectors of the widest tile of 4 output channels; WIDE2: of 2."""
WIDE2 = 7 if REGISTERS == 32 else 6
