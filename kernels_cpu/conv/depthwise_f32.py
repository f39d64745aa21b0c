"""float32 depthwise convolution over channel planes (kp): any kernel, stride, dilation and channel multiplier.

Padded rows go to scratch a band at a time, split into column phases by the stride, so that every tap of a row of
output pixels is one contiguous vector at an offset from the `taps` table. Windows of 3x3 and 5x5 go through them in
stacks of up to 8 output rows (simd/stacked.py), which load each vector of input once for all rows it is under.
"""

from __future__ import annotations

from edgert.kernels_cpu.conv.rows import (
    body_cells,
    copy_cells,
    head_cells,
    padded_row,
    padded_row_exact,
    padded_row_phases,
    row_masks,
)
from edgert.kernels_cpu.conv.tiling import row_geometry, row_of
from edgert.kernels_cpu.registry import record_fields
from edgert.kernels_cpu.simd import (
    VECTOR_BYTES,
    f32v,
    helper,
    load_f32,
    load_i32,
    load_i64,
    row_addresses,
    splat_f32,
    tile_init,
    tile_step,
    tile_store_f32,
    udiv,
)  # fmt: skip
from edgert.kernels_cpu.simd.stacked import stack_store, stack_sums

F = record_fields("depthwise_f32_kp")
WIDE = 7
"""Rows of image networks are 7 * 2**n pixels; 7 accumulators hide the latency of the multiply-adds."""
LANES = VECTOR_BYTES // 4
ASIDE = WIDE * VECTOR_BYTES
"""Bytes at the start of scratch for rows narrower than a vector; then a row of masks, then the padded rows."""


def _tile(columns):  # type: ignore[no-untyped-def]
    """A function that computes `columns` pixel vectors of one channel, from padded rows."""
    init, step = tile_init(f32v, 1, columns), tile_step(f32v, 1, columns)
    addresses, store = row_addresses(columns), tile_store_f32(1, columns, False)

    @helper
    def tile(record, v, per_row, row_last, x_pitch, row_bytes, w, bias, source, y, room, aside):  # type: ignore[no-untyped-def]
        taps, kernel = load_i64(record + F.taps), load_i32(record + F.kernel)
        low, high = splat_f32(load_f32(record + F.low)), splat_f32(load_f32(record + F.high))
        row, place = row_of(v, per_row)
        inputs = addresses(source, row, place, per_row, VECTOR_BYTES, row_last, x_pitch)
        acc = init(bias)
        for i in range(kernel):
            acc = step(acc, inputs, load_i32(taps + 4 * i), w + 4 * i)
        # a row narrower than a vector spills into the next row, which is written after it, unless the plane ends
        if row_bytes >= VECTOR_BYTES or (v + columns - 1) * row_bytes + VECTOR_BYTES <= room:
            store(acc, low, high, addresses(y, row, place, per_row, VECTOR_BYTES, row_last, row_bytes), 0, 0)
        else:
            store(acc, low, high, addresses(aside, 0, 0, columns, VECTOR_BYTES, VECTOR_BYTES * columns, 0), 0, 0)
            for t in range(columns):
                copy_cells(y + (v + t) * row_bytes, aside + VECTOR_BYTES * t, row_bytes >> 2)

    return tile


_tile1, _tile2, _tile4, _tile7 = _tile(1), _tile(2), _tile(4), _tile(WIDE)


def _stack(rows, kernel, stride):  # type: ignore[no-untyped-def]
    """A function that computes `rows` rows of output pixels under each other, from padded rows at `source`."""
    sums, store = stack_sums(rows, kernel, stride), stack_store(rows)

    @helper
    def stack(source, pitch, phase, w, bias, low, high, y, row_bytes):  # type: ignore[no-untyped-def]
        place, row_last = 0, max(row_bytes - VECTOR_BYTES, 0)
        while place < row_bytes:
            at = min(place, row_last)
            store(sums(bias, w, source + at, pitch, phase), low, high, y + at, row_bytes)
            place += VECTOR_BYTES

    return stack


def _stacks(kernel, stride):  # type: ignore[no-untyped-def]
    """A function that computes `count` rows of output pixels. Rows narrower than a vector spill into the next one."""
    stack8, stack4 = _stack(8, kernel, stride), _stack(4, kernel, stride)
    stack2, stack1 = _stack(2, kernel, stride), _stack(1, kernel, stride)

    @helper
    def stacks(count, source, pitch, phase, w, bias, low, high, y, row_bytes):  # type: ignore[no-untyped-def]
        r = 0
        while r < count:
            x, target, step = source + r * stride * pitch, y + r * row_bytes, 1
            if r + 8 <= count:
                step = 8
                stack8(x, pitch, phase, w, bias, low, high, target, row_bytes)
            elif r + 4 <= count:
                step = 4
                stack4(x, pitch, phase, w, bias, low, high, target, row_bytes)
            elif r + 2 <= count:
                step = 2
                stack2(x, pitch, phase, w, bias, low, high, target, row_bytes)
            else:
                stack1(x, pitch, phase, w, bias, low, high, target, row_bytes)
            r += step

    return stacks


_stacks31, _stacks32, _stacks51, _stacks52 = _stacks(3, 1), _stacks(3, 2), _stacks(5, 1), _stacks(5, 2)


