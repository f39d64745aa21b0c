"""Gemm with weights in groups (q4, q4m, q8g) on AMX tiles, for whole tiles of rows.

Everything but the kernel and its price is grouped_gemm.py's; the arithmetic and its bits are the same.
"""

from __future__ import annotations

from edgert.plan.lowering.api import Offer, Refusal, Site, lowers
from edgert.plan.lowering.grouped import NUMBERS
from edgert.plan.lowering.grouped_gemm import SCRATCH, many_rows

TILE_ROWS, TILE_BYTES = 16, 1024
AMX_SCRATCH = SCRATCH + 2 * TILE_BYTES + 64 + 64 + 8 * TILE_BYTES
"""The panel, the sums of two groups, the configuration, and that and eight tiles of the software model."""
SHARE = {"q4": 1.8, "q4m": 1.5, "q8g": 1.8}
"""Of the *vector* unit's int8 peak, so above 1: scaling what a tile of one group sums takes three vector instructions
per 16 products of 32, four with minima. Counted from instructions, not yet measured on silicon."""


@lowers("Gemm")
def gemm_amx(site: Site) -> list[Offer | Refusal]:
    """x float32 [T, K] as g32, T of at least one tile; levels without tiles are left to gemm."""
    stored = site.stored[1]
    if stored is None or stored.encoding not in NUMBERS:
        return []
    kernel = f"gemm_{stored.encoding}_n16k64_amx"
    if "amx" not in site.level.features:
        return [Refusal(kernel, f"{site.level.name} has no AMX tiles")]
    x = site.inputs[0]
    if x is not None and x.shape and x.static_shape[0] < TILE_ROWS:
        return [Refusal(kernel, f"{x.static_shape[0]} rows: a tile has {TILE_ROWS}")]
    reason = f"{NUMBERS[stored.encoding]}, unpacked panel by panel, AMX tiles of a group each"
    return [many_rows(site, kernel, SHARE[stored.encoding], AMX_SCRATCH, reason)]
