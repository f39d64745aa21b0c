"""int8 depthwise convolution over NC4HW4 (k4p), in and out: no layout change, borders handled in scratch.

Rows of a channel group go to scratch with their padding, a band at a time so that the band stays in L1; windows of
4 * blocks horizontal taps are dot products of transposed lanes (simd/window.py).
"""

from __future__ import annotations

from edgert.kernels_cpu.conv.rows import body_cells, head_cells, padded_row, row_masks
from edgert.kernels_cpu.registry import record_fields
from edgert.kernels_cpu.simd import (
    VECTOR_BYTES,
    broadcast_lane_f32,
    clamp_act,
    extract_i32,
    helper,
    load_i32,
    load_i64,
    requantize,
    splat_i8,
    splat_i16,
    store_i8v,
    store_i32,
    to_f32,
    udiv,
)  # fmt: skip
from edgert.kernels_cpu.simd.window import broadcast_lane_i32, window_q8, window_weights

F = record_fields("depthwise_q8_k4p")
PIXELS = VECTOR_BYTES // 4


def _whole_window(rows, blocks, stride):  # type: ignore[no-untyped-def]
    """The accumulators of a rows x 4*blocks window, weights held in registers."""
    load_weights, window = window_weights(rows * blocks), window_q8(rows, blocks, stride)

    @helper
    def load(w, count):  # type: ignore[no-untyped-def]
        return load_weights(w)

    @helper
    def accumulate(acc, x, pitch, w, kernel_rows):  # type: ignore[no-untyped-def]
        return window(acc, x, pitch, w)

    return _band(load, accumulate)


def _row_by_row(blocks, stride):  # type: ignore[no-untyped-def]
    """As _whole_window for any number of rows: one row's weights at a time."""
    load_weights, window = window_weights(blocks), window_q8(1, blocks, stride)

    @helper
    def accumulate(acc, x, pitch, w, kernel_rows):  # type: ignore[no-untyped-def]
        for r in range(kernel_rows):
            acc = window(acc, x + r * pitch, pitch, load_weights(w + 16 * blocks * r))
        return acc

    @helper
    def address(w, count):  # type: ignore[no-untyped-def]
        return w

    return _band(address, accumulate)


def _tap_by_tap(stride):  # type: ignore[no-untyped-def]
    """For windows of any size: 4 taps of one row at a time."""
    load_weights, window = window_weights(1), window_q8(1, 1, stride)

    @helper
    def accumulate(acc, x, pitch, weights, kernel_rows):  # type: ignore[no-untyped-def]
        w, blocks = weights
        for r in range(kernel_rows):
            for s in range(blocks):
                acc = window(acc, x + r * pitch + 16 * s, pitch, load_weights(w + 16 * (r * blocks + s)))
        return acc

    @helper
    def address(w, blocks):  # type: ignore[no-untyped-def]
        return w, blocks

    return _band(address, accumulate)


def _band(load, accumulate):  # type: ignore[no-untyped-def]
    """A function that computes `count` output rows of one channel group from padded rows. load(w, blocks in a row)
    makes what accumulate takes for its weights."""

    @helper
    def band(record, w, bias, scale, source, pitch, y, count, room):  # type: ignore[no-untyped-def]
        weights = load(w, load_i32(record + F.blocks))
        start, ratio = broadcast_lane_i32(bias), broadcast_lane_f32(scale)
        zero_point, kernel_rows = splat_i16(load_i32(record + F.zero_point)), load_i32(record + F.kernel_rows)
        low, high = splat_i8(load_i32(record + F.low)), splat_i8(load_i32(record + F.high))
        width, stride = load_i32(record + F.out_width), load_i32(record + F.stride)
        for row in range(count):
            column = 0
            while column < width:
                if column + PIXELS > width and width >= PIXELS:
                    column = width - PIXELS
                acc = accumulate(
                    (start, start, start, start), source + 4 * stride * column, pitch, weights, kernel_rows
                )
                v = requantize(
                    to_f32(acc[0]) * ratio, to_f32(acc[1]) * ratio, to_f32(acc[2]) * ratio, to_f32(acc[3]) * ratio,
                    zero_point,
                )  # fmt: skip
                v = clamp_act(v, low, high)
                # a row narrower than a vector spills into the next, which is written later, unless the plane ends
                if width >= PIXELS or 4 * width * row + VECTOR_BYTES <= room:
                    store_i8v(y + 4 * column, v)
                else:
                    for i in range(width):
                        store_i32(y + 4 * i, extract_i32(v, i))
                column += PIXELS
            source += stride * pitch
            y += 4 * width

    return band


