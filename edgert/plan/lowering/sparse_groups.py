"""Gemm with 4-bit groups of which some rows are kept (group4, rowgroup4): few rows, and many.

Weights are read where the file has them. The same products with all groups are grouped.py's and grouped_gemm.py's.
"""

from __future__ import annotations

import numpy as np

from edgert.plan.lowering.api import (
    ACTIVATIONS,
    BLOCK_K,
    Buffer,
    Emitter,
    Offer,
    Refusal,
    Site,
    g32_depth,
    layout_nbytes,
    lowers,
)
from edgert.plan.lowering.grouped import NUMBERS, STREAMING, TERMS, Product, chunks_of
from edgert.plan.lowering.grouped_amx import AMX_SCRATCH
from edgert.plan.lowering.grouped_amx import SHARE as AMX_SHARE
from edgert.plan.lowering.grouped_gemm import FEW_ROWS, SCRATCH, UNPACKING
from edgert.plan.lowering.grouped_gemm import SHARE as PANELS
from edgert.plan.lowering.sparse_site import bounds, many_rows, words

LAYOUTS = {"group4": "n32k64", "rowgroup4": "n16k64"}
"""Of the kernels for each encoding."""
TALL = {"group4": 32, "rowgroup4": 16}
"""Rows of a block."""
PARTS = {"group4": ("data", "mask"), "rowgroup4": ("data", "start")}
"""What the operands w and the last one are."""
COPY = 640
"""Bytes of scratch: the last block, with room behind it."""
CURSORS = 1280
"""The same of the kernel for many rows, before it 4 bytes for each block of 16 columns."""
SHARE = {
    "avx512vnni": {"group4": (0.48, 1.06), "rowgroup4": (0.67, 1.6)},
    "avxvnni": {"group4": (0.19, 0.0), "rowgroup4": (0.5, 0.75)},
    "avx2": {"group4": (0.53, 0.0), "rowgroup4": (1.4, 0.9)},
    "dotprod": {"group4": (0.25, 0.86), "rowgroup4": (0.52, 1.75)},
    "neon": {"group4": (0.69, 0.6), "rowgroup4": (0.9, 0.6)},
    "portable": {"group4": (1.3, 0.8), "rowgroup4": (2.4, 1.7)},
}
"""Of the int8 peak, by the products that `_macs` counts: what rows would reach if all shared what is made of a line of
weights, and how many rows making it costs as much as. Measured on x86; on ARM estimated from the instructions of the
loops."""
TILE = {
    "avx512vnni": {"group4": 4, "rowgroup4": 4}, "avxvnni": {"group4": 1, "rowgroup4": 2},
    "avx2": {"group4": 1, "rowgroup4": 2}, "dotprod": {"group4": 2, "rowgroup4": 4},
    "neon": {"group4": 2, "rowgroup4": 4}, "portable": {"group4": 2, "rowgroup4": 2},
}  # fmt: skip
"""Rows that do share it."""
SPREADING = {"avx512vnni": 1.0}
"""What unpacking costs more than that of q4, in rows: SPREAD elsewhere."""
SPREAD = 0.3


def _macs(product: Product) -> int:
    """Those that cost time: of group4 the kept half; in a block of rowgroup4 rows that are not kept take as long."""
    return product.macs // 2 if product.stored.encoding == "group4" else product.macs


@lowers("Gemm")
def matvec(site: Site) -> list[Offer | Refusal]:
    """x float32 [T, K] as g32 or g32x2; any T, the best for a few."""
    stored = site.stored[1]
    if stored is None or stored.encoding not in LAYOUTS:
        return []
    form = stored.encoding
    kernel = f"matvec_{form}_{LAYOUTS[form]}"
    product = Product.of(site, kernel)
    if isinstance(product, Refusal):
        return [product]
    layout, terms = ACTIVATIONS[site.activations], 2 if site.activations == "int16" else 1
    params: dict[str, int | float] = {
        "rows": product.rows, "columns": product.columns, "blocks": g32_depth(product.depth) // BLOCK_K,
        "terms": terms, "low": product.low, "high": product.high,
    }  # fmt: skip
    nbytes = stored.nbytes + layout_nbytes(product.x, layout) + 4 * product.rows * product.columns
    chunks = chunks_of(site.threads, -(-product.columns // TALL[form]), stored.nbytes)

    def emit(emitter: Emitter, inputs: tuple[Buffer | None, ...], outputs: tuple[Buffer, ...]) -> None:
        data, other = PARTS[form]
        operands = product.operands(emitter, inputs, emitter.weights(stored, data), outputs[0])
        operands[other] = emitter.weights(stored, other)
        if form == "rowgroup4":
            operands["bounds"] = emitter.constant(bounds(np.asarray(stored.parts["start"]), chunks))
        emitter.op(kernel, operands, params, chunks=chunks, scratch=COPY)

    share, shared = SHARE[site.level.symbol][form]
    share *= product.rows / (product.rows + shared * -(-product.rows // TILE[site.level.symbol][form])) / terms
    reason = f"int4 groups of 32 that are kept, streamed once{TERMS[site.activations]}"
    return [
        Offer(
            kernel, product.in_layouts(site, layout), ("row",), _macs(product), round(nbytes / STREAMING), "dot8",
            share, reason, emit, in_place=product.residual, streamed=round(stored.nbytes / STREAMING),
            sparse=words(stored),
        )
    ]  # fmt: skip


@lowers("Gemm")
def gemm(site: Site) -> list[Offer | Refusal]:
    """x float32 [T, K] as g32 or g32x2; any T, the best for many."""
    symbol, q4 = site.level.symbol, list(NUMBERS).index("q4")
    few = UNPACKING.get(symbol, (FEW_ROWS,) * len(NUMBERS))[q4] + SPREADING.get(symbol, SPREAD)
    return _many_rows(site, "", SCRATCH, PANELS[symbol][q4], few, "unpacked panel by panel")


@lowers("Gemm")
def gemm_amx(site: Site) -> list[Offer | Refusal]:
    """The same on AMX tiles, T of at least one; levels without tiles are left to gemm."""
    reason = "unpacked panel by panel, AMX tiles of a group each"
    return _many_rows(site, "_amx", AMX_SCRATCH, AMX_SHARE["q4"], FEW_ROWS + SPREAD, reason)


def _many_rows(site: Site, suffix: str, panel: int, share: float, few: float, reason: str) -> list[Offer | Refusal]:
    """The offer of a kernel that unpacks panels into scratch of `panel` bytes; `share` is that of the peak which many
    rows reach, `few` rows reach half of it."""
    stored = site.stored[1]
    if stored is None or stored.encoding not in LAYOUTS:
        return []
    form = stored.encoding

    def weights(emitter: Emitter) -> dict[str, Buffer]:
        data, other = PARTS[form]
        return {"w": emitter.weights(stored, data), other: emitter.weights(stored, other)}

    return [
        many_rows(
            site, stored, f"gemm_{form}_{LAYOUTS[form]}{suffix}", weights, panel + CURSORS, share, few,
            f"int4 groups of 32 that are kept, {reason}",
        )
    ]  # fmt: skip
