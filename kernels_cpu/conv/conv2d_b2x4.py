"""int8 convolution over NC4HW4 (k4p) with weights in blocks of 2 output x 4 input channels, absent ones skipped.

Tiles of 2 output channels x T pixel vectors; the first two of four wait in scratch for the other two.
"""

from __future__ import annotations

from edgert.kernels_cpu.conv.byte_tiles import AHEAD
from edgert.kernels_cpu.conv.sparse import BIAS, LINE, SCALE, by_halves, sparse_convolution
from edgert.kernels_cpu.simd import (
    REGISTERS,
    helper,
    i32v,
    load_i32,
    load_u16,
    prefetch,
    tile_init,
    tile_step,
)
from edgert.kernels_cpu.simd.tile_pair import pair_store_q8

WIDE = 7 if REGISTERS == 32 else 6


def _two(columns, half):  # type: ignore[no-untyped-def]
    """A function that computes channels 2 half and 2 half + 1 of four."""
    init, step = tile_init(i32v, 2, columns), tile_step(i32v, 2, columns)
    store, store_residual = pair_store_q8(columns, half, False), pair_store_q8(columns, half, True)
    begin, end = 4 * half, LINE if half else 4

    @helper
    def two(  # type: ignore[no-untyped-def]
        own, n, inputs, zero_point, low, high, outputs, plane, aside, adds, skips, zero, ratio
    ):
        channels, data, index, taps = own
        line = channels + LINE * n
        first = load_i32(line + begin)
        w, cell = data + 8 * first, index + 2 * first
        acc = init(line + BIAS + 8 * half)
        for _ in range(load_i32(line + end) - first):
            prefetch(w + AHEAD)
            acc = step(acc, inputs, load_i32(taps + 4 * load_u16(cell)), w)
            w += 8
            cell += 2
        scale = line + SCALE + 8 * half
        if adds:
            store_residual(acc, scale, zero_point, low, high, outputs, plane, aside, skips, zero, ratio)
        else:
            store(acc, scale, zero_point, low, high, outputs, plane, aside)

    return two


_run = sparse_convolution(by_halves(_two), WIDE)


def conv2d_b2x4(record, chunk, scratch):  # type: ignore[no-untyped-def]
    """scratch: two vectors for each of a tile."""
    _run(record, chunk, scratch)
