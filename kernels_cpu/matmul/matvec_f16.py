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


def _product(blocks: int, streams: bool) -> Any:
    """A function: the sums of one row of x with 1 or 2 blocks of 16 columns; `streams`: whose weights come from
    memory."""
    step, last = line_step(DEPTH, blocks), line_step(1, blocks)

    @helper
    def product(x, w, depth):  # type: ignore[no-untyped-def]
        k, stride = 0, LINE * depth
        acc = (zero_sums(),) if blocks == 1 else (zero_sums(), zero_sums())
        while depth - k >= DEPTH:
            at = w + LINE * k
            if streams:
                for i in range(blocks):
                    prefetch(at + AHEAD + i * stride)
                    prefetch(at + AHEAD + i * stride + 2 * LINE)
            acc = step(acc, x + 4 * k, at, stride)
            k += DEPTH
        while k < depth:
            acc = last(acc, x + 4 * k, w + LINE * k, stride)
            k += 1
        return acc

    return product


_pair, _pair_again, _one, _one_again = (_product(blocks, streams) for blocks in (2, 1) for streams in (True, False))


def matvec_f16(record, chunk, scratch):  # type: ignore[no-untyped-def]
    """A chunk is a range of pairs of blocks of 16 columns: one block alone would wait for its sums, k after k. The
    rows of x pass one by one while the weights are near."""
    rows = present_rows(record + F.rows_at, record + F.rows)
    depth, columns = load_i32(record + F.depth), load_i32(record + F.columns)
    low, high = splat_f32(load_f32(record + F.low)), splat_f32(load_f32(record + F.high))
    x, w, y = load_i64(record + F.x), load_i64(record + F.w), load_i64(record + F.y)
    bias, residual = load_i64(record + F.bias), load_i64(record + F.residual)
    units = udiv(columns + 31, 32)
    for unit in range(share(record, units, chunk), share(record, units, chunk + 1)):
        column = 32 * unit
        at = w + 2 * LINE * depth * unit
        for row in range(rows):
            one = x + 4 * depth * row
            if column + 16 < columns:
                left, right = _pair(one, at, depth) if row == 0 else _pair_again(one, at, depth)
                store_columns(left, bias, residual, low, high, y, row, columns, column)
                store_columns(right, bias, residual, low, high, y, row, columns, column + 16)
            else:
                (last,) = _one(one, at, depth) if row == 0 else _one_again(one, at, depth)
                store_columns(last, bias, residual, low, high, y, row, columns, column)
