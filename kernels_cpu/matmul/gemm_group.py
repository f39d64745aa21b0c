"""Products of many rows in g32 with weights in groups of 32: y = clamp(x w + bias + residual), float32.

For each output, group after group: acc = fma(integer dot product, w_scale * x_scale, acc), and q4m then
acc = fma(x_scale * sum, minimum, acc): the same bits as the kernels for few rows, whatever rows come together.
"""

from __future__ import annotations

from typing import Any

from edgert.kernels_cpu.matmul.gemm_group_panels import F, walk
from edgert.kernels_cpu.simd import REGISTERS, VECTOR_BYTES, helper, load_i32
from edgert.kernels_cpu.simd.group_panel import PANEL_BLOCKS, excess, group_bytes, group_step, unpack_block
from edgert.kernels_cpu.simd.groups import Q4, Q4M, Q8G, Grouped
from edgert.kernels_cpu.simd.panel_sums import row_starts

ROWS = {64: 6, 32: 5}.get(VECTOR_BYTES, 4 if REGISTERS == 32 else 2)
VECTORS = 2
"""Of the largest tile: each output takes an integer and a float register."""


@helper
def x_row(record):  # type: ignore[no-untyped-def]
    """Bytes of a row of g32: a unit is 64 values with two scales and two sums."""
    return 80 * load_i32(record + F.units)


def _product(form: Grouped) -> Any:
    size = group_bytes(form)

    def tile_of(rows):  # type: ignore[no-untyped-def]
        step, starts = group_step(form, rows, VECTORS), row_starts(rows)

        @helper
        def tile(record, acc, x, unit, units, panel, scratch):  # type: ignore[no-untyped-def]
            depth = load_i32(record + F.units)
            addresses = starts(x, x_row(record))
            for g in range(2 * units):
                group = 2 * unit + g
                scale = 64 * depth + 4 * group
                acc = step(acc, addresses, 32 * group, scale, scale + 8 * depth, panel + size * g)
            return acc

        return tile

    unpack = unpack_block(form, excess(form))
    return walk(tile_of, unpack, x_row, ROWS, VECTORS, PANEL_BLOCKS, form.nbytes, 2 * size)


gemm_q4, gemm_q4m, gemm_q8g = _product(Q4), _product(Q4M), _product(Q8G)
