"""Average pooling of bytes over windows: exact 32-bit sums of each channel, one multiplication, one rounding.

As window.py, with four rows of sums in scratch. Source: com.microsoft QLinearAveragePool, reference/quantized.py.
"""

from __future__ import annotations

from edgert.kernels_cpu.pool.window import load_pixels
from edgert.kernels_cpu.registry import record_fields
from edgert.kernels_cpu.simd import (
    LANES,
    bits_i32,
    byte0,
    byte1,
    byte2,
    byte3,
    clamp_act,
    helper,
    load_f32v,
    load_i8v,
    load_i32,
    load_i64,
    requantize,
    share,
    splat_i8,
    splat_i16,
    splat_i32,
    store_first_i32v,
    store_i32v,
    to_f32,
    transpose4x4,
    udiv,
)  # fmt: skip

F = record_fields("pool_average_q8_k4p")


@helper
def columns(sums, kernel_w, dilation_w, stride_w, multiplier):  # type: ignore[no-untyped-def]
    total = splat_i32(0)
    for k in range(kernel_w):
        total = total + load_pixels(sums + 4 * k * dilation_w, stride_w)
    return to_f32(total) * multiplier


def average_q8(record, chunk, scratch):  # type: ignore[no-untyped-def]
    """A chunk is a range of output rows, counted over all planes. scratch: 4 rows of 4 * (reach + 2 * LANES) bytes."""
    width, height = load_i32(record + F.width), load_i32(record + F.height)
    out_height, out_width = load_i32(record + F.out_height), load_i32(record + F.out_width)
    kernel_h, kernel_w = load_i32(record + F.kernel_h), load_i32(record + F.kernel_w)
    stride_w, dilation_w = load_i32(record + F.stride_w), load_i32(record + F.dilation_w)
    dilation_h, left = load_i32(record + F.dilation_h), load_i32(record + F.left)
    table, reach = load_i64(record + F.table), load_i32(record + F.reach)
    pitch = 4 * (reach + 2 * LANES)
    x_zero, nothing = splat_i32(load_i32(record + F.x_zero)), splat_i32(0)
    zero_point = splat_i16(load_i32(record + F.zero_point))
    low, high = splat_i8(load_i32(record + F.low)), splat_i8(load_i32(record + F.high))
    units = load_i32(record + F.planes) * out_height
    for unit in range(share(record, units, chunk), share(record, units, chunk + 1)):
        plane = udiv(unit, out_height)
        row = unit - plane * out_height
        x = load_i64(record + F.x) + plane * load_i32(record + F.x_plane)
        y = load_i64(record + F.y) + plane * load_i32(record + F.y_plane) + 4 * row * out_width
        first = row * load_i32(record + F.stride_h) - load_i32(record + F.top)
        for channel in range(4):
            for p in range(0, left, LANES):
                store_i32v(scratch + channel * pitch + 4 * p, nothing)
        for p in range(0, width, LANES):
            s0, s1, s2, s3 = nothing, nothing, nothing, nothing
            for k in range(kernel_h):
                r = first + k * dilation_h
                if r >= 0 and r < height:
                    v = load_i8v(x + 4 * (r * width + p))
                    s0 = s0 + (byte0(v) - x_zero)
                    s1 = s1 + (byte1(v) - x_zero)
                    s2 = s2 + (byte2(v) - x_zero)
                    s3 = s3 + (byte3(v) - x_zero)
            at = scratch + 4 * (left + p)
            store_i32v(at, s0)
            store_i32v(at + pitch, s1)
            store_i32v(at + 2 * pitch, s2)
            store_i32v(at + 3 * pitch, s3)
        for channel in range(4):
            for p in range(left + width, reach, LANES):
                store_i32v(scratch + channel * pitch + 4 * p, nothing)
        for p in range(0, out_width, LANES):
            at, multiplier = scratch + 4 * p * stride_w, load_f32v(table + 4 * (row * out_width + p))
            q0 = columns(at, kernel_w, dilation_w, stride_w, multiplier)
            q1 = columns(at + pitch, kernel_w, dilation_w, stride_w, multiplier)
            q2 = columns(at + 2 * pitch, kernel_w, dilation_w, stride_w, multiplier)
            q3 = columns(at + 3 * pitch, kernel_w, dilation_w, stride_w, multiplier)
            packed = clamp_act(transpose4x4(requantize(q0, q1, q2, q3, zero_point)), low, high)
            store_first_i32v(y + 4 * p, bits_i32(packed), out_width - p)
