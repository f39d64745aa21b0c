"""What the convolutions that skip zeros share: how blocks are found, chunks of equal work, the places of a tile.

The kernels, one per shape of block, are conv2d_b4x4.py, conv2d_b2x4.py and conv2d_b1x4.py; how blocks lie in the file
is edgert/format/encodings/block.py. Operand `channels` has a line of 64 bytes for every four output channels, and one
more at the end: int32 [8] where their blocks begin, int32 [4] biases, float32 [4] multipliers.
A block's `index` is the number of its tap and input cell, and taps[index] the byte offset of that input.
"""

from __future__ import annotations

from edgert.kernels_cpu.conv.tiling import all_tiles, row_geometry, row_of
from edgert.kernels_cpu.registry import record_fields
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
    udiv,
)  # fmt: skip

F = record_fields("conv2d_b4x4_k4p")
"""The record, alike for the three kernels."""
LINE, BIAS, SCALE = 64, 32, 48
"""Bytes of a line of `channels`, and where the biases and multipliers are in it."""
AHEAD = 2048
"""Bytes that weights are fetched ahead, as in conv2d_q8.py."""


def sparse_convolution(four, wide):  # type: ignore[no-untyped-def]
    """A kernel body: every output channel over every pixel vector, in tiles of at most `wide` vectors.

    four(columns) makes a function that computes and stores four channels of `columns` vectors."""

    def make(columns):  # type: ignore[no-untyped-def]
        return _tile(columns, four(columns))

    tiles = all_tiles(make, wide)

    @helper
    def run(record, chunk, scratch):  # type: ignore[no-untyped-def]
        slices = load_i32(record + F.slices)
        part = udiv(chunk, slices)
        bounds = load_i64(record + F.bounds) + 4 * (chunk - part * slices)
        image, v, last = row_geometry(part, load_i32(record + F.parts), load_i32(record + F.vectors))
        x = load_i64(record + F.x) + image * load_i32(record + F.x_batch)
        y = load_i64(record + F.y) + image * load_i32(record + F.y_batch)
        residual = load_i64(record + F.residual)
        if residual != 0:
            residual += image * load_i32(record + F.y_batch)
        tiles(record, v, last, load_i32(bounds), load_i32(bounds + 4), x, y, residual, scratch)

    return run


def _tile(columns, four):  # type: ignore[no-untyped-def]
    """A function that computes `columns` pixel vectors of output channels 4 n0 to 4 n1."""
    addresses = row_addresses(columns)

    @helper
    def tile(record, v, n0, n1, x, y, residual, scratch):  # type: ignore[no-untyped-def]
        data, index, taps = load_i64(record + F.w), load_i64(record + F.index), load_i64(record + F.taps)
        channels = load_i64(record + F.channels)
        per_row, row_last = load_i32(record + F.per_row), load_i32(record + F.row_last)
        row_bytes, y_plane = load_i32(record + F.row_bytes), load_i32(record + F.y_plane)
        zero_point = splat_i16(load_i32(record + F.zero_point))
        low, high = splat_i8(load_i32(record + F.low)), splat_i8(load_i32(record + F.high))
        residual_zero = splat_i32(load_i32(record + F.residual_zero))
        residual_scale = splat_f32(load_f32(record + F.residual_scale))
        row, place = row_of(v, per_row)
        inputs = addresses(x, row, place, per_row, VECTOR_BYTES, row_last, load_i32(record + F.x_pitch))
        skips = addresses(residual, row, place, per_row, VECTOR_BYTES, row_last, row_bytes)
        outputs = addresses(y, row, place, per_row, VECTOR_BYTES, row_last, row_bytes)
        narrow, adds, aside = row_bytes < VECTOR_BYTES, residual != 0, scratch + VECTOR_BYTES * columns
        for n in range(n0, n1):
            plane = n * y_plane
            if narrow:  # a vector would run into the next row: store in scratch, then copy what belongs
                outputs = addresses(scratch - plane, 0, 0, columns, VECTOR_BYTES, VECTOR_BYTES * columns, 0)
            four(
                channels + LINE * n, data, index, taps, inputs, zero_point, low, high, outputs, plane, aside,
                adds, skips, residual_zero, residual_scale,
            )  # fmt: skip
            if narrow:
                for t in range(columns):
                    target, source = y + plane + (v + t) * row_bytes, scratch + VECTOR_BYTES * t
                    for k in range(0, row_bytes, 4):
                        store_i32(target + k, load_i32(source + k))

    return tile
