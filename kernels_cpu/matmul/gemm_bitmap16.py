"""Products of many rows of floats with halves of which some are kept (bitmap16): y = clamp(x w + bias + residual).

"Load as sparse, compute as dense": blocks become the panels of gemm_group_f16.py, one sum per output, k ascending, by
fused multiply-adds. A few rows are matvec_bitmap16.py's.
"""

from __future__ import annotations

from typing import Any

from edgert.kernels_cpu.matmul.gemm_group_f16 import BLOCKS, LINE, ROWS, VECTORS
from edgert.kernels_cpu.matmul.gemm_group_panels import walk
from edgert.kernels_cpu.matmul.gemm_sparse_panels import ragged_blocks
from edgert.kernels_cpu.registry import record_fields
from edgert.kernels_cpu.simd import helper, load_i32
from edgert.kernels_cpu.simd.bitmap16 import LINES, LONGEST, halves_unpack
from edgert.kernels_cpu.simd.panel_floats import float_step
from edgert.kernels_cpu.simd.panel_sums import row_starts

F = record_fields("gemm_bitmap16_n16k64")


@helper
def _x_row(record):  # type: ignore[no-untyped-def]
    return 4 * load_i32(record + F.depth)


def _tile_of(rows: int) -> Any:
    step, starts = float_step(rows, VECTORS), row_starts(rows)

    @helper
    def tile(record, acc, x, unit, units, panel, scratch, fetch):  # type: ignore[no-untyped-def]
        """The last block may have more lines than there are k."""
        first = LINES * unit
        addresses = starts(x + 4 * first, _x_row(record))
        for k in range(min(LINES * units, load_i32(record + F.depth) - first)):
            acc = step(acc, addresses, 4 * k, panel + LINE * k)
        return acc

    return tile


_blocks = ragged_blocks(halves_unpack(LINE), BLOCKS, LINES * LINE, LONGEST)
gemm_bitmap16 = walk(_tile_of, _blocks, _x_row, ROWS, VECTORS, BLOCKS, LINES * LINE)
