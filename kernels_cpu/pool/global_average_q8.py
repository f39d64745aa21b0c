"""The mean of every channel of k4p: exact sums, one multiplication, one rounding.

Source: com.microsoft QLinearGlobalAveragePool, reference/quantized.py.
"""

from __future__ import annotations

from edgert.kernels_cpu.registry import record_fields
from edgert.kernels_cpu.simd import (
    LANES,
    VECTOR_BYTES,
    bits_i8,
    bits_i32,
    byte0,
    byte1,
    byte2,
    byte3,
    clamp_act,
    helper,
    keep_first,
    load_f32,
    load_i8v,
    load_i32,
    load_i64,
    reduce_add,
    requantize,
    share,
    splat_f32,
    splat_i8,
    splat_i16,
    splat_i32,
    store_first_i8v,
    to_f32,
    transpose4x4,
    udiv,
)  # fmt: skip

F = record_fields("pool_global_average_q8_k4p")


@helper
def scaled(sums, total_zero, multiplier):  # type: ignore[no-untyped-def]
    """The sum of a vector of sums less the zero points, multiplied, in every element."""
    return to_f32(splat_i32(reduce_add(sums) - total_zero)) * multiplier


def global_average_q8(record, chunk, scratch):  # type: ignore[no-untyped-def]
    """A chunk is a range of planes of four channels. Output planes are y_plane bytes apart: 4 in row layout,
    where the last group of a tensor writes only the channels it has."""
    groups, channels, pixels = load_i32(record + F.groups), load_i32(record + F.channels), load_i32(record + F.pixels)
    total_zero, multiplier = load_i32(record + F.total_zero), splat_f32(load_f32(record + F.multiplier))
    zero_point, flip = splat_i16(load_i32(record + F.zero_point)), splat_i8(load_i32(record + F.flip))
    low, high = splat_i8(load_i32(record + F.low)), splat_i8(load_i32(record + F.high))
    planes, nothing = load_i32(record + F.planes), splat_i32(0)
    vectors = udiv(pixels, LANES)
    for plane in range(share(record, planes, chunk), share(record, planes, chunk + 1)):
        image = udiv(plane, groups)
        group = plane - image * groups
        x = load_i64(record + F.x) + plane * load_i32(record + F.x_plane)
        s0, s1, s2, s3 = nothing, nothing, nothing, nothing
        for i in range(vectors):
            v = load_i8v(x + VECTOR_BYTES * i)
            s0, s1, s2, s3 = s0 + byte0(v), s1 + byte1(v), s2 + byte2(v), s3 + byte3(v)
        if pixels > vectors * LANES:
            rest = keep_first(bits_i32(load_i8v(x + VECTOR_BYTES * vectors)), pixels - vectors * LANES, nothing)
            v = bits_i8(rest)
            s0, s1, s2, s3 = s0 + byte0(v), s1 + byte1(v), s2 + byte2(v), s3 + byte3(v)
        q0, q1 = scaled(s0, total_zero, multiplier), scaled(s1, total_zero, multiplier)
        q2, q3 = scaled(s2, total_zero, multiplier), scaled(s3, total_zero, multiplier)
        packed = clamp_act(transpose4x4(requantize(q0, q1, q2, q3, zero_point)), low, high) ^ flip
        y = load_i64(record + F.y) + image * load_i32(record + F.y_image) + group * load_i32(record + F.y_plane)
        store_first_i8v(y, packed, min(channels - 4 * group, 4))
