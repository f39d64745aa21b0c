"""int8 depthwise convolution over NC4HW4 (k4p), in and out: no layout change, borders handled in scratch.

Rows of a channel group go to scratch with their padding, a band at a time so that the band stays in L1; windows of
4 * blocks horizontal taps are dot products of transposed lanes (simd/window.py). 3x3 and 5x5 have forms of their own
on ARM: rows interleaved where there is a dot product (simd/window_rows.py), else tap by tap (simd/window_taps.py).
"""

from __future__ import annotations

from edgert.kernels_cpu.conv.rows import body_cells, bordered_row, head_cells, padded_row, row_masks
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
from edgert.kernels_cpu.simd.target import has
from edgert.kernels_cpu.simd.window import broadcast_lane_i32, window_q8, window_weights
from edgert.kernels_cpu.simd.window_rows import row_weights, row_window
from edgert.kernels_cpu.simd.window_taps import tap_weights, tap_window

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


def _by_rows(rows, columns):  # type: ignore[no-untyped-def]
    """As _whole_window at stride 1 for rows at least a vector wide, two rows of outputs at a time."""
    two, one = _output_rows(rows, columns, 2), _output_rows(rows, columns, 1)

    @helper
    def band(record, w, bias, scale, source, pitch, y, count, room):  # type: ignore[no-untyped-def]
        even, row = count & -2, 4 * load_i32(record + F.out_width)
        two(record, w, bias, scale, source, pitch, y, even)
        one(record, w, bias, scale, source + even * pitch, pitch, y + even * row, count & 1)

    return band


def _output_rows(rows, columns, outputs):  # type: ignore[no-untyped-def]
    load, window = row_weights(rows, columns, outputs), row_window(rows, columns, outputs)

    @helper
    def output_rows(record, w, bias, scale, source, pitch, y, count):  # type: ignore[no-untyped-def]
        weights = load(w)
        start, ratio = broadcast_lane_i32(bias), broadcast_lane_f32(scale)
        zero_point, width = splat_i16(load_i32(record + F.zero_point)), load_i32(record + F.out_width)
        low, high = splat_i8(load_i32(record + F.low)), splat_i8(load_i32(record + F.high))
        for _ in range(0, count, outputs):
            column = 0
            while column < width:
                column = min(column, width - PIXELS)
                acc = window(start, source + 4 * column, pitch, weights)
                for o in range(outputs):
                    v = requantize(
                        to_f32(acc[4 * o]) * ratio, to_f32(acc[4 * o + 1]) * ratio, to_f32(acc[4 * o + 2]) * ratio,
                        to_f32(acc[4 * o + 3]) * ratio, zero_point,
                    )  # fmt: skip
                    store_i8v(y + 4 * (column + width * o), clamp_act(v, low, high))
                column += PIXELS
            source += outputs * pitch
            y += 4 * width * outputs

    return output_rows


_3x3, _3x3_stride2 = _whole_window(3, 1, 1), _whole_window(3, 1, 2)
_5x5, _5x5_stride2 = _whole_window(5, 2, 1), _whole_window(5, 2, 2)
_any1, _any1_stride2 = _row_by_row(1, 1), _row_by_row(1, 2)
_any2, _any2_stride2 = _row_by_row(2, 1), _row_by_row(2, 2)
_wide, _wide_stride2 = _tap_by_tap(1), _tap_by_tap(2)


def _by_taps(rows, columns, stride):  # type: ignore[no-untyped-def]
    """As _whole_window for ISAs without a dot product."""
    load_weights, window = tap_weights(rows, columns), tap_window(rows, columns, stride)

    @helper
    def load(w, count):  # type: ignore[no-untyped-def]
        return load_weights(w)

    @helper
    def accumulate(acc, x, pitch, w, kernel_rows):  # type: ignore[no-untyped-def]
        return window(acc, x, pitch, w)

    return _band(load, accumulate)


NARROW = has("neon")
"""Whether windows of just 3 or 5 columns have functions of their own; those above multiply spare columns by zero."""
_narrow3, _narrow3_stride2, _narrow5, _narrow5_stride2 = _3x3, _3x3_stride2, _5x5, _5x5_stride2
if has("dotprod"):
    _narrow3, _narrow5 = _by_rows(3, 3), _by_rows(5, 5)
elif has("neon"):
    _narrow3, _narrow3_stride2 = _by_taps(3, 3, 1), _by_taps(3, 3, 2)
    _narrow5, _narrow5_stride2 = _by_taps(5, 5, 1), _by_taps(5, 5, 2)


@helper
def _spare(w, rows, blocks, tap):  # type: ignore[no-untyped-def]
    """Whether every row's taps from number `tap` of its last block on are zero, in all 4 channels."""
    spare = 0
    for r in range(rows):
        row = w + 16 * (blocks * r + blocks - 1)
        for channel in range(4):
            spare |= load_i32(row + 4 * channel) >> (8 * tap)
    return spare == 0


@helper
def _compute(record, w, bias, scale, source, pitch, y, count, room):  # type: ignore[no-untyped-def]
    rows, blocks, stride = load_i32(record + F.kernel_rows), load_i32(record + F.blocks), load_i32(record + F.stride)
    narrow = NARROW and load_i32(record + F.out_width) >= PIXELS
    if rows == 3 and blocks == 1:
        if narrow and _spare(w, 3, 1, 3):
            if stride == 1:
                _narrow3(record, w, bias, scale, source, pitch, y, count, room)
            else:
                _narrow3_stride2(record, w, bias, scale, source, pitch, y, count, room)
        elif stride == 1:
            _3x3(record, w, bias, scale, source, pitch, y, count, room)
        else:
            _3x3_stride2(record, w, bias, scale, source, pitch, y, count, room)
    elif rows == 5 and blocks == 2:
        if narrow and _spare(w, 5, 2, 1):
            if stride == 1:
                _narrow5(record, w, bias, scale, source, pitch, y, count, room)
            else:
                _narrow5_stride2(record, w, bias, scale, source, pitch, y, count, room)
        elif stride == 1:
            _5x5(record, w, bias, scale, source, pitch, y, count, room)
        else:
            _5x5_stride2(record, w, bias, scale, source, pitch, y, count, room)
    elif stride == 1:
        if blocks == 1:
            _any1(record, w, bias, scale, source, pitch, y, count, room)
        elif blocks > 2:
            _wide(record, w, bias, scale, source, pitch, y, count, room)
        else:
            _any2(record, w, bias, scale, source, pitch, y, count, room)
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
    body = body_cells(head, left, 1, 0, width, columns)
    if VECTOR_BYTES > 16:
        row_masks(scratch, head, body, columns)
    rows = scratch + pitch
    first = 0
    while first < out_height:
        count = min(band, out_height - first)
        for r in range((count - 1) * stride + kernel_rows):
            row = first * stride + r - top
            source = x + 4 * (row * width - left)
            inside = row >= 0 and row < height
            if VECTOR_BYTES > 16:
                padded_row(rows + r * pitch, source, inside, scratch, 1, columns, border)
            else:
                bordered_row(rows + r * pitch, source, inside, head, body, columns, border)
        done = 4 * first * out_width
        room = load_i32(record + F.y_plane) - done
        _compute(record, w, bias, scale, rows, pitch, y + done, count, room)
        first += count
