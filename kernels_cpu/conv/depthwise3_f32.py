"""float32 depthwise convolution 3x3 with a border of one zero, stride 1, over channel planes (kp) as they lie.

A tap is an offset into the plane for all pixels. What it reads beyond the ends of rows is masked away, sums of the left
and the right taps are kept apart for that; rows above and below come from copies of the first and the last rows.
"""

from __future__ import annotations

from edgert.kernels_cpu.conv.tiling import row_geometry
from edgert.kernels_cpu.registry import record_fields
from edgert.kernels_cpu.simd import (
    VECTOR_BYTES,
    f32v,
    helper,
    iota_i32,
    load_f32,
    load_i32,
    load_i32v,
    load_i64,
    select_gt,
    splat_f32,
    splat_i32,
    store_i32v,
    tile_init,
    tile_step,
    udiv,
    urem,
)  # fmt: skip
from edgert.kernels_cpu.simd.edges import edge_store, mask_addresses, next_vectors

F = record_fields("depthwise3_f32_kp")
LANES = VECTOR_BYTES // 4
WIDE = 4
"""Pixel vectors of a tile: with three sums each, 12 accumulators hide the latency of the multiply-adds."""


def _tile(columns):  # type: ignore[no-untyped-def]
    """A function that computes `columns` vectors of pixels from plane cells at `source`."""
    init, step, vectors = tile_init(f32v, 1, columns), tile_step(f32v, 1, columns), next_vectors(columns)
    masked, store = mask_addresses(columns), edge_store(columns)

    @helper
    def tile(source, width, w, bias, zeros, masks, place, forward, second, low, high, y):  # type: ignore[no-untyped-def]
        inputs = vectors(source)
        middle, left, right = init(bias), init(zeros), init(zeros)
        for row in range(3):
            offset = 4 * width * (row - 1)
            left = step(left, inputs, offset - 4, w + 12 * row)
            middle = step(middle, inputs, offset, w + 12 * row + 4)
            right = step(right, inputs, offset + 4, w + 12 * row + 8)
        store(middle, left, right, masked(masks, place, forward, width), second, low, high, y)

    return tile


_tile1, _tile2, _tile4 = _tile(1), _tile(2), _tile(WIDE)


@helper
def _vectors(v, last, source, width, w, bias, zeros, masks, second, low, high, y):  # type: ignore[no-untyped-def]
    """Vectors v to last of a plane; its cell 0 is, or would be, at `source`."""
    forward, step = urem(LANES, width), 0
    place = urem(v * LANES, width)
    while v < last:
        x, target = source + VECTOR_BYTES * v, y + VECTOR_BYTES * v
        if v + WIDE <= last:
            step = WIDE
            _tile4(x, width, w, bias, zeros, masks, place, forward, second, low, high, target)
        elif v + 2 <= last:
            step = 2
            _tile2(x, width, w, bias, zeros, masks, place, forward, second, low, high, target)
        else:
            step = 1
            _tile1(x, width, w, bias, zeros, masks, place, forward, second, low, high, target)
        v += step
        place = urem(place + step * forward, width)


@helper
def _framed(v, last, x, width, pixels, room):  # type: ignore[no-untyped-def]
    """Copies what vectors v to last read to `room`, with zeros above and below the plane at x. Gives where cell 0 of
    the plane would be. Reads and writes whole vectors."""
    margin = width + 1
    first, end = v * LANES - margin, last * LANES + margin
    nothing = splat_i32(0)
    source, target = x, room - 4 * first
    for c in range(first, 0, LANES):
        store_i32v(target + 4 * c, nothing)
    begin, stop = max(first, 0), min(end, pixels)
    for c in range(begin, stop, LANES):
        store_i32v(target + 4 * c, load_i32v(source + 4 * c))
    for c in range(stop, end, LANES):
        store_i32v(target + 4 * c, nothing)
    return target


@helper
def _row_masks(masks, width, second):  # type: ignore[no-untyped-def]
    """All ones, but where a pixel is the first of its row; `second` bytes on, the last. width + LANES cells each."""
    ones, zeros = splat_i32(-1), splat_i32(0)
    for c in range(0, width + LANES, LANES):
        cell = iota_i32() + splat_i32(c)
        begins, ends = ones, ones
        row = udiv(c, width) * width
        while row < c + LANES + 1:
            at = splat_i32(row)
            differs = select_gt(cell, at, ones, zeros) | select_gt(at, cell, ones, zeros)
            begins = begins & differs
            at = splat_i32(row + width - 1)
            ends = ends & (select_gt(cell, at, ones, zeros) | select_gt(at, cell, ones, zeros))
            row += width
        store_i32v(masks + 4 * c, begins)
        store_i32v(masks + second + 4 * c, ends)


def depthwise3_f32(record, chunk, scratch):  # type: ignore[no-untyped-def]
    """A chunk is a range of channels of one image. scratch: a vector of zeros, two rows of masks of `second` bytes, and
    room for the frame of the vectors that need it."""
    channels, width, pixels = load_i32(record + F.channels), load_i32(record + F.width), load_i32(record + F.pixels)
    x_plane, y_plane, second = load_i32(record + F.x_plane), load_i32(record + F.y_plane), load_i32(record + F.second)
    image, first, last = row_geometry(chunk, load_i32(record + F.parts), channels)
    x = load_i64(record + F.x) + image * channels * x_plane
    y = load_i64(record + F.y) + image * channels * y_plane
    low, high = splat_f32(load_f32(record + F.low)), splat_f32(load_f32(record + F.high))
    masks = scratch + VECTOR_BYTES
    room = masks + 2 * second
    store_i32v(scratch, splat_i32(0))
    _row_masks(masks, width, second)
    vectors, edge = udiv(pixels + LANES - 1, LANES), udiv(width + LANES, LANES)
    # the first vector of which all cells that it and later ones read are in the plane, and the first beyond them
    inner, outer = edge, udiv(max(pixels - width - 1, 0), LANES)
    for channel in range(first, last):
        w, bias = load_i64(record + F.w) + 36 * channel, load_i64(record + F.bias) + 4 * channel
        source, target = x + channel * x_plane, y + channel * y_plane
        if outer - inner < WIDE:
            at = _framed(0, vectors, source, width, pixels, room)
            _vectors(0, vectors, at, width, w, bias, scratch, masks, second, low, high, target)
        else:
            at = _framed(0, inner, source, width, pixels, room)
            _vectors(0, inner, at, width, w, bias, scratch, masks, second, low, high, target)
            _vectors(inner, outer, source, width, w, bias, scratch, masks, second, low, high, target)
            at = _framed(outer, vectors, source, width, pixels, room)
            _vectors(outer, vectors, at, width, w, bias, scratch, masks, second, low, high, target)
