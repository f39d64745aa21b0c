"""Byte planes (row-major [N, C, H, W]) -> k4p, four channels to a pixel.

`flip` is -128 where the arena holds activations as value-128: row buffers hold true unsigned bytes everywhere.
"""

from __future__ import annotations

from edgert.kernels_cpu.registry import record_fields
from edgert.kernels_cpu.simd import (
    LANES,
    VECTOR_BYTES,
    load_i32,
    load_i64,
    load_interleaved_i8,
    share,
    splat_i8,
    store_i8v,
    udiv,
)  # fmt: skip

F = record_fields("interleave_q8_k4p")


def interleave_k4p(record, chunk, scratch):  # type: ignore[no-untyped-def]
    """A chunk is a range of vectors, counted over all planes of four channels of the batch. A group of fewer
    than four channels repeats its first one."""
    groups, channels, pixels = (
        load_i32(record + F.groups),
        load_i32(record + F.channels),
        load_i32(record + F.pixels),
    )
    flip = splat_i8(load_i32(record + F.flip))
    vectors = udiv(pixels + LANES - 1, LANES)
    units = load_i32(record + F.planes) * vectors
    i, last = share(record, units, chunk), share(record, units, chunk + 1)
    while i < last:
        plane = udiv(i, vectors)
        start = i - plane * vectors
        stop = min(vectors, start + last - i)
        image = udiv(plane, groups)
        left = channels - 4 * (plane - image * groups)
        x0 = load_i64(record + F.x) + (channels * image + channels - left) * pixels
        x1 = x0 + (pixels if left > 1 else 0)
        x2 = x0 + (2 * pixels if left > 2 else 0)
        x3 = x0 + (3 * pixels if left > 3 else 0)
        y = load_i64(record + F.y) + plane * load_i32(record + F.y_plane)
        for v in range(start, stop):
            p = LANES * v
            store_i8v(y + VECTOR_BYTES * v, load_interleaved_i8(x0 + p, x1 + p, x2 + p, x3 + p) ^ flip)
        i += stop - start
