"""gemm_bitmap's products on AMX tiles: the panels of gemm_group_amx, filled from blocks that keep only some numbers.

The same bits as every product with these weights. Its speed on silicon is still to be measured.
"""

from __future__ import annotations

from typing import Any

from edgert.kernels_cpu.matmul.gemm_bitmap import AHEAD
from edgert.kernels_cpu.matmul.gemm_group_amx import END, product_amx
from edgert.kernels_cpu.matmul.gemm_sparse_panels import ragged_blocks
from edgert.kernels_cpu.simd.bitmap import bitmap_unpack
from edgert.kernels_cpu.simd.group_panel import PANEL_BLOCKS, group_bytes
from edgert.kernels_cpu.simd.groups import Q4, Q8G, Grouped


def _product(form: Grouped) -> Any:
    unpack = bitmap_unpack(form, AHEAD, 0)
    return product_amx(form, ragged_blocks(unpack, PANEL_BLOCKS, 2 * group_bytes(form), behind=END))


gemm_bitmap8_amx, gemm_bitmap4_amx = _product(Q8G), _product(Q4)
