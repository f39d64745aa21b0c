"""int8 convolution over NC4HW4 (k4p): pixels as vectors, 4 output channels x T pixel vectors per tile.

Pointwise and k x k are this one kernel: `taps` lists, for every 4x4 weight block of an output group, the byte offset
of its input (channel plane and filter tap). Weights are a stream of 16-byte blocks. Those that skip zeros: sparse.py.
T is up to 6 with 32 registers, and 3 with 16, where the pixels stay in registers while the weights pass by.
"""

from __future__ import annotations

from edgert.kernels_cpu.conv.byte_tiles import AHEAD, byte_tiles
from edgert.kernels_cpu.conv.tiling import row_geometry
from edgert.kernels_cpu.registry import record_fields
from edgert.kernels_cpu.simd import (
    REGISTERS,
    helper,
    i32v,
    load_i32,
    load_i64,
    prefetch,
    tile_init,
    tile_step,
    tile_store_q8,
)  # fmt: skip

F = record_fields("conv2d_q8_k4p")
WIDE = 6 if REGISTERS == 32 else 3


@helper
def _operands(record):  # type: ignore[no-untyped-def]
    """(blocks, taps, weights, bias, scale)."""
    return (
        load_i32(record + F.blocks), load_i64(record + F.taps), load_i64(record + F.w), load_i64(record + F.bias),
        load_i64(record + F.scale),
    )  # fmt: skip


def _four(columns):  # type: ignore[no-untyped-def]
    init, step = tile_init(i32v, 4, columns), tile_step(i32v, 4, columns)
    store, store_residual = tile_store_q8(columns, False), tile_store_q8(columns, True)

    @helper
    def four(  # type: ignore[no-untyped-def]
        own, n, inputs, zero_point, low, high, outputs, plane, aside, adds, skips, zero, ratio
    ):
        blocks, taps, weights, bias, scales = own
        w, scale = weights + 16 * blocks * n, scales + 16 * n
        acc = init(bias + 16 * n)
        for i in range(blocks):
            prefetch(w + 16 * i + AHEAD)
            acc = step(acc, inputs, load_i32(taps + 4 * i), w + 16 * i)
        if adds:
            store_residual(acc, scale, zero_point, low, high, outputs, plane, skips, zero, ratio)
        else:
            store(acc, scale, zero_point, low, high, outputs, plane)

    return four


_tiles = byte_tiles(F, _operands, _four, WIDE)


def conv2d_q8(record, chunk, scratch):  # type: ignore[no-untyped-def]
    """A chunk is a range of pixel vectors of one image and a slice of the output channels (all of them where there are
    pixels enough: the input tile stays in L1)."""
    part, n0, n1 = row_geometry(chunk, load_i32(record + F.slices), load_i32(record + F.groups4))
    _tiles(record, part, n0, n1, scratch)
