"""Pooling over windows of 32-bit pixels: four bytes of k4p, or one float of kp.

Each output row first combines its input rows into scratch, with the border in place, then the columns of that.
Any kernel, stride and dilation; strides 1 and 2 along a row take whole vectors.
"""

from __future__ import annotations

from edgert.kernels_cpu.registry import record_fields
from edgert.kernels_cpu.simd import (
    LANES,
    bits_f32,
    bits_i8,
    bits_i32,
    helper,
    load_every_i32,
    load_f32v,
    load_i32,
    load_i32v,
    load_i64,
    load_strided_i32,
    max_act,
    maximum,
    select_nan,
    share,
    splat_i32,
    store_first_i32v,
    store_i32v,
    udiv,
)  # fmt: skip

F = record_fields("pool_max_q8_k4p")


@helper
def larger_bytes(a, b):  # type: ignore[no-untyped-def]
    return bits_i32(max_act(bits_i8(a), bits_i8(b)))


@helper
def larger_float(a, b):  # type: ignore[no-untyped-def]
    """NaN wins, as in the reference."""
    return bits_i32(select_nan(bits_f32(a), bits_f32(a), maximum(bits_f32(a), bits_f32(b))))


@helper
def summed_float(a, b):  # type: ignore[no-untyped-def]
    return bits_i32(bits_f32(a) + bits_f32(b))


@helper
def as_it_is(v, table):  # type: ignore[no-untyped-def]
    return v


@helper
def divided(v, table):  # type: ignore[no-untyped-def]
    return bits_i32(bits_f32(v) / load_f32v(table))


@helper
def load_pixels(address, stride):  # type: ignore[no-untyped-def]
    """LANES pixels, `stride` pixels apart."""
    if stride == 1:
        return load_i32v(address)
    if stride == 2:
        return load_every_i32(address, 2)
    return load_strided_i32(address, 4 * stride)


def _pool(combine, finish):  # type: ignore[no-untyped-def]
    """The kernel that combines pixels by `combine` and finishes them with the table's entry for their place."""

    def pool(record, chunk, scratch):  # type: ignore[no-untyped-def]
        """A chunk is a range of output rows, counted over all planes. scratch: 4 * reach bytes and two vectors."""
        width, height = load_i32(record + F.width), load_i32(record + F.height)
        out_height, out_width = load_i32(record + F.out_height), load_i32(record + F.out_width)
        kernel_h, kernel_w = load_i32(record + F.kernel_h), load_i32(record + F.kernel_w)
        stride_w, dilation_w = load_i32(record + F.stride_w), load_i32(record + F.dilation_w)
        dilation_h, left = load_i32(record + F.dilation_h), load_i32(record + F.left)
        table, reach = load_i64(record + F.table), load_i32(record + F.reach)
        identity = splat_i32(load_i32(record + F.identity))
        units = load_i32(record + F.planes) * out_height
        for unit in range(share(record, units, chunk), share(record, units, chunk + 1)):
            plane = udiv(unit, out_height)
            row = unit - plane * out_height
            x = load_i64(record + F.x) + plane * load_i32(record + F.x_plane)
            y = load_i64(record + F.y) + plane * load_i32(record + F.y_plane) + 4 * row * out_width
            first = row * load_i32(record + F.stride_h) - load_i32(record + F.top)
            for p in range(0, left, LANES):
                store_i32v(scratch + 4 * p, identity)
            for p in range(0, width, LANES):
                v = identity
                for k in range(kernel_h):
                    r = first + k * dilation_h
                    if r >= 0 and r < height:
                        v = combine(v, load_i32v(x + 4 * (r * width + p)))
                store_i32v(scratch + 4 * (left + p), v)
            for p in range(left + width, reach, LANES):
                store_i32v(scratch + 4 * p, identity)
            for p in range(0, out_width, LANES):
                v = identity
                for k in range(kernel_w):
                    v = combine(v, load_pixels(scratch + 4 * (p * stride_w + k * dilation_w), stride_w))
                store_first_i32v(y + 4 * p, finish(v, table + 4 * (row * out_width + p)), out_width - p)

    return pool


max_q8 = _pool(larger_bytes, as_it_is)
max_f32 = _pool(larger_float, as_it_is)
average_f32 = _pool(summed_float, divided)
