"""k4p bytes -> float planes, of kp or of row-major [N, C, H, W].

Row-major planes end where the next begins, so only `y_pixels` of each are written.
"""

from __future__ import annotations

from edgert.kernels_cpu.registry import record_fields
from edgert.kernels_cpu.simd import (
    LANES,
    VECTOR_BYTES,
    byte0,
    byte1,
    byte2,
    byte3,
    helper,
    load_f32,
    load_i8v,
    load_i32,
    load_i64,
    share,
    splat_f32,
    splat_i32,
    store_first_f32v,
    to_f32,
    udiv,
)  # fmt: skip

F = record_fields("dequantize_q8_k4p")


@helper
def write(y, q, zero_point, scale, count):  # type: ignore[no-untyped-def]
    store_first_f32v(y, to_f32(q - zero_point) * scale, count)


def dequantize_k4p(record, chunk, scratch):  # type: ignore[no-untyped-def]
    """A chunk is a range of vectors, counted over all planes of four channels of the batch."""
    groups, channels = load_i32(record + F.groups), load_i32(record + F.channels)
    x_plane, y_plane = load_i32(record + F.x_plane), load_i32(record + F.y_plane)
    scale, zero_point = splat_f32(load_f32(record + F.scale)), splat_i32(load_i32(record + F.zero_point))
    y_pixels = load_i32(record + F.y_pixels)
    vectors = udiv(load_i32(record + F.pixels) + LANES - 1, LANES)
    units = load_i32(record + F.planes) * vectors
    i, last = share(record, units, chunk), share(record, units, chunk + 1)
    while i < last:
        plane = udiv(i, vectors)
        start = i - plane * vectors
        stop = min(vectors, start + last - i)
        image = udiv(plane, groups)
        left = channels - 4 * (plane - image * groups)
        x = load_i64(record + F.x) + plane * x_plane
        y = load_i64(record + F.y) + (channels * image + channels - left) * y_plane
        for v in range(start, stop):
            bytes4, at, count = load_i8v(x + VECTOR_BYTES * v), y + VECTOR_BYTES * v, y_pixels - LANES * v
            write(at, byte0(bytes4), zero_point, scale, count)
            if left > 1:
                write(at + y_plane, byte1(bytes4), zero_point, scale, count)
            if left > 2:
                write(at + 2 * y_plane, byte2(bytes4), zero_point, scale, count)
            if left > 3:
                write(at + 3 * y_plane, byte3(bytes4), zero_point, scale, count)
        i += stop - start
