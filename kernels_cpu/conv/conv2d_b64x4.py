"""int8 convolution over NC4HW4 (k4p) with output channels as vectors: for images of few pixels and 64x4 patterns.

64 output channels share which cells (4 input channels of a tap) they have. A kept cell is 4 lines of 16 channels x 4
k; they meet the four broadcast bytes of each of up to 5 pixels. Sums of four pixels pack straight into channel planes.
"""

from __future__ import annotations

from edgert.kernels_cpu.conv.tiling import row_geometry, row_of
from edgert.kernels_cpu.registry import record_fields
from edgert.kernels_cpu.simd import (
    LANES,
    REGISTERS,
    VECTOR_BYTES,
    helper,
    i32v,
    load_f32,
    load_i32,
    load_i64,
    panel_init,
    splat_f32,
    splat_i8,
    splat_i16,
    splat_i32,
)  # fmt: skip
from edgert.kernels_cpu.simd.lines import line_step, line_store, pixel_addresses

F = record_fields("conv2d_b64x4_k4p")
GROUP, BLOCK_BYTES = 64, 256
"""Channels that share a pattern, and bytes of a kept cell of theirs."""
VECTORS = 4 if REGISTERS == 32 else 2
"""Vectors of channels per tile: with 4 or 5 pixels the sums take 20 registers of 32, or 10 of 16."""
BAND = 64
"""Pixels that meet all weights before the next ones do: what they read of the input stays in the second-level cache."""


def _tile(pixels):  # type: ignore[no-untyped-def]
    """A function that computes vectors `part * VECTORS` and on of a group of 64 channels, for `pixels` pixels from p
    of which `live` belong to the image."""
    addresses, init, step = pixel_addresses(pixels), panel_init(i32v, pixels, VECTORS), line_step(pixels, VECTORS)
    store, store_residual = line_store(pixels, VECTORS, False), line_store(pixels, VECTORS, True)

    @helper
    def tile(record, group, part, p, live, x, y, residual, scratch):  # type: ignore[no-untyped-def]
        row, place = row_of(p, load_i32(record + F.per_row))
        inputs = addresses(x, row, place, load_i32(record + F.per_row), load_i32(record + F.x_pitch), live)
        start, taps = load_i64(record + F.start) + 4 * group, load_i64(record + F.taps)
        channel = GROUP * group + VECTORS * LANES * part
        first, end = load_i32(start), load_i32(start + 4)
        w = load_i64(record + F.w) + BLOCK_BYTES * first + VECTORS * VECTOR_BYTES * part
        acc = init(load_i64(record + F.bias) + 4 * channel)
        for i in range(first, end):
            acc = step(acc, inputs, load_i32(taps + 4 * i), w)
            w += BLOCK_BYTES
        scale = load_i64(record + F.scale) + 4 * channel
        zero_point = splat_i16(load_i32(record + F.zero_point))
        low, high = splat_i8(load_i32(record + F.low)), splat_i8(load_i32(record + F.high))
        plane, y_plane = channel >> 2, load_i32(record + F.y_plane)
        planes, at = load_i32(record + F.groups4) - plane, plane * y_plane + 4 * p
        if residual == 0:
            store(acc, scale, zero_point, low, high, y + at, y_plane, planes, scratch)
        else:
            residual_zero = splat_i32(load_i32(record + F.residual_zero))
            residual_scale = splat_f32(load_f32(record + F.residual_scale))
            store_residual(
                acc, scale, zero_point, low, high, y + at, y_plane, planes, scratch,
                residual + at, residual_zero, residual_scale,
            )  # fmt: skip

    return tile


_tile1, _tile4, _tile5 = _tile(1), _tile(4), _tile(5)


@helper
def _band(record, group, p, last, x, y, residual, scratch):  # type: ignore[no-untyped-def]
    """All vectors of a group of channels for pixels [p, last). A single pixel at the end joins the four before it."""
    first = p
    for part in range(GROUP // (VECTORS * LANES)):
        p = first
        while p < last:
            left = last - p
            if left == 5:
                _tile5(record, group, part, p, 5, x, y, residual, scratch)
                p += 5
            elif left == 1:
                _tile1(record, group, part, p, 1, x, y, residual, scratch)
                p += 1
            else:
                _tile4(record, group, part, p, left, x, y, residual, scratch)
                p += 4


def conv2d_b64x4(record, chunk, scratch):  # type: ignore[no-untyped-def]
    """A chunk is a range of pixels of one image, in fours, and a slice of the groups of 64 channels."""
    groups = (load_i32(record + F.groups4) + 15) >> 4
    part, n0, n1 = row_geometry(chunk, load_i32(record + F.slices), groups)
    pixels = load_i32(record + F.vectors)
    image, first, end = row_geometry(part, load_i32(record + F.parts), (pixels + 3) >> 2)
    p, last = 4 * first, min(4 * end, pixels)
    x = load_i64(record + F.x) + image * load_i32(record + F.x_batch)
    y = load_i64(record + F.y) + image * load_i32(record + F.y_batch)
    residual = load_i64(record + F.residual)
    if residual != 0:
        residual += image * load_i32(record + F.y_batch)
    while p < last:
        stop = p + BAND if last - p > BAND + 1 else last  # what would be one pixel alone stays with its band
        for group in range(n0, n1):
            _band(record, group, p, stop, x, y, residual, scratch)
        p = stop
