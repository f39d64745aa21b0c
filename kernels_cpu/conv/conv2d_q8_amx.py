"""int8 convolution over NC4HW4 (k4p) on AMX tiles: 32 output channels x 32 pixels per block, exact as conv2d_q8.

A line of 16 pixels x 4 channels is one row of an AMX B tile as it lies, and the lines of consecutive channel planes
are a plane apart, so activations are read in place; the weights are A tiles, repacked when the plan is made.
Written against the software model of simd/amx.py: its speed on silicon is still to be measured.
"""

from __future__ import annotations

from edgert.kernels_cpu.conv.tiling import row_geometry, row_of
from edgert.kernels_cpu.registry import record_fields
from edgert.kernels_cpu.simd import (
    VECTOR_BYTES,
    broadcast_i32,
    helper,
    load_f32,
    load_i32,
    load_i32v,
    load_i64,
    row_addresses,
    splat_f32,
    splat_i8,
    splat_i16,
    splat_i32,
    store_i32,
    tile_store_q8,
)  # fmt: skip
from edgert.kernels_cpu.simd.amx import amx_configure, amx_dot, amx_load, amx_release, amx_store, amx_zero

F = record_fields("conv2d_q8_k4p_amx")
TILE_BYTES, ROW_BYTES = 1024, 64
# scratch: the four tiles of sums, two vectors of bytes of narrow rows, the software model's tiles
ASIDE, STATE = 4 * TILE_BYTES, 4 * TILE_BYTES + 2 * VECTOR_BYTES


def _products(rows, columns):  # type: ignore[no-untyped-def]
    """A function that leaves rows x columns tiles of sums in scratch: tile (r, t), 16 channels x 16 pixels, is number
    2 r + t; tiles 4, 5 hold weights and 6, 7 pixels."""

    @helper
    def products(record, w, inputs, scratch):  # type: ignore[no-untyped-def]
        blocks, taps, plane = load_i32(record + F.blocks), load_i64(record + F.taps), load_i32(record + F.x_plane)
        state, below = scratch + STATE, w + TILE_BYTES * blocks
        amx_zero(state, 0)
        if columns == 2:
            amx_zero(state, 1)
        if rows == 2:
            amx_zero(state, 2)
            if columns == 2:
                amx_zero(state, 3)
        for i in range(blocks):
            offset = load_i32(taps + 4 * i)
            amx_load(state, 6, inputs[0] + offset, plane)
            amx_load(state, 4, w + TILE_BYTES * i, ROW_BYTES)
            amx_dot(state, 0, 4, 6)
            if columns == 2:
                amx_load(state, 7, inputs[1] + offset, plane)
                amx_dot(state, 1, 4, 7)
            if rows == 2:
                amx_load(state, 5, below + TILE_BYTES * i, ROW_BYTES)
                amx_dot(state, 2, 5, 6)
                if columns == 2:
                    amx_dot(state, 3, 5, 7)
        amx_store(state, 0, scratch, ROW_BYTES)
        if columns == 2:
            amx_store(state, 1, scratch + TILE_BYTES, ROW_BYTES)
        if rows == 2:
            amx_store(state, 2, scratch + 2 * TILE_BYTES, ROW_BYTES)
            if columns == 2:
                amx_store(state, 3, scratch + 3 * TILE_BYTES, ROW_BYTES)

    return products


@helper
def _sums1(s, bias):  # type: ignore[no-untyped-def]
    """Four channels of one vector, with the bias, as tile_store_q8 takes them."""
    return (
        load_i32v(s) + broadcast_i32(bias),
        load_i32v(s + ROW_BYTES) + broadcast_i32(bias + 4),
        load_i32v(s + 2 * ROW_BYTES) + broadcast_i32(bias + 8),
        load_i32v(s + 3 * ROW_BYTES) + broadcast_i32(bias + 12),
    )


@helper
def _sums2(s, bias):  # type: ignore[no-untyped-def]
    """Four channels of two vectors, which are a tile apart."""
    left, right = _sums1(s, bias), _sums1(s + TILE_BYTES, bias)
    return left[0], right[0], left[1], right[1], left[2], right[2], left[3], right[3]


