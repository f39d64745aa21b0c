"""int8 convolution over NC4HW4 (k4p): pixels as vectors, 4 output channels x T pixel vectors per tile.

Pointwise and k x k are this one kernel: `taps` lists, for every 4x4 weight block of an output group, the byte offset
of its input (channel plane and filter tap). Weights are a stream of 16-byte blocks. Those that skip zeros: sparse.py.
T is up to 6 with 32 registers, and 3 with 16, where the pixels stay in registers while the weights pass by.
ARM has three forms of its own, which copy a tile's input together first: with int8 matrix products the lanes are two
pixels x two output channels (simd/tile_pairs.py), with a dot product the output channels (simd/tile_lanes.py), without
one two blocks are multiplied at a time (simd/tile_halves.py).
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
from edgert.kernels_cpu.simd.target import has
from edgert.kernels_cpu.simd.tile_gather import tile_gather
from edgert.kernels_cpu.simd.tile_halves import HALVES, halves_step, halves_sums
from edgert.kernels_cpu.simd.tile_lanes import lanes_init, lanes_step, lanes_step_apart, lanes_store_q8
from edgert.kernels_cpu.simd.tile_pairs import ZIP, pairs_init, pairs_step, pairs_step_apart, pairs_store_q8

F = record_fields("conv2d_q8_k4p")
WIDE = 6 if REGISTERS == 32 else 3
WIDE_LANES = 7
"""Vectors of a tile with channels in the lanes, or in pairs: 28 accumulators. Squares of 14, 28, 56, ... pixels divide
by it."""
WIDE_HALVES = 6
"""Those of a tile of half sums: 24 accumulators."""


@helper
def _operands(record):  # type: ignore[no-untyped-def]
    """(blocks, taps, weights, bias, scale)."""
    return (
        load_i32(record + F.blocks), load_i64(record + F.taps), load_i64(record + F.w), load_i64(record + F.bias),
        load_i64(record + F.scale),
    )  # fmt: skip


@helper
def _packed_operands(record):  # type: ignore[no-untyped-def]
    """What _operands gives, and whether a tile's input is copied first."""
    return (*_operands(record), load_i32(record + F.packed))


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


def _four_products(columns, init, step, step_apart, store_q8, block):  # type: ignore[no-untyped-def]
    """As _four, for forms of ARM whose steps take several blocks. With `packed` the tile's input lies together in
    `aside`, which shares loads and drops the offsets; without it is too large for that. block: bytes that a vector of
    an odd block takes there."""
    start, one_apart, two_apart = init(columns), step_apart(columns, 1), step_apart(columns, 2)
    one, two, many = step(columns, 1), step(columns, 2), step(columns, 4)
    store, store_residual = store_q8(columns, False), store_q8(columns, True)

    @helper
    def four(  # type: ignore[no-untyped-def]
        own, n, inputs, zero_point, low, high, outputs, plane, aside, adds, skips, zero, ratio
    ):
        blocks, taps, weights, bias, scales, packed = own
        w, scale = weights + 16 * blocks * n, scales + 16 * n
        acc = start(bias + 16 * n)
        if packed != 0:
            x, pixels = aside, 16 * columns
            if blocks & 1:
                acc = one(acc, x, w)
                x += block * columns
                w += 16
            if blocks & 2:
                acc = two(acc, x, w)
                x += 2 * pixels
                w += 32
            end = weights + 16 * blocks * (n + 1)
            while w != end:
                prefetch(w + AHEAD)
                acc = many(acc, x, w)
                x += 4 * pixels
                w += 64
        else:
            odd = blocks & 1
            if odd:
                acc = one_apart(acc, inputs, taps, w)
            for i in range(odd, blocks, 2):
                prefetch(w + 16 * i + AHEAD)
                acc = two_apart(acc, inputs, taps + 4 * i, w + 16 * i)
        if adds:
            store_residual(acc, scale, zero_point, low, high, outputs, plane, skips, zero, ratio)
        else:
            store(acc, scale, zero_point, low, high, outputs, plane)

    return four


def _four_lanes(columns):  # type: ignore[no-untyped-def]
    """With a dot product: the output channels are the lanes."""
    return _four_products(columns, lanes_init, lanes_step, lanes_step_apart, lanes_store_q8, 16)


