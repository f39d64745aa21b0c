"""Reductions of floats over rows that lie apart: Reduce* over any axis but the last, or over the planes of kp.

Vectors run along the rows; each place is reduced in order, so results do not depend on threads.
"""

from __future__ import annotations

from edgert.kernels_cpu.elementwise.functions import const
from edgert.kernels_cpu.norm.reduce import itself, larger, smaller, squared
from edgert.kernels_cpu.registry import record_fields
from edgert.kernels_cpu.simd import (
    LANES,
    VECTOR_BYTES,
    absolute,
    helper,
    load_f32v,
    load_i32,
    load_i64,
    share,
    splat_f32,
    sqrt,
    store_first_f32v,
    udiv,
)  # fmt: skip

F = record_fields("reduce_rows_f32")


@helper
def plus(a, b):  # type: ignore[no-untyped-def]
    return a + b


def _column(combine, of):  # type: ignore[no-untyped-def]
    """A function that combines `of` one vector of each row."""

    @helper
    def column(x, rows, x_row):  # type: ignore[no-untyped-def]
        total = of(load_f32v(x))
        for row in range(1, rows):
            total = combine(total, of(load_f32v(x + row * x_row)))
        return total

    return column


_sum, _largest, _smallest = _column(plus, itself), _column(larger, itself), _column(smaller, itself)
_magnitudes, _squares = _column(plus, absolute), _column(plus, squared)


def reduce_rows(record, chunk, scratch):  # type: ignore[no-untyped-def]
    """A chunk is a range of the vectors of all `outer` results, each of `count` floats from `rows` rows."""
    op, count, rows = load_i32(record + F.op), load_i32(record + F.count), load_i32(record + F.rows)
    x_row, vectors = load_i32(record + F.x_row), udiv(count + LANES - 1, LANES)
    units = load_i32(record + F.outer) * vectors
    for unit in range(share(record, units, chunk), share(record, units, chunk + 1)):
        part = udiv(unit, vectors)
        i = unit - part * vectors
        x = load_i64(record + F.x) + part * load_i32(record + F.x_outer) + VECTOR_BYTES * i
        y = load_i64(record + F.y) + part * load_i32(record + F.y_outer) + VECTOR_BYTES * i
        value = const(0.0)
        if op == 0:
            value = _sum(x, rows, x_row) / splat_f32(rows)
        elif op == 1:
            value = _sum(x, rows, x_row)
        elif op == 2:
            value = _largest(x, rows, x_row)
        elif op == 3:
            value = _smallest(x, rows, x_row)
        elif op == 4:
            value = _magnitudes(x, rows, x_row)
        elif op == 5:
            value = _squares(x, rows, x_row)
        else:
            value = sqrt(_squares(x, rows, x_row))
        store_first_f32v(y, value, count - LANES * i)
