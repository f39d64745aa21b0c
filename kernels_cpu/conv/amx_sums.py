"""How convolutions on AMX tiles end: sums of 32 output channels x up to 32 pixels, requantized into channel planes.

Shared by the kernels whose tiles of sums, 16 channels x 16 pixels each, are numbers 2 * (channels / 16) + pixels / 16.
"""

from __future__ import annotations

from edgert.kernels_cpu.conv.tiling import row_of
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
from edgert.kernels_cpu.simd.amx import amx_store, amx_zero

TILE_BYTES, ROW_BYTES = 1024, 64
# scratch: the four tiles of sums, two vectors of bytes of narrow rows, the software model's tiles
ASIDE, STATE = 4 * TILE_BYTES, 4 * TILE_BYTES + 2 * VECTOR_BYTES


def sums_begin(rows, columns):  # type: ignore[no-untyped-def]
    """A function that zeroes rows x columns tiles of sums."""

    @helper
    def begin(state):  # type: ignore[no-untyped-def]
        amx_zero(state, 0)
        if columns == 2:
            amx_zero(state, 1)
        if rows == 2:
            amx_zero(state, 2)
            if columns == 2:
                amx_zero(state, 3)

    return begin


def sums_spill(rows, columns):  # type: ignore[no-untyped-def]
    """A function that leaves rows x columns tiles of sums at the beginning of scratch."""

    @helper
    def spill(state, scratch):  # type: ignore[no-untyped-def]
        amx_store(state, 0, scratch, ROW_BYTES)
        if columns == 2:
            amx_store(state, 1, scratch + TILE_BYTES, ROW_BYTES)
        if rows == 2:
            amx_store(state, 2, scratch + 2 * TILE_BYTES, ROW_BYTES)
            if columns == 2:
                amx_store(state, 3, scratch + 3 * TILE_BYTES, ROW_BYTES)

    return spill


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


def sums_finish(F, columns):  # type: ignore[no-untyped-def]
    """A function that adds the bias to the sums in scratch, requantizes them and stores output channels 4 * first to
    4 * last, at most 32, of `columns` pixel vectors from v. F: the fields of the kernel's record."""
    addresses = row_addresses(columns)
    store, store_residual = tile_store_q8(columns, False), tile_store_q8(columns, True)
    sums = _sums2 if columns == 2 else _sums1

    @helper
    def finish(record, v, first, last, y, residual, scratch):  # type: ignore[no-untyped-def]
        per_row, row_last = load_i32(record + F.per_row), load_i32(record + F.row_last)
        row_bytes, y_plane = load_i32(record + F.row_bytes), load_i32(record + F.y_plane)
        bias, scale = load_i64(record + F.bias), load_i64(record + F.scale)
        zero_point = splat_i16(load_i32(record + F.zero_point))
        low, high = splat_i8(load_i32(record + F.low)), splat_i8(load_i32(record + F.high))
        residual_zero = splat_i32(load_i32(record + F.residual_zero))
        residual_scale = splat_f32(load_f32(record + F.residual_scale))
        row, place = row_of(v, per_row)
        skips = addresses(residual, row, place, per_row, VECTOR_BYTES, row_last, row_bytes)
        outputs = addresses(y, row, place, per_row, VECTOR_BYTES, row_last, row_bytes)
        narrow = row_bytes < VECTOR_BYTES
        for n in range(first, last):
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

    return finish
