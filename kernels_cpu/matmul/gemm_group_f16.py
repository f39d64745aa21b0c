"""Products of many rows of floats with float16 weights in lines of 16 columns: y = clamp(x w + bias + residual).

One sum per output, k ascending, by fused multiply-adds: the same bits as the kernel for few rows.
"""

from __future__ import annotations

from typing import Any

from edgert.kernels_cpu.matmul.gemm_group_panels import F, fetcher, walk, whole_blocks
from edgert.kernels_cpu.simd import REGISTERS, VECTOR_BYTES, helper, load_i32
from edgert.kernels_cpu.simd.panel_floats import float_step, widen_line
from edgert.kernels_cpu.simd.panel_sums import row_starts

ROWS = 6 if REGISTERS == 32 or VECTOR_BYTES == 32 else 2
VECTORS = 2 if VECTOR_BYTES == 32 else 4
"""Of the largest tile: its sums, a line and one x fit the registers."""
BLOCKS = 4 if VECTOR_BYTES == 64 else 1
"""Blocks of 16 columns in a panel."""
LINE = 64 * BLOCKS
"""Bytes of one k in a panel; in the file it has 32 for each block."""
EACH = 16
"""k between what is fetched ahead."""
_ahead = fetcher(BLOCKS, 32 * EACH)


@helper
def _x_row(record):  # type: ignore[no-untyped-def]
    return 4 * load_i32(record + F.units)


def _tile_of(rows: int) -> Any:
    step, starts = float_step(rows, VECTORS), row_starts(rows)

    @helper
    def tile(record, acc, x, unit, units, panel, scratch, fetch):  # type: ignore[no-untyped-def]
        addresses = starts(x + 4 * unit, _x_row(record))
        for first in range(0, units, EACH):
            if fetch != 0:
                _ahead(fetch + 32 * first, 32 * load_i32(record + F.units))
            for k in range(first, min(first + EACH, units)):
                acc = step(acc, addresses, 4 * k, panel + LINE * k)
        return acc

    return tile


gemm_f16 = walk(_tile_of, whole_blocks(widen_line, 32, BLOCKS, LINE), _x_row, ROWS, VECTORS, BLOCKS, LINE)
