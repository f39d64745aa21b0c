"""Keys and values of a run, written into the cache: keys normalized, rotated and transposed, values as they are.

Keys lie in groups of 16 positions, [kv head][group][depth][16], values in rows, [kv head][position][depth]; half
numbers saturate rather than become infinite, and int8 ones share a scale per position and head.
"""

from __future__ import annotations

import numpy as np

from edgert.kernels_cpu.attention.head import angles_at, first_position, prepare
from edgert.kernels_cpu.attention.sizes import ANGLE_BYTES, GROUP
from edgert.kernels_cpu.elementwise.functions import const
from edgert.kernels_cpu.registry import record_fields
from edgert.kernels_cpu.simd import (
    LANES,
    absolute,
    helper,
    load_f32,
    load_f32v,
    load_i8,
    load_i16,
    load_i32,
    load_i64,
    maximum,
    minimum,
    reduce_max,
    round_i32,
    share,
    splat_f32,
    store_f32,
    store_f32v,
    store_i8,
    store_i16,
    store_i32,
    udiv,
    urem,
)  # fmt: skip
from edgert.kernels_cpu.simd.half import store_f16v
from edgert.kernels_cpu.simd.heads import ELEMENT_BYTES, store_narrow_i8
from edgert.kernels_cpu.simd.rows import present_rows

F = record_fields("rope_f32_kvf16")
HALF_MAX = 65504.0
STEPS, SMALLEST = np.float32(127.0), np.float32(1e-30)


@helper
def _narrow_f32(x, y, depth, scale):  # type: ignore[no-untyped-def]
    for i in range(0, depth, LANES):
        store_f32v(y + 4 * i, load_f32v(x + 4 * i))


@helper
def _narrow_f16(x, y, depth, scale):  # type: ignore[no-untyped-def]
    for i in range(0, depth, LANES):
        v = maximum(const(-HALF_MAX), minimum(const(HALF_MAX), load_f32v(x + 4 * i)))
        store_f16v(y + 2 * i, v)


@helper
def _narrow_i8(x, y, depth, scale):  # type: ignore[no-untyped-def]
    """q = round(x / scale), scale = max|x| / 127, written to `scale`."""
    top = const(0.0)
    for i in range(0, depth, LANES):
        top = maximum(top, absolute(load_f32v(x + 4 * i)))
    largest = reduce_max(top)
    store_f32(scale, largest / STEPS)
    inverse = splat_f32(STEPS / max(largest, SMALLEST))
    for i in range(0, depth, LANES):
        store_narrow_i8(y + i, round_i32(load_f32v(x + 4 * i) * inverse))


@helper
def _copy_i32(source, target):  # type: ignore[no-untyped-def]
    store_i32(target, load_i32(source))


@helper
def _copy_i16(source, target):  # type: ignore[no-untyped-def]
    store_i16(target, load_i16(source))


@helper
def _copy_i8(source, target):  # type: ignore[no-untyped-def]
    store_i8(target, load_i8(source))


_KINDS = {"f32": (_narrow_f32, _copy_i32), "f16": (_narrow_f16, _copy_i16), "i8": (_narrow_i8, _copy_i8)}
"""Element -> f(x, y, depth, scale), which makes elements of `depth` floats, and f(source, target) of one element."""


def _rope(element):  # type: ignore[no-untyped-def]
    size = ELEMENT_BYTES[element]
    narrow, copy = _KINDS[element]

    @helper
    def keys(record, x, first, count, kv_head, scratch):  # type: ignore[no-untyped-def]
        """Keys of `count` positions from `first`, all of one group; x is the first row."""
        depth, rotary, half = load_i32(record + F.depth), load_i32(record + F.rotary), load_i32(record + F.half)
        angles, row, packed = scratch, scratch + ANGLE_BYTES, scratch + ANGLE_BYTES + 4 * depth
        y = load_i64(record + F.key) + load_i32(record + F.key_head) * kv_head
        y += load_i32(record + F.key_group) * udiv(first, GROUP) + size * urem(first, GROUP)
        scales = load_i64(record + F.key) + load_i32(record + F.scales) + load_i32(record + F.scale_head) * kv_head
        for t in range(count):
            if rotary != 0:
                angles_at(first + t, load_i64(record + F.table), load_i32(record + F.fine), half, angles)
            at = x + t * load_i32(record + F.x_row) + load_i32(record + F.x_key) + 4 * depth * kv_head
            prepare(at, row, depth, load_i64(record + F.norm), load_f32(record + F.epsilon), 1.0, angles, rotary, half)
            narrow(row, packed + size * depth * t, depth, scales + 4 * (first + t))
        # In a loop of its own: an element that was just stored as part of a vector is slow to read.
        for t in range(count):
            for i in range(depth):
                copy(packed + size * (depth * t + i), y + size * (GROUP * i + t))

    @helper
    def values(record, x, first, count, kv_head):  # type: ignore[no-untyped-def]
        """Values of `count` positions from `first`."""
        depth = load_i32(record + F.depth)
        scales = load_i64(record + F.value) + load_i32(record + F.scales) + load_i32(record + F.scale_head) * kv_head
        y = load_i64(record + F.value) + load_i32(record + F.value_head) * kv_head
        for t in range(first, first + count):
            at = x + (t - first) * load_i32(record + F.x_row) + load_i32(record + F.x_value) + 4 * depth * kv_head
            narrow(at, y + size * depth * t, depth, scales + 4 * t)

    def rope(record, chunk, scratch):  # type: ignore[no-untyped-def]
        """A chunk is a range of groups of 16 positions of each head. Without `value` only keys are written; nothing
        is where the run does not fit in the cache."""
        rows = present_rows(record + F.rows_at, record + F.rows)
        past = first_position(load_i64(record + F.positions))
        if rows == 0 or past < 0 or past + rows > load_i32(record + F.context):
            return
        low, end = udiv(past, GROUP), udiv(past + rows - 1, GROUP) + 1
        units = load_i32(record + F.kv_heads) * (end - low)
        for unit in range(share(record, units, chunk), share(record, units, chunk + 1)):
            kv_head = udiv(unit, end - low)
            group = low + unit - kv_head * (end - low)
            first = max(past, GROUP * group)
            count = min(past + rows, GROUP * (group + 1)) - first
            x = load_i64(record + F.x) + (first - past) * load_i32(record + F.x_row)
            keys(record, x, first, count, kv_head, scratch)
            if load_i64(record + F.value) != 0:
                values(record, x, first, count, kv_head)

    return rope


rope_f32, rope_f16, rope_i8 = _rope("f32"), _rope("f16"), _rope("i8")
