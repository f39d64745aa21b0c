"""k4p -> byte planes (row-major [N, C, H, W]).

`flip` is -128 where the arena holds activations as value-128.
"""

from __future__ import annotations

from edgert.kernels_cpu.registry import record_fields
from edgert.kernels_cpu.simd import (
    LANES,
    VECTOR_BYTES,
    load_i8,
    load_i8v,
    load_i32,
    load_i64,
    share,
    splat_i8,
    store_i8,
    store_plane_i8,
    udiv,
)  # fmt: skip

F = record_fields("deinterleave_q8_k4p")


def deinterleave_k4p(record, chunk, scratch):  # type: ignore[no-untyped-def]
    """A chunk is a range of vectors, counted over all planes of four channels of the batch."""
    groups, channels, pixels = (
        load_i32(record + F.groups),
        load_i32(record + F.channels),
        load_i32(record + F.pixels),
    )
    flip = load_i32(record + F.flip)
    flips = splat_i8(flip)
    vectors = udiv(pixels + LANES - 1, LANES)
    units = load_i32(record + F.planes) * vectors
    i, last = share(record, units, chunk), share(record, units, chunk + 1)
    while i < last:
        plane = udiv(i, vectors)
        start = i - plane * vectors
        stop = min(vectors, start + last - i)
        image = udiv(plane, groups)
        left = min(channels - 4 * (plane - image * groups), 4)
        x = load_i64(record + F.x) + plane * load_i32(record + F.x_plane)
        y = load_i64(record + F.y) + (channels * image + 4 * (plane - image * groups)) * pixels
        for v in range(start, min(stop, udiv(pixels, LANES))):
            bytes4, at = load_i8v(x + VECTOR_BYTES * v) ^ flips, y + LANES * v
            store_plane_i8(at, bytes4, 0)
            if left > 1:
                store_plane_i8(at + pixels, bytes4, 1)
            if left > 2:
                store_plane_i8(at + 2 * pixels, bytes4, 2)
            if left > 3:
                store_plane_i8(at + 3 * pixels, bytes4, 3)
        if stop == vectors:
            for p in range(LANES * udiv(pixels, LANES), pixels):
                for k in range(left):
                    store_i8(y + pixels * k + p, load_i8(x + 4 * p + k) ^ flip)
        i += stop - start