@helper
def _stacked(record, count, source, pitch, phase, w, bias, y, row_bytes, room):  # type: ignore[no-untyped-def]
    """Computes rows of a band in stacks; gives how many. Of rows narrower than a vector, those that would spill out of
    the plane are left."""
    kernel, stride = load_i32(record + F.stack), load_i32(record + F.stride_w)
    low, high = splat_f32(load_f32(record + F.low)), splat_f32(load_f32(record + F.high))
    if kernel == 0 or room < VECTOR_BYTES:
        return 0
    if row_bytes < VECTOR_BYTES:
        count = min(count, udiv(room - VECTOR_BYTES, row_bytes) + 1)
    if kernel == 3 and stride == 1:
        _stacks31(count, source, pitch, phase, w, bias, low, high, y, row_bytes)
    elif kernel == 3:
        _stacks32(count, source, pitch, phase, w, bias, low, high, y, row_bytes)
    elif stride == 1:
        _stacks51(count, source, pitch, phase, w, bias, low, high, y, row_bytes)
    else:
        _stacks52(count, source, pitch, phase, w, bias, low, high, y, row_bytes)
    return count


@helper
def _channel(record, channel, x, y, masks, scratch):  # type: ignore[no-untyped-def]
    """One output channel: bands of padded rows into scratch, then their tiles."""
    height, width, top = load_i32(record + F.height), load_i32(record + F.width), load_i32(record + F.top)
    stride_h, stride_w = load_i32(record + F.stride_h), load_i32(record + F.stride_w)
    left, columns = load_i32(record + F.left), load_i32(record + F.columns)
    out_height, row_bytes = load_i32(record + F.out_height), 4 * load_i32(record + F.out_width)
    w = load_i64(record + F.w) + 4 * channel * load_i32(record + F.kernel)
    bias = load_i64(record + F.bias) + 4 * channel
    pitch, per_row = 4 * columns * stride_w, load_i32(record + F.per_row)
    row_last, rows, x_pitch = max(row_bytes - VECTOR_BYTES, 0), masks + pitch, stride_h * pitch
    first = 0
    while first < out_height:
        count = min(load_i32(record + F.band_rows), out_height - first)
        for r in range((count - 1) * stride_h + load_i32(record + F.taps_rows)):
            row = first * stride_h + r - top
            inside = row >= 0 and row < height
            if stride_w == 2:
                source = x + 4 * (row * width - left)
                padded_row_phases(rows + r * pitch, source, inside, masks, columns, 0)
                continue
            for phase in range(stride_w):
                place, source = rows + r * pitch + 4 * columns * phase, x + 4 * (row * width + phase - left)
                if stride_w == 1:
                    padded_row(place, source, inside, masks, 1, columns, 0)
                else:
                    head = head_cells(left, stride_w, phase, columns)
                    body = body_cells(head, left, stride_w, phase, width, columns)
                    padded_row_exact(place, source, inside, head, body, stride_w, columns, 0)
        target, room = y + first * row_bytes, load_i32(record + F.y_plane) - first * row_bytes
        done = _stacked(record, count, rows, pitch, 4 * columns, w, bias, target, row_bytes, room)
        v, last = done * per_row, count * per_row
        while v + WIDE <= last:
            _tile7(record, v, per_row, row_last, x_pitch, row_bytes, w, bias, rows, target, room, scratch)
            v += WIDE
        if v + 4 <= last:
            _tile4(record, v, per_row, row_last, x_pitch, row_bytes, w, bias, rows, target, room, scratch)
            v += 4
        if v + 2 <= last:
            _tile2(record, v, per_row, row_last, x_pitch, row_bytes, w, bias, rows, target, room, scratch)
            v += 2
        if v < last:
            _tile1(record, v, per_row, row_last, x_pitch, row_bytes, w, bias, rows, target, room, scratch)
        first += count


def depthwise_f32(record, chunk, scratch):  # type: ignore[no-untyped-def]
    """A chunk is a range of output channels of one image. scratch: 7 vectors, then 1 + (band_rows - 1) * stride_h +
    taps_rows rows of stride_w * columns cells."""
    channels, multiplier = load_i32(record + F.channels), load_i32(record + F.multiplier)
    width, stride_w = load_i32(record + F.width), load_i32(record + F.stride_w)
    left, columns = load_i32(record + F.left), load_i32(record + F.columns)
    x_plane, y_plane = load_i32(record + F.x_plane), load_i32(record + F.y_plane)
    image, first, last = row_geometry(chunk, load_i32(record + F.parts), channels)
    x = load_i64(record + F.x) + udiv(image * channels, multiplier) * x_plane
    y = load_i64(record + F.y) + image * channels * y_plane
    masks = scratch + ASIDE
    for phase in range(stride_w):
        head = head_cells(left, stride_w, phase, columns)
        row_masks(masks + 4 * columns * phase, head, body_cells(head, left, stride_w, phase, width, columns), columns)
    source = first
    for channel in range(first, last):
        if multiplier > 1:
            source = udiv(channel, multiplier)
        _channel(record, channel, x + source * x_plane, y + channel * y_plane, masks, scratch)
        source += 1
