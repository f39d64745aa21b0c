"""int8 convolution over NC4HW4 (k4p): pixels as vectors, 4 output channels x T pixel vectors per tile.

Dense and sparse, pointwise and k x k are this one kernel: `taps` lists, for every 4x4 weight block of an output
group, the byte offset of its input plane (and of its tap within it). Weights are a stream of 16-byte blocks.
Source: KERNELS.md section "pixels as vectors" measured T = 5..6 with 32 registers, T = 2 with 16.
"""

from __future__ import annotations

from edgert.kernels_cpu.registry import record_fields
from edgert.kernels_cpu.simd import (
    REGISTERS, VECTOR_BYTES, helper, i32v, load_f32, load_i32, load_i64, splat_f32, splat_i8, splat_i16, splat_i32,
    tile_init, tile_step_q8, tile_store_q8, tile_store_q8_residual, udiv,
)  # fmt: skip

F = record_fields("conv2d_q8_k4p")
WIDE = 6 if REGISTERS == 32 else 2


def _tile(columns):  # type: ignore[no-untyped-def]
    """A function computing one 4 x columns tile."""
    init, step = tile_init(i32v, 4, columns), tile_step_q8(4, columns)
    store, store_residual = tile_store_q8(columns), tile_store_q8_residual(columns)

    @helper
    def tile(record, x, taps, blocks, w, n, y, r):  # type: ignore[no-untyped-def]
        acc = init(load_i64(record + F.bias) + 16 * n)
        for i in range(blocks):
            acc = step(acc, x + load_i32(taps + 4 * i), VECTOR_BYTES, w + 16 * i)
        scale = load_i64(record + F.scale) + 16 * n
        zero_point = splat_i16(load_i32(record + F.zero_point))
        low, high = splat_i8(load_i32(record + F.low)), splat_i8(load_i32(record + F.high))
        if r == 0:
            store(acc, scale, zero_point, low, high, y, VECTOR_BYTES)
        else:
            zero = splat_i32(load_i32(record + F.residual_zero))
            ratio = splat_f32(load_f32(record + F.residual_scale))
            store_residual(acc, scale, zero_point, low, high, y, VECTOR_BYTES, r, VECTOR_BYTES, zero, ratio)

    return tile


_wide, _narrow, _single = _tile(WIDE), _tile(WIDE - 1), _tile(1)


def conv2d_q8(record, chunk, scratch):  # type: ignore[no-untyped-def]
    """A chunk is a range of pixel tiles of one image: all output channels of them, so the input tile stays in L1."""
    tiles = load_i32(record + F.tiles)
    image = udiv(chunk, tiles)
    tile = chunk - image * tiles
    vectors, groups, blocks = load_i32(record + F.vectors), load_i32(record + F.groups4), load_i32(record + F.blocks)
    first, last = udiv(vectors * tile, tiles), udiv(vectors * (tile + 1), tiles)
    x = load_i64(record + F.x) + image * load_i32(record + F.x_batch)
    y = load_i64(record + F.y) + image * load_i32(record + F.y_batch)
    taps, w = load_i64(record + F.taps), load_i64(record + F.w)
    residual, y_plane = load_i64(record + F.residual), load_i32(record + F.y_plane)
    r_plane = load_i32(record + F.residual_plane)
    if residual != 0:
        residual += image * load_i32(record + F.residual_batch)
    v = first
    while v < last:
        left = last - v
        step = WIDE
        if left < WIDE:
            step = 1
        elif left == 2 * (WIDE - 1) or left == WIDE - 1:
            step = WIDE - 1
        if left == WIDE - 1:
            step = WIDE - 1
        for n in range(groups):
            r = residual + n * r_plane + VECTOR_BYTES * v if residual != 0 else 0
            wn, yn = w + 16 * blocks * n, y + n * y_plane + VECTOR_BYTES * v
            if step == WIDE:
                _wide(record, x + VECTOR_BYTES * v, taps, blocks, wn, n, yn, r)
            elif step == WIDE - 1:
                _narrow(record, x + VECTOR_BYTES * v, taps, blocks, wn, n, yn, r)
            else:
                _single(record, x + VECTOR_BYTES * v, taps, blocks, wn, n, yn, r)
        v += step