def _four_pairs(columns):  # type: ignore[no-untyped-def]
    """With int8 matrix products: the lanes are two pixels x two output channels."""
    return _four_products(columns, pairs_init, pairs_step, pairs_step_apart, pairs_store_q8, 32)


def _four_halves(columns):  # type: ignore[no-untyped-def]
    """As _four, for NEON without a dot product: products of two blocks at a time, of the input laid together in
    `aside`."""
    init, generic, sums = tile_init(i32v, 4, columns), tile_step(i32v, 4, columns), halves_sums(columns)
    two_channels = _halves_products(columns)
    store, store_residual = tile_store_q8(columns, False), tile_store_q8(columns, True)

    @helper
    def four(  # type: ignore[no-untyped-def]
        own, n, inputs, zero_point, low, high, outputs, plane, aside, adds, skips, zero, ratio
    ):
        blocks, taps, weights, bias, scales, packed = own
        w, scale = weights + 16 * blocks * n, scales + 16 * n
        if packed != 0:
            first = two_channels(aside, w, blocks)
            acc = sums(first, two_channels(aside, w + 8, blocks), bias + 16 * n)
        else:
            acc = init(bias + 16 * n)
            for i in range(blocks):
                prefetch(w + 16 * i + AHEAD)
                acc = generic(acc, inputs, load_i32(taps + 4 * i), w + 16 * i)
        if adds:
            store_residual(acc, scale, zero_point, low, high, outputs, plane, skips, zero, ratio)
        else:
            store(acc, scale, zero_point, low, high, outputs, plane)

    return four


def _halves_products(columns):  # type: ignore[no-untyped-def]
    start_one, start_two = halves_step(columns, 1, True), halves_step(columns, 2, True)
    two = halves_step(columns, 2, False)

    @helper
    def products(x, w, blocks):  # type: ignore[no-untyped-def]
        end = w + 16 * blocks
        if blocks & 1:
            acc = start_one(x, w)
            x += 16 * columns
            w += 16
        else:
            acc = start_two(x, w)
            x += 32 * columns
            w += 32
        while w != end:
            prefetch(w + AHEAD)
            acc = two(acc, x, w)
            x += 32 * columns
            w += 32
        return acc

    return products


def _gather(columns, one, two, block):  # type: ignore[no-untyped-def]
    """Copies the input of a tile to where its products expect it: an odd block, then pairs. block: as in
    _four_products."""

    @helper
    def gather(own, inputs, aside):  # type: ignore[no-untyped-def]
        blocks, taps, _, _, _, packed = own
        if packed != 0:
            if blocks & 1:
                one(inputs, taps, aside)
                taps += 4
                aside += block * columns
            for i in range(0, blocks - 1, 2):
                two(inputs, taps + 4 * i, aside + 16 * columns * i)

    return gather


def _gather_lanes(columns):  # type: ignore[no-untyped-def]
    return _gather(columns, tile_gather(columns, 1), tile_gather(columns, 2), 16)


def _gather_pairs(columns):  # type: ignore[no-untyped-def]
    return _gather(columns, tile_gather(columns, 1, ZIP), tile_gather(columns, 2, ZIP), 32)


def _gather_halves(columns):  # type: ignore[no-untyped-def]
    return _gather(columns, tile_gather(columns, 1), tile_gather(columns, 2, HALVES), 16)


if has("i8mm"):
    _tiles = byte_tiles(F, _packed_operands, _four_pairs, WIDE_LANES, _gather_pairs)
elif has("dotprod"):
    _tiles = byte_tiles(F, _packed_operands, _four_lanes, WIDE_LANES, _gather_lanes)
elif has("neon"):
    _tiles = byte_tiles(F, _packed_operands, _four_halves, WIDE_HALVES, _gather_halves)
else:
    _tiles = byte_tiles(F, _operands, _four, WIDE)


def conv2d_q8(record, chunk, scratch):  # type: ignore[no-untyped-def]
    """A chunk is a range of pixel vectors of one image and a slice of the output channels (all of them where there are
    pixels enough: the input tile stays in L1)."""
    part, n0, n1 = row_geometry(chunk, load_i32(record + F.slices), load_i32(record + F.groups4))
    _tiles(record, part, n0, n1, scratch)