_3x3, _3x3_stride2 = _whole_window(3, 1, 1), _whole_window(3, 1, 2)
_5x5, _5x5_stride2 = _whole_window(5, 2, 1), _whole_window(5, 2, 2)
_any1, _any1_stride2 = _row_by_row(1, 1), _row_by_row(1, 2)
_any2, _any2_stride2 = _row_by_row(2, 1), _row_by_row(2, 2)
_wide, _wide_stride2 = _tap_by_tap(1), _tap_by_tap(2)


@helper
def _compute(record, w, bias, scale, source, pitch, y, count, room):  # type: ignore[no-untyped-def]
    rows, blocks = load_i32(record + F.kernel_rows), load_i32(record + F.blocks)
    if load_i32(record + F.stride) == 1:
        if rows == 3 and blocks == 1:
            _3x3(record, w, bias, scale, source, pitch, y, count, room)
        elif rows == 5 and blocks == 2:
            _5x5(record, w, bias, scale, source, pitch, y, count, room)
        elif blocks == 1:
            _any1(record, w, bias, scale, source, pitch, y, count, room)
        elif blocks > 2:
            _wide(record, w, bias, scale, source, pitch, y, count, room)
        else:
            _any2(record, w, bias, scale, source, pitch, y, count, room)
    elif rows == 3 and blocks == 1:
        _3x3_stride2(record, w, bias, scale, source, pitch, y, count, room)
    elif rows == 5 and blocks == 2:
        _5x5_stride2(record, w, bias, scale, source, pitch, y, count, room)
    elif blocks == 1:
        _any1_stride2(record, w, bias, scale, source, pitch, y, count, room)
    elif blocks > 2:
        _wide_stride2(record, w, bias, scale, source, pitch, y, count, room)
    else:
        _any2_stride2(record, w, bias, scale, source, pitch, y, count, room)


def depthwise_q8(record, chunk, scratch):  # type: ignore[no-untyped-def]
    """A chunk is one group of 4 channels of one image. scratch: a row of masks, then the band's padded rows."""
    groups, height, width = (
        load_i32(record + F.groups4),
        load_i32(record + F.height),
        load_i32(record + F.width),
    )
    group = chunk - groups * udiv(chunk, groups)
    stride, kernel_rows = load_i32(record + F.stride), load_i32(record + F.kernel_rows)
    top, left, border = load_i32(record + F.top), load_i32(record + F.left), load_i32(record + F.border)
    pitch, out_height, out_width = (
        load_i32(record + F.pitch), load_i32(record + F.out_height), load_i32(record + F.out_width),
    )  # fmt: skip
    x = load_i64(record + F.x) + chunk * load_i32(record + F.x_plane)
    y = load_i64(record + F.y) + chunk * load_i32(record + F.y_plane)
    w = load_i64(record + F.w) + group * 16 * kernel_rows * load_i32(record + F.blocks)
    bias, scale = load_i64(record + F.bias) + 16 * group, load_i64(record + F.scale) + 16 * group
    band, columns = load_i32(record + F.band_rows), pitch >> 2
    head = head_cells(left, 1, 0, columns)
    row_masks(scratch, head, body_cells(head, left, 1, 0, width, columns), columns)
    rows = scratch + pitch
    first = 0
    while first < out_height:
        count = min(band, out_height - first)
        for r in range((count - 1) * stride + kernel_rows):
            row = first * stride + r - top
            source = x + 4 * (row * width - left)
            padded_row(rows + r * pitch, source, row >= 0 and row < height, scratch, 1, columns, border)
        done = 4 * first * out_width
        room = load_i32(record + F.y_plane) - done
        _compute(record, w, bias, scale, rows, pitch, y + done, count, room)
        first += count
