"""int8 convolution over NC4HW4 (k4p) with weights in blocks of 4 output x 4 input channels, absent ones skipped.

The tiles of conv2d_q8.py, with the list of blocks read from the file: 4 output channels x T pixel vectors.
"""

from __future__ import annotations

from edgert.kernels_cpu.conv.byte_tiles import AHEAD
from edgert.kernels_cpu.conv.sparse import BIAS, LINE, SCALE, sparse_convolution
from edgert.kernels_cpu.simd import (
    REGISTERS,
    helper,
    i32v,
    load_i32,
    load_u16,
    prefetch,
    tile_init,
    tile_step,
    tile_store_q8,
)  # fmt: skip

WIDE = 6 if REGISTERS == 32 else 3


def _four(columns):  # type: ignore[no-untyped-def]
    init, step = tile_init(i32v, 4, columns), tile_step(i32v, 4, columns)
    store, store_residual = tile_store_q8(columns, False), tile_store_q8(columns, True)

    @helper
    def four(  # type: ignore[no-untyped-def]
        own, n, inputs, zero_point, low, high, outputs, plane, aside, adds, skips, zero, ratio
    ):
        channels, data, index, taps = own
        line = channels + LINE * n
        first = load_i32(line)
        w, cell = data + 16 * first, index + 2 * first
        acc = init(line + BIAS)
        for _ in range(load_i32(line + LINE) - first):
            prefetch(w + AHEAD)
            acc = step(acc, inputs, load_i32(taps + 4 * load_u16(cell)), w)
            w += 16
            cell += 2
        if adds:
            store_residual(acc, line + SCALE, zero_point, low, high, outputs, plane, skips, zero, ratio)
        else:
            store(acc, line + SCALE, zero_point, low, high, outputs, plane)

    return four


_run = sparse_convolution(_four, WIDE)


def conv2d_b4x4(record, chunk, scratch):  # type: ignore[no-untyped-def]
    """scratch: two vectors for each of a tile."""
    _run(record, chunk, scratch)
