"""A few rows of floats against halves of which some are kept (bitmap16): y = clamp(x w + bias + residual).

One sum per output, k ascending, by fused multiply-adds: the bits of matvec_f16.py. Many rows are gemm_bitmap16.py's.
"""

from __future__ import annotations

from typing import Any

from edgert.kernels_cpu.registry import record_fields
from edgert.kernels_cpu.simd import helper, load_f32, load_i32, load_i64, load_u32, prefetch, splat_f32, udiv
from edgert.kernels_cpu.simd.bitmap16 import LINES, LONGEST, MASKS, halves_bytes, halves_step, whole_block
from edgert.kernels_cpu.simd.groups import store_columns, zero_sums
from edgert.kernels_cpu.simd.rows import present_rows

F = record_fields("matvec_bitmap16_n16k64")
AHEAD = 4096
"""Bytes of prefetch."""
NEAR = 32 << 10
"""A pair of rows of blocks of at most so many bytes fetches the next pair: further along itself is often its end."""
DEPTH = 4
"""k of a step."""


def _product(blocks: int) -> Any:
    """A function: the sums of one row of x with 1 or 2 rows of blocks, of 16 columns each."""
    step, last, whole = halves_step(DEPTH, blocks), halves_step(1, blocks), whole_block(LONGEST)

    @helper
    def product(x, first, second, ahead, depth, end, scratch):  # type: ignore[no-untyped-def]
        acc = (zero_sums(),) if blocks == 1 else (zero_sums(), zero_sums())
        for begin in range(0, depth, LINES):
            if blocks == 1:
                w, offsets = (whole(first, end, scratch),), (0,)
            else:
                w, offsets = (whole(first, end, scratch), whole(second, end, scratch + LONGEST)), (0, 0)
            for line in range(0, MASKS, 64):
                prefetch(first + ahead + line)
                prefetch(second + ahead + line)
            k, count = 0, min(LINES, depth - begin)
            while count - k >= DEPTH:
                for line in range(0, 32 * DEPTH, 64):
                    prefetch(first + ahead + MASKS + 2 * offsets[0] + line)
                    prefetch(second + ahead + MASKS + 2 * offsets[-1] + line)
                acc, offsets = step(acc, offsets, x + 4 * (begin + k), k, w)
                k += DEPTH
            while k < count:
                acc, offsets = last(acc, offsets, x + 4 * (begin + k), k, w)
                k += 1
            first, second = first + halves_bytes(offsets[0]), second + halves_bytes(offsets[-1])
        return acc

    return product


_pair, _one = _product(2), _product(1)


def matvec_bitmap16(record, chunk, scratch):  # type: ignore[no-untyped-def]
    """A chunk is a range of pairs of rows of blocks, from the table `bounds`: one alone would wait for its sums, k
    after k. The rows of x pass one by one while the weights are near."""
    rows = present_rows(record + F.rows_at, record + F.rows)
    depth, columns = load_i32(record + F.depth), load_i32(record + F.columns)
    low, high = splat_f32(load_f32(record + F.low)), splat_f32(load_f32(record + F.high))
    x, w, y = load_i64(record + F.x), load_i64(record + F.w), load_i64(record + F.y)
    bias, residual = load_i64(record + F.bias), load_i64(record + F.residual)
    start, bounds = load_i64(record + F.start), load_i64(record + F.bounds)
    blocks = udiv(columns + 15, 16)
    end = w + 8 * load_u32(start + 4 * blocks)
    for unit in range(load_i32(bounds + 4 * chunk), load_i32(bounds + 4 * chunk + 4)):
        column = 32 * unit
        first, second = w + 8 * load_u32(start + 8 * unit), w + 8 * load_u32(start + 8 * unit + 4)
        size = 8 * (load_u32(start + 4 * min(2 * unit + 2, blocks)) - load_u32(start + 8 * unit))
        ahead = size if size <= NEAR else AHEAD
        for row in range(rows):
            one = x + 4 * depth * row
            if column + 16 < columns:
                left, right = _pair(one, first, second, ahead, depth, end, scratch)
                store_columns(left, bias, residual, low, high, y, row, columns, column)
                store_columns(right, bias, residual, low, high, y, row, columns, column + 16)
            else:
                (last,) = _one(one, first, first, ahead, depth, end, scratch)
                store_columns(last, bias, residual, low, high, y, row, columns, column)
