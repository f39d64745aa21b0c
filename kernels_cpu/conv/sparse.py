"""What the int8 convolutions that skip zeros share: how blocks are found, and chunks of equal work.

The kernels, one per shape of block, are conv2d_b4x4.py, conv2d_b2x4.py and conv2d_b1x4.py; how blocks lie in the file
is edgert/format/encodings/block.py. Operand `channels` has a line of 64 bytes for every four output channels, and one
more at the end: int32 [8] where their blocks begin, int32 [4] biases, float32 [4] multipliers.
A block's `index` is the number of its tap and input cell, and taps[index] the byte offset of that input.
"""

from __future__ import annotations

from edgert.kernels_cpu.conv.byte_tiles import byte_tiles
from edgert.kernels_cpu.registry import record_fields
from edgert.kernels_cpu.simd import helper, load_i32, load_i64, udiv

F = record_fields("conv2d_b4x4_k4p")
"""The record, alike for the three kernels."""
LINE, BIAS, SCALE = 64, 32, 48
"""Bytes of a line of `channels`, and where the biases and multipliers are in it."""


@helper
def _operands(record):  # type: ignore[no-untyped-def]
    """(channels, weights, index, taps): what the kernels take as `own`."""
    return (
        load_i64(record + F.channels), load_i64(record + F.w), load_i64(record + F.index), load_i64(record + F.taps)
    )  # fmt: skip


def by_halves(two):  # type: ignore[no-untyped-def]
    """What sparse_convolution takes as `four`, of `two(columns, half)` -> a function that computes channels 2 half and
    2 half + 1 of four."""

    def of(columns):  # type: ignore[no-untyped-def]
        first, second = two(columns, 0), two(columns, 1)

        @helper
        def four(  # type: ignore[no-untyped-def]
            own, n, inputs, zero_point, low, high, outputs, plane, aside, adds, skips, zero, ratio
        ):
            first(own, n, inputs, zero_point, low, high, outputs, plane, aside, adds, skips, zero, ratio)
            second(own, n, inputs, zero_point, low, high, outputs, plane, aside, adds, skips, zero, ratio)

        return four

    return of


def sparse_convolution(four, wide):  # type: ignore[no-untyped-def]
    """A kernel body: every output channel over every pixel vector, in tiles of at most `wide` vectors; `four` as
    byte_tiles takes it. A chunk is a range of pixel vectors of one image and a slice of the output channels, which
    `bounds` cuts so that all have about as many blocks."""
    tiles = byte_tiles(F, _operands, four, wide)

    @helper
    def run(record, chunk, scratch):  # type: ignore[no-untyped-def]
        slices = load_i32(record + F.slices)
        part = udiv(chunk, slices)
        bounds = load_i64(record + F.bounds) + 4 * (chunk - part * slices)
        tiles(record, part, load_i32(bounds), load_i32(bounds + 4), scratch)

    return run
