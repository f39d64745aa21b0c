"""Products of many rows in g32 with blocks that keep only some numbers (bitmap8, bitmap4, nm8, nm4).

"Load as sparse, compute as dense": blocks are expanded into the panels of the dense twins, so that y = clamp(x w + bias
+ residual) has the bits of gemm_group.py. A few rows are matvec_bitmap.py's.
"""

from __future__ import annotations

from typing import Any

from edgert.kernels_cpu.matmul.gemm_group import product
from edgert.kernels_cpu.matmul.gemm_sparse_panels import ragged_blocks
from edgert.kernels_cpu.simd.bitmap import bitmap_unpack
from edgert.kernels_cpu.simd.group_panel import PANEL_BLOCKS, excess, group_bytes
from edgert.kernels_cpu.simd.groups import Q4, Q8G, Grouped

AHEAD = 2048
"""Bytes of prefetch: rows of blocks are short where a pass over k takes a part of them."""


def _product(form: Grouped) -> Any:
    unpack = bitmap_unpack(form, AHEAD, excess(form))
    return product(form, ragged_blocks(unpack, PANEL_BLOCKS, 2 * group_bytes(form)))


gemm_bitmap8, gemm_bitmap4 = _product(Q8G), _product(Q4)