def _block(columns):  # type: ignore[no-untyped-def]
    """A function that computes `columns` pixel vectors of output channels 4 g0 to 4 g1, g0 a multiple of 8."""
    one, two, addresses = _products(1, columns), _products(2, columns), row_addresses(columns)
    store, store_residual = tile_store_q8(columns, False), tile_store_q8(columns, True)
    sums = _sums2 if columns == 2 else _sums1

    @helper
    def block(record, v, g0, g1, x, y, residual, scratch):  # type: ignore[no-untyped-def]
        tile_bytes = TILE_BYTES * load_i32(record + F.blocks)
        per_row, row_last = load_i32(record + F.per_row), load_i32(record + F.row_last)
        row_bytes, y_plane = load_i32(record + F.row_bytes), load_i32(record + F.y_plane)
        bias, scale = load_i64(record + F.bias), load_i64(record + F.scale)
        w = load_i64(record + F.w) + tile_bytes * (g0 >> 2)
        zero_point = splat_i16(load_i32(record + F.zero_point))
        low, high = splat_i8(load_i32(record + F.low)), splat_i8(load_i32(record + F.high))
        residual_zero = splat_i32(load_i32(record + F.residual_zero))
        residual_scale = splat_f32(load_f32(record + F.residual_scale))
        row, place = row_of(v, per_row)
        inputs = addresses(x, row, place, per_row, VECTOR_BYTES, row_last, load_i32(record + F.x_pitch))
        skips = addresses(residual, row, place, per_row, VECTOR_BYTES, row_last, row_bytes)
        outputs = addresses(y, row, place, per_row, VECTOR_BYTES, row_last, row_bytes)
        narrow = row_bytes < VECTOR_BYTES
        for first in range(g0, g1, 8):
            if g1 - first > 4:
                two(record, w, inputs, scratch)
            else:
                one(record, w, inputs, scratch)
            w += 2 * tile_bytes
            for n in range(first, min(first + 8, g1)):
                plane, q = n * y_plane, n - first
                if narrow:  # a vector would run into the next row: store aside, then copy what belongs
                    outputs = addresses(scratch + ASIDE - plane, 0, 0, columns, VECTOR_BYTES, 2 * VECTOR_BYTES, 0)
                acc = sums(scratch + 2 * TILE_BYTES * (q >> 2) + 4 * ROW_BYTES * (q & 3), bias + 16 * n)
                if residual == 0:
                    store(acc, scale + 16 * n, zero_point, low, high, outputs, plane)
                else:
                    store_residual(
                        acc, scale + 16 * n, zero_point, low, high, outputs, plane, skips, residual_zero, residual_scale
                    )
                if narrow:
                    for t in range(columns):
                        target, source = y + plane + (v + t) * row_bytes, scratch + ASIDE + VECTOR_BYTES * t
                        for k in range(0, row_bytes, 4):
                            store_i32(target + k, load_i32(source + k))

    return block


_block1, _block2 = _block(1), _block(2)


def conv2d_q8_amx(record, chunk, scratch):  # type: ignore[no-untyped-def]
    """A chunk is a range of pixel vectors of one image and a slice of the blocks of 32 output channels."""
    groups = load_i32(record + F.groups4)
    part, first, end = row_geometry(chunk, load_i32(record + F.slices), (groups + 7) >> 3)
    g0, g1 = 8 * first, min(8 * end, groups)
    image, v, last = row_geometry(part, load_i32(record + F.parts), load_i32(record + F.vectors))
    x = load_i64(record + F.x) + image * load_i32(record + F.x_batch)
    y = load_i64(record + F.y) + image * load_i32(record + F.y_batch)
    residual = load_i64(record + F.residual)
    if residual != 0:
        residual += image * load_i32(record + F.y_batch)
    amx_configure(scratch + STATE, load_i64(record + F.config))
    while v + 1 < last:
        _block2(record, v, g0, g1, x, y, residual, scratch)
        v += 2
    if v < last:
        _block1(record, v, g0, g1, x, y, residual, scratch)
    amx_release(scratch + STATE)
