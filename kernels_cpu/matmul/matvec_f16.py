"""A few rows of floats against float16 weights in lines of 16 columns (n16k1): y = clamp(x w + bias + residual).

One sum per output, k ascending, by fused multiply-adds. Weights in groups are matvec_groups.py's.
"""

from __future__ import annotations

from typing import Any

from edgert.kernels_cpu.registry import record_fields
from edgert.kernels_cpu.simd import helper, load_f32, load_i32, load_i64, prefetch, share, splat_f32, udiv
from edgert.kernels_cpu.simd.groups import line_step, store_columns, zero_sums
from edgert.kernels_cpu.simd.rows import present_rows

F = record_fields("matvec_f16_n16k1")
LINE = 32
"""Bytes of 16 halves."""
AHEAD = 4096
"""Bytes of prefetch."""
DEPTH = 4
"""k of a step: two cache lines."""
_step, _last = line_step(DEPTH), line_step(1)


def _product(streams: bool) -> Any:
    """A function: the sums of one row of x with 16 columns; `streams`: whose weights come from memory."""

    @helper
    def product(x, w, depth):  # type: ignore[no-untyped-def]
        acc, k = zero_sums(), 0
        while depth - k >= DEPTH:
            at = w + LINE * k
            if streams:
                prefetch(at + AHEAD)
                prefetch(at + AHEAD + 2 * LINE)
            acc = _step(acc, x + 4 * k, at)
            k += DEPTH
        while k < depth:
            acc = _last(acc, x + 4 * k, w + LINE * k)
            k += 1
        return acc

    return product


_first, _rest = _product(True), _product(False)


def matvec_f16(record, chunk, scratch):  # type: ignore[no-untyped-def]
    """A chunk is a range of blocks of 16 columns. The rows of x pass one by one while the weights are near."""
    rows = present_rows(record + F.rows_at, record + F.rows)
    depth, columns = load_i32(record + F.depth), load_i32(record + F.columns)
    low, high = splat_f32(load_f32(record + F.low)), splat_f32(load_f32(record + F.high))
    x, w, y = load_i64(record + F.x), load_i64(record + F.w), load_i64(record + F.y)
    bias, residual = load_i64(record + F.bias), load_i64(record + F.residual)
    units = udiv(columns + 15, 16)
    for unit in range(share(record, units, chunk), share(record, units, chunk + 1)):
        for row in range(rows):
            at = w + unit * LINE * depth
            acc = _first(x, at, depth) if row == 0 else _rest(x + row * 4 * depth, at, depth)
            store_columns(acc, bias, residual, low, high, y, row, columns, 16 * unit)
