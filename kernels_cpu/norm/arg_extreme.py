"""ArgMax and ArgMin of floats: over rows or planes that lie apart, and within rows. The first NaN wins.

Source: ONNX ArgMax-13; kernels_cpu/reference/reduce.py is the meaning.
"""

from __future__ import annotations

from edgert.kernels_cpu.elementwise.functions import const
from edgert.kernels_cpu.registry import record_fields
from edgert.kernels_cpu.simd import (
    LANES,
    VECTOR_BYTES,
    helper,
    load_f32,
    load_f32v,
    load_i32,
    load_i64,
    select_gt,
    share,
    splat_i32,
    store_i32v,
    store_i64,
    udiv,
)  # fmt: skip
from edgert.kernels_cpu.simd.casting import cast
from edgert.kernels_cpu.simd.masks import is_at_least, is_equal, is_greater, is_unequal

F = record_fields("arg_extreme_f32")
R = record_fields("arg_extreme_f32_row")
widen = cast("int32", "int64")


@helper
def wins(value, best, last):  # type: ignore[no-untyped-def]
    """1 where `value`, which comes later, takes the place of `best`: where it is larger, as large if `last`, or the
    first (or last) NaN."""
    larger = is_at_least(value, best) if last != 0 else is_greater(value, best)
    first = is_unequal(value, value) & (splat_i32(1) if last != 0 else is_equal(best, best))
    return larger | first


def arg_extreme(record, chunk, scratch):  # type: ignore[no-untyped-def]
    """A chunk is a range of the vectors of all `outer` results, each of `count` positions among `rows` rows."""
    count, rows, x_row = load_i32(record + F.count), load_i32(record + F.rows), load_i32(record + F.x_row)
    last, smallest, vectors = load_i32(record + F.last), load_i32(record + F.smallest), udiv(count + LANES - 1, LANES)
    units = load_i32(record + F.outer) * vectors
    for unit in range(share(record, units, chunk), share(record, units, chunk + 1)):
        part = udiv(unit, vectors)
        i = unit - part * vectors
        x = load_i64(record + F.x) + part * load_i32(record + F.x_outer) + VECTOR_BYTES * i
        best, place = load_f32v(x), splat_i32(0)
        best = const(0.0) - best if smallest != 0 else best
        for row in range(1, rows):
            value = load_f32v(x + row * x_row)
            value = const(0.0) - value if smallest != 0 else value
            taken = wins(value, best, last)
            best = select_gt(taken, splat_i32(0), value, best)
            place = select_gt(taken, splat_i32(0), splat_i32(row), place)
        store_i32v(scratch, place)
        widen(scratch, load_i64(record + F.y) + 8 * (part * count + LANES * i), count - LANES * i)


def arg_extreme_row(record, chunk, scratch):  # type: ignore[no-untyped-def]
    """A chunk is a range of rows of `count` floats."""
    count, rows = load_i32(record + R.count), load_i32(record + R.rows)
    last, smallest = load_i32(record + R.last), load_i32(record + R.smallest)
    for row in range(share(record, rows, chunk), share(record, rows, chunk + 1)):
        x = load_i64(record + R.x) + 4 * count * row
        best, place = load_f32(x), 0
        for i in range(1, count):
            value = load_f32(x + 4 * i)
            better = value < best if smallest != 0 else value > best
            equal = last != 0 and (value == best or value != value)
            first = value != value and best == best
            if better or equal or first:
                best, place = value, i
        store_i64(load_i64(record + R.y) + 8 * row, place)
