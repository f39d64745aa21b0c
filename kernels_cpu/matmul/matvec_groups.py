"""A few rows of int8 in groups (g32) against weights in groups (n16k64): y = clamp(x w + bias + residual).

Rows of two terms (g32x2) are a row of g32 and behind it one of what that left over; a block meets both in turn.
For decoding, where the weights are streamed once and memory is the limit. Many rows are gemm_group*.py's.
"""

from __future__ import annotations

from typing import Any

from edgert.kernels_cpu.registry import record_fields
from edgert.kernels_cpu.simd import (
    helper,
    load_f32,
    load_i32,
    load_i64,
    prefetch,
    share,
    splat_f32,
    udiv,
)  # fmt: skip
from edgert.kernels_cpu.simd.groups import Q4, Q4M, Q8G, Grouped, block_step, store_columns, zero_sums
from edgert.kernels_cpu.simd.rows import present_rows

AHEAD = 6144
"""Bytes of prefetch. One stream, block after block, runs at the speed of memory; two side by side at 0.8 of it."""


def _product(form: Grouped, streams: bool) -> Any:
    """A function: the sums of one row of x with 16 rows of weights; `streams`: which come from memory."""
    step, size = block_step(form), form.nbytes

    @helper
    def product(x, w, blocks, terms):  # type: ignore[no-untyped-def]
        scale, total = x + 64 * blocks, x + 72 * blocks
        acc = zero_sums()
        for i in range(blocks):
            if streams:
                for line in range(0, size, 64):
                    prefetch(w + AHEAD + line)
            acc = step(acc, x + 64 * i, scale + 8 * i, total + 8 * i, w)
            if terms == 2:
                at = 80 * blocks + 8 * i
                acc = step(acc, x + 80 * blocks + 64 * i, scale + at, total + at, w)
            w += size
        return acc

    return product


def _kernel(form: Grouped, F: Any) -> Any:
    first, rest, size = _product(form, True), _product(form, False), form.nbytes

    def matvec(record, chunk, scratch):  # type: ignore[no-untyped-def]
        """A chunk is a range of blocks of 16 rows of w. The rows of x pass one by one while a block is near."""
        rows = present_rows(record + F.rows_at, record + F.rows)
        blocks, columns = load_i32(record + F.blocks), load_i32(record + F.columns)
        low, high = splat_f32(load_f32(record + F.low)), splat_f32(load_f32(record + F.high))
        x, w, y = load_i64(record + F.x), load_i64(record + F.w), load_i64(record + F.y)
        bias, residual = load_i64(record + F.bias), load_i64(record + F.residual)
        terms, units = load_i32(record + F.terms), udiv(columns + 15, 16)
        for unit in range(share(record, units, chunk), share(record, units, chunk + 1)):
            for row in range(rows):
                at = w + unit * blocks * size
                beside = x + row * 80 * terms * blocks
                acc = first(x, at, blocks, terms) if row == 0 else rest(beside, at, blocks, terms)
                store_columns(acc, bias, residual, low, high, y, row, columns, 16 * unit)

    return matvec


matvec_q4 = _kernel(Q4, record_fields("matvec_q4_n16k64"))
matvec_q4m = _kernel(Q4M, record_fields("matvec_q4m_n16k64"))
matvec_q8g = _kernel(Q8G, record_fields("matvec_q8g_n16k64"))
