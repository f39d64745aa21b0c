"""The k largest floats of each row, in order, with their places: a heap whose root is the least of those kept so far.

NaN comes before all numbers; of equal values the first comes first. Source: ONNX TopK-11;
kernels_cpu/reference/select.py is the meaning.
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
    reduce_min,
    share,
    splat_f32,
    store_f32,
    store_i64,
    udiv,
)  # fmt: skip
from edgert.kernels_cpu.simd.masks import is_at_least

F = record_fields("top_k_f32_row")
AT_ONCE = 4
"""Vectors that are compared with the least of those kept, before anything is done about one of them."""


@helper
def larger(value, other):  # type: ignore[no-untyped-def]
    """NaN is larger than every number, and as large as NaN."""
    return other == other and (value != value or value > other)


@helper
def comes_later(value, place, other, at):  # type: ignore[no-untyped-def]
    """Whether `value` at `place` comes after `other`, which is at `at`."""
    return larger(other, value) or (not larger(value, other) and place > at)


@helper
def sink(y, places, start, size, value, place):  # type: ignore[no-untyped-def]
    """Puts `value` of `place` at node `start` of a heap of `size`, or below: no node comes later than its parent."""
    node = start
    while True:
        child = 2 * node + 1
        if child >= size:
            break
        best, at = load_f32(y + 4 * child), load_i64(places + 8 * child)
        if child + 1 < size:
            other, there = load_f32(y + 4 * child + 4), load_i64(places + 8 * child + 8)
            if comes_later(other, there, best, at):
                child, best, at = child + 1, other, there
        if not comes_later(best, at, value, place):
            break
        store_f32(y + 4 * node, best)
        store_i64(places + 8 * node, at)
        node = child
    store_f32(y + 4 * node, value)
    store_i64(places + 8 * node, place)


@helper
def stay_out(x, least):  # type: ignore[no-untyped-def]
    """Lanes of 0 where the next AT_ONCE vectors have a value that is larger than `least`."""
    bound = splat_f32(least)
    kept = is_at_least(bound, load_f32v(x))
    for i in range(1, AT_ONCE):
        kept = kept & is_at_least(bound, load_f32v(x + VECTOR_BYTES * i))
    return kept


def top_k(record, chunk, scratch):  # type: ignore[no-untyped-def]
    """A chunk is a range of rows of `count` floats, of which the `k` largest are wanted; the heap is the output."""
    rows, count, k = load_i32(record + F.rows), load_i32(record + F.count), load_i32(record + F.k)
    for row in range(share(record, rows, chunk), share(record, rows, chunk + 1)):
        x, y = load_i64(record + F.x) + 4 * count * row, load_i64(record + F.y) + 4 * k * row
        places = load_i64(record + F.places) + 8 * k * row
        for i in range(k):
            store_f32(y + 4 * i, load_f32(x + 4 * i))
            store_i64(places + 8 * i, i)
        for i in range(udiv(k, 2)):
            node = udiv(k, 2) - 1 - i
            sink(y, places, node, k, load_f32(y + 4 * node), load_i64(places + 8 * node))
        i = k
        while i < count:
            step = AT_ONCE * LANES
            if i + step > count:
                step = 1
            elif reduce_min(stay_out(x + 4 * i, load_f32(y))) != 0:
                i += step
                continue
            for at in range(i, i + step):
                value = load_f32(x + 4 * at)
                if larger(value, load_f32(y)):
                    sink(y, places, 0, k, value, at)
            i += step
        for i in range(1, k):  # the last of the heap to the end of the row, and so on
            end = k - i
            value, place = load_f32(y + 4 * end), load_i64(places + 8 * end)
            store_f32(y + 4 * end, load_f32(y))
            store_i64(places + 8 * end, load_i64(places))
            sink(y, places, 0, end, value, place)
