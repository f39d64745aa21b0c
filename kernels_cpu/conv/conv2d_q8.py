"""int8 convolution over NC4HW4 (k4p): pixels as vectors, 4 output channels x T pixel vectors per tile.

Pointwise and k x k are this one kernel: `taps` lists, for every 4x4 weight block of an output group, the byte offset
of its input (channel plane and filter tap). Weights are a stream of 16-byte blocks. Those that skip zeros: sparse.py.
T is up to 6 with 32 registers, and 3 with 16, where the pixels stay in registers while the weights pass by.
"""

from __future__ import annotations

from edgert.kernels_cpu.conv.tiling import all_tiles, row_geometry, row_of
from edgert.kernels_cpu.registry import record_fields
from edgert.kernels_cpu.simd import (
    REGISTERS,
    VECTOR_BYTES,
    helper,
    i32v,
    load_f32,
    load_i32,
    load_i64,
    prefetch,
    row_addresses,
    splat_f32,
    splat_i8,
    splat_i16,
    splat_i32,
    store_i32,
    tile_init,
    tile_step,
    tile_store_q8,
)  # fmt: skip

F = record_fields("conv2d_q8_k4p")
AHEAD = 2048
"""Bytes that weights are fetched ahead: they stream from memory once per inference, and prefetchers stop at pages."""
WIDE = 6 if REGISTERS == 32 else 3


def _tile(columns):  # type: ignore[no-untyped-def]
    """A function that computes `columns` pixel vectors of every output channel."""
    init, step, addresses = tile_init(i32v, 4, columns), tile_step(i32v, 4, columns), row_addresses(columns)
    store, store_residual = tile_store_q8(columns, False), tile_store_q8(columns, True)

    @helper
    def tile(record, v, n0, n1, x, y, residual, scratch):  # type: ignore[no-untyped-def]
        blocks, taps = load_i32(record + F.blocks), load_i64(record + F.taps)
        per_row, row_last = load_i32(record + F.per_row), load_i32(record + F.row_last)
        row_bytes, y_plane = load_i32(record + F.row_bytes), load_i32(record + F.y_plane)
        bias, scale = load_i64(record + F.bias), load_i64(record + F.scale)
        w = load_i64(record + F.w) + 16 * blocks * n0
        zero_point = splat_i16(load_i32(record + F.zero_point))
        low, high = splat_i8(load_i32(record + F.low)), splat_i8(load_i32(record + F.high))
        residual_zero = splat_i32(load_i32(record + F.residual_zero))
        residual_scale = splat_f32(load_f32(record + F.residual_scale))
        row, place = row_of(v, per_row)
        inputs = addresses(x, row, place, per_row, VECTOR_BYTES, row_last, load_i32(record + F.x_pitch))
        skips = addresses(residual, row, place, per_row, VECTOR_BYTES, row_last, row_bytes)
        narrow = row_bytes < VECTOR_BYTES
        if narrow:  # a vector would run into the next row: store aside, then copy what belongs
            outputs = addresses(scratch, 0, 0, columns, VECTOR_BYTES, VECTOR_BYTES * columns, 0)
        else:
            outputs = addresses(y, row, place, per_row, VECTOR_BYTES, row_last, row_bytes)
        for n in range(n0, n1):
            acc = init(bias + 16 * n)
            for i in range(blocks):
                prefetch(w + 16 * i + AHEAD)
                acc = step(acc, inputs, load_i32(taps + 4 * i), w + 16 * i)
            plane = n * y_plane
            offset = 0 if narrow else plane
            if residual == 0:
                store(acc, scale + 16 * n, zero_point, low, high, outputs, offset)
            elif narrow:
                # the residual is at the real place, the output aside: bring the residual's addresses to `offset` 0
                shifted = addresses(residual + plane, row, place, per_row, VECTOR_BYTES, row_last, row_bytes)
                store_residual(
                    acc,
                    scale + 16 * n,
                    zero_point,
                    low,
                    high,
                    outputs,
                    0,
                    shifted,
                    residual_zero,
                    residual_scale,
                )
            else:
                store_residual(
                    acc,
                    scale + 16 * n,
                    zero_point,
                    low,
                    high,
                    outputs,
                    offset,
                    skips,
                    residual_zero,
                    residual_scale,
                )
            if narrow:
                for t in range(columns):
                    target, source = y + plane + (v + t) * row_bytes, scratch + VECTOR_BYTES * t
                    for k in range(0, row_bytes, 4):
                        store_i32(target + k, load_i32(source + k))
            w += 16 * blocks

    return tile


_all_tiles = all_tiles(_tile, WIDE)


def conv2d_q8(record, chunk, scratch):  # type: ignore[no-untyped-def]
    """A chunk is a range of pixel vectors of one image and a slice of the output channels (all of them where there are
    pixels enough: the input tile stays in L1)."""
    part, n0, n1 = row_geometry(chunk, load_i32(record + F.slices), load_i32(record + F.groups4))
    image, v, last = row_geometry(part, load_i32(record + F.parts), load_i32(record + F.vectors))
    x = load_i64(record + F.x) + image * load_i32(record + F.x_batch)
    y = load_i64(record + F.y) + image * load_i32(record + F.y_batch)
    residual = load_i64(record + F.residual)
    if residual != 0:
        residual += image * load_i32(record + F.y_batch)
    _all_tiles(record, v, last, n0, n1, x, y, residual, scratch)
