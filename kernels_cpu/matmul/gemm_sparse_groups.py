"""Products of many rows in g32 with 4-bit groups of which some rows are kept: y = clamp(x w + bias + residual).

Panels are filled from group4 or rowgroup4 and are then those of q4: the bits of gemm_group.py with the same weights.
"""

from __future__ import annotations

from typing import Any

from edgert.kernels_cpu.matmul.gemm_group import product
from edgert.kernels_cpu.matmul.gemm_group_panels import COLUMNS, F
from edgert.kernels_cpu.matmul.gemm_sparse_panels import ragged_blocks
from edgert.kernels_cpu.matmul.matvec_sparse_groups import BLOCK, FACTORS, WORDS, readable
from edgert.kernels_cpu.registry import record_fields
from edgert.kernels_cpu.simd import helper, load_i32, load_i64, load_u32, udiv
from edgert.kernels_cpu.simd.group_panel import PANEL_BLOCKS, excess, group_bytes
from edgert.kernels_cpu.simd.groups import Q4
from edgert.kernels_cpu.simd.sparse_groups import HALVES, balanced_unpack, ragged_unpack
from edgert.kernels_cpu.simd.spread import popcount

MASK = record_fields("gemm_group4_n32k64").mask
GROUP = group_bytes(Q4)
"""Bytes of a group of a panel."""


def balanced_blocks(more: int) -> Any:
    """What `walk` takes as weights, see whole_blocks: two blocks of 16 columns of group4 lie in one of 32. The bytes of
    panels are number - zero + more."""
    unpack = balanced_unpack(more)

    @helper
    def following(record, block, unit):  # type: ignore[no-untyped-def]
        return 0

    @helper
    def fill(record, block, unit, units, panel):  # type: ignore[no-untyped-def]
        last = udiv(load_i32(record + F.columns) + COLUMNS - 1, COLUMNS) - 1
        for i in range(PANEL_BLOCKS):
            own = min(block + i, last)
            place = load_i32(record + F.units) * udiv(own, HALVES) + unit
            upper = own & 1
            w, masks = load_i64(record + F.w) + BLOCK * place, load_i64(record + MASK) + 8 * place
            for u in range(units):
                for g in range(2):
                    mask = load_u32(masks + 8 * u + 4 * g)
                    low = mask & 0xFFFF
                    first, mask = (popcount(low), mask >> 16) if upper else (0, low)
                    at = w + BLOCK * u
                    unpack(
                        mask, first, at + WORDS * g, at + 2 * WORDS + FACTORS * g,
                        panel + 64 * i + GROUP * (2 * u + g),
                    )  # fmt: skip

    return fill, following


def ragged_block(more: int) -> Any:
    """What ragged_blocks takes: unpack(w, end, spare, panel) of a block of rowgroup4, with bytes as those above."""
    group = ragged_unpack(more)

    @helper
    def unpack(w, end, spare, panel):  # type: ignore[no-untyped-def]
        masks = load_u32(w)
        kept = popcount(masks)
        size = (8 + 18 * kept + 7) & -8
        block = readable(w, size, end, spare)
        first = masks & 0xFFFF
        count, words, factors = popcount(first), block + 8, block + 8 + 16 * kept
        group(first, words, factors, panel)
        group(masks >> 16, words + 16 * count, factors + 2 * count, panel + GROUP)
        return w + size

    return unpack


gemm_group4 = product(Q4, balanced_blocks(excess(Q4)))
gemm_rowgroup4 = product(Q4, ragged_blocks(ragged_block(excess(Q4)), PANEL_BLOCKS, 2 * GROUP))
