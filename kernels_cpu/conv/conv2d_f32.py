"""float32 convolution over channel planes (kp): pixels as vectors, R output channels x T pixel vectors per tile.

As conv2d_q8: `taps` lists the byte offset of the input (channel plane and filter tap) for each of the K weights
of an output channel; weights are groups of 4 output channels, [N/4][K][4]. The last N % 4 channels run one by one.
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
    pixel_init,
    pixel_step,
    prefetch,
    row_addresses,
    tile_init,
    tile_step,
)  # fmt: skip

F = record_fields("conv2d_f32_kp")
AHEAD = 2048
"""Bytes that weights are fetched ahead: they stream from memory once per inference, and prefetchers stop at pages."""
WIDE = 6 if REGISTERS == 32 else 3


def _channels(rows, columns):  # type: ignore[no-untyped-def]
    """A function that computes `rows` output channels from channel n of `columns` pixel vectors."""
    init, step, finish = tile_init(f32v, rows, columns), tile_step(f32v, rows, columns), row_store(F, rows, columns)
    finish_pixel = pixel_store(F)
    # an image of one pixel more than whole vectors (7 x 7): the tile takes it along, its four channels as a vector
    takes_pixel = rows == 4 and columns == 3

    @helper
    def compute(record, n, v, inputs, pixel, outputs, y, residual, scratch):  # type: ignore[no-untyped-def]
        taps, blocks = load_i64(record + F.taps), load_i32(record + F.blocks)
        group = n >> 2
        w = load_i64(record + F.w) + 16 * blocks * group + 4 * (n - 4 * group)
        acc = init(load_i64(record + F.bias) + 4 * n)
        if takes_pixel and pixel != 0:
            four = pixel_init(load_i64(record + F.bias) + 4 * n)
            for i in range(blocks):
                prefetch(w + 16 * i + AHEAD)
                tap = load_i32(taps + 4 * i)
                acc = step(acc, inputs, tap, w + 16 * i)
                four = pixel_step(four, pixel + tap, w + 16 * i)
            finish_pixel(record, four, n, (v + columns) * VECTOR_BYTES, y, residual, scratch)
        else:
            for i in range(blocks):
                prefetch(w + 16 * i + AHEAD)
                acc = step(acc, inputs, load_i32(taps + 4 * i), w + 16 * i)
        finish(record, acc, n, v, outputs, y, residual, scratch)

    return compute


def _tile(columns):  # type: ignore[no-untyped-def]
    """A function that computes `columns` pixel vectors of every output channel."""
    addresses, places = row_addresses(columns), row_outputs(F, columns)
    after = odd_pixel(F, columns)
    four, one = _channels(4, columns), _channels(1, columns)

    @helper
    def tile(record, v, g0, g1, x, y, residual, scratch):  # type: ignore[no-untyped-def]
        channels, per_row = min(load_i32(record + F.channels), 4 * g1), load_i32(record + F.per_row)
        row_last = load_i32(record + F.row_last)
        row, place = row_of(v, per_row)
        inputs = addresses(x, row, place, per_row, VECTOR_BYTES, row_last, load_i32(record + F.x_pitch))
        outputs = places(record, v, y, scratch)
        pixel = after(record, v, x)
        n = 4 * g0
        while n + 4 <= channels:
            four(record, n, v, inputs, pixel, outputs, y, residual, scratch)
            n += 4
        while n < channels:
            one(record, n, v, inputs, 0, outputs, y, residual, scratch)
            n += 1

    return tile


_all_tiles = all_tiles(_tile, WIDE)


def conv2d_f32(record, chunk, scratch):  # type: ignore[no-untyped-def]
    """A chunk is a range of pixel vectors of one image and a slice of the output channels (all of them where there are
    pixels enough: the input tile stays in L1)."""
    groups = (load_i32(record + F.channels) + 3) >> 2
    part, g0, g1 = row_geometry(chunk, load_i32(record + F.slices), groups)
    image, v, last = row_geometry(part, load_i32(record + F.parts), load_i32(record + F.vectors))
    x = load_i64(record + F.x) + image * load_i32(record + F.x_batch)
    y = load_i64(record + F.y) + image * load_i32(record + F.y_batch)
    residual = load_i64(record + F.residual)
    if residual != 0:
        residual += image * load_i32(record + F.y_batch)
    _all_tiles(record, v, last, g0, g1, x, y, residual, scratch)
