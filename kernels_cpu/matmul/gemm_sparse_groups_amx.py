"""gemm_sparse_groups' products on AMX tiles: the panels of gemm_group_amx, filled from group4 or rowgroup4.

The same bits as every product with these weights. Its speed on silicon is still to be measured.
"""

from __future__ import annotations

from edgert.kernels_cpu.matmul.gemm_group_amx import END, product_amx
from edgert.kernels_cpu.matmul.gemm_sparse_groups import GROUP, balanced_blocks, ragged_block
from edgert.kernels_cpu.matmul.gemm_sparse_panels import ragged_blocks
from edgert.kernels_cpu.simd.group_panel import PANEL_BLOCKS
from edgert.kernels_cpu.simd.groups import Q4

gemm_group4_amx = product_amx(Q4, balanced_blocks(0))
gemm_rowgroup4_amx = product_amx(Q4, ragged_blocks(ragged_block(0), PANEL_BLOCKS, 2 * GROUP, behind=END))
