"""Float planes -> k4p bytes: four channels quantized and interleaved at once.

The planes are those of kp or of row-major [N, C, H, W]: only their distance differs.
"""

from __future__ import annotations

from edgert.kernels_cpu.registry import record_fields
from edgert.kernels_cpu.simd import (
    LANES,
    VECTOR_BYTES,
    helper,
    load_f32,
    load_f32v,
    load_i32,
    load_i64,
    minimum,
    requantize,
    share,
    splat_f32,
    splat_i16,
    store_i8v,
    transpose4x4,
    udiv,
)  # fmt: skip

F = record_fields("quantize_f32_k4p")
LARGE = 65536
"""Beyond any 8-bit value: quotients stay within what converts to an integer."""


@helper
def quotient(x, scale, large):  # type: ignore[no-untyped-def]
    """x / scale as ONNX defines it: multiplying by 1 / scale rounds some ties differently."""
    return minimum(load_f32v(x) / scale, large)


def quantize_k4p(record, chunk, scratch):  # type: ignore[no-untyped-def]
    """A chunk is a range of vectors, counted over all planes of four channels of the batch. A group of fewer
    than four channels repeats its first one: the content of padding channels does not matter."""
    groups, channels = load_i32(record + F.groups), load_i32(record + F.channels)
    x_plane, y_plane = load_i32(record + F.x_plane), load_i32(record + F.y_plane)
    scale, large = splat_f32(load_f32(record + F.scale)), splat_f32(LARGE)
    zero_point = splat_i16(load_i32(record + F.zero_point))
    vectors = udiv(load_i32(record + F.pixels) + LANES - 1, LANES)
    units = load_i32(record + F.planes) * vectors
    i, last = share(record, units, chunk), share(record, units, chunk + 1)
    while i < last:
        plane = udiv(i, vectors)
        start = i - plane * vectors
        stop = min(vectors, start + last - i)
        image = udiv(plane, groups)
        left = channels - 4 * (plane - image * groups)
        x0 = load_i64(record + F.x) + (channels * image + channels - left) * x_plane
        x1 = x0 + (x_plane if left > 1 else 0)
        x2 = x0 + (2 * x_plane if left > 2 else 0)
        x3 = x0 + (3 * x_plane if left > 3 else 0)
        y = load_i64(record + F.y) + plane * y_plane
        for v in range(VECTOR_BYTES * start, VECTOR_BYTES * stop, VECTOR_BYTES):
            q0, q1 = quotient(x0 + v, scale, large), quotient(x1 + v, scale, large)
            q2, q3 = quotient(x2 + v, scale, large), quotient(x3 + v, scale, large)
            store_i8v(y + v, transpose4x4(requantize(q0, q1, q2, q3, zero_point)))
        i += stop - start
