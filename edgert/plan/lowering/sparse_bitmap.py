"""Gemm with weights of which any, or n of every m, are kept (bitmap8, bitmap4, nm8, nm4): few rows, and many.

Weights are read where the file has them. The same products with all weights are grouped.py's and grouped_gemm.py's,
those of halves sparse_halves.py's.
"""

from __future__ import annotations

import numpy as np

from edgert.format.model import StoredTensor
from edgert.graph.ir import Array
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
from edgert.plan.lowering.grouped import STREAMING, TERMS, TILE, Product, chunks_of
from edgert.plan.lowering.grouped_amx import AMX_SCRATCH
from edgert.plan.lowering.grouped_amx import SHARE as AMX_SHARE
from edgert.plan.lowering.grouped_gemm import SCRATCH
from edgert.plan.lowering.grouped_gemm import SHARE as PANELS
from edgert.plan.lowering.sparse_site import bounds, many_rows, words

WIDTHS = {"bitmap8": 8, "bitmap4": 4, "nm8": 8, "nm4": 4}
"""Bits of a kept number; n:m weights are bitmaps whose blocks have one size."""
COPY = 1280
"""Bytes of scratch: the last block, with room behind it."""
BLOCK_PANEL = 1152
"""The same: a block unpacked."""
SHARE = {
    "avx512vnni": (0.69, 0.55), "avxvnni": (0.69, 1.0), "avx2": (0.72, 1.16), "dotprod": (0.8, 0.8),
    "neon": (1.7, 2.2), "portable": (1.5, 1.5),
}  # fmt: skip
"""Of the int8 peak, by the products of the dense twin, that rows would reach if expanding cost nothing; of 8-bit and
of 4-bit numbers. Measured on x86; on ARM estimated from the instructions of the loops, here and below."""
EXPANDING = {
    "avx512vnni": (4.4, 4.2), "avxvnni": (11, 30), "avx2": (3.4, 11), "dotprod": (12, 18), "neon": (4, 6),
    "portable": (7, 12.5),
}  # fmt: skip
"""Expanding costs a tile of a few rows as much as so many rows: with one row it is most of the work."""
FEW_ROWS = {
    "avx512vnni": (6, 7), "avxvnni": (8.5, 17), "avx2": (4, 17), "dotprod": (15, 20), "neon": (7, 9),
    "portable": (8, 15),
}  # fmt: skip
"""At so many rows half the time of the panels' kernels goes into expanding."""
AMX_FEW_ROWS = (16, 18)
"""The same where tiles make the products three times as fast."""


def _start(emitter: Emitter, stored: StoredTensor) -> tuple[Buffer, Array]:
    """Where each row of blocks begins, in units of 8 bytes: as a buffer, and the numbers."""
    specs = {spec.role: spec for spec in stored.specs}
    if "start" in specs:
        return emitter.weights(stored, "start"), np.asarray(stored.parts["start"])
    rows, columns, size = specs["data"].shape
    start = np.arange(rows + 1, dtype=np.uint32) * np.uint32(columns * size // 8)
    return emitter.constant(start), start


@lowers("Gemm")
def matvec(site: Site) -> list[Offer | Refusal]:
    """x float32 [T, K] as g32 or g32x2; any T, the best for a few."""
    stored = site.stored[1]
    if stored is None or stored.encoding not in WIDTHS:
        return []
    width = WIDTHS[stored.encoding]
    kernel = f"matvec_bitmap{width}_n16k64"
    product = Product.of(site, kernel)
    if isinstance(product, Refusal):
        return [product]
    layout, terms = ACTIVATIONS[site.activations], 2 if site.activations == "int16" else 1
    params: dict[str, int | float] = {
        "rows": product.rows, "columns": product.columns, "blocks": g32_depth(product.depth) // BLOCK_K,
        "terms": terms, "low": product.low, "high": product.high,
    }  # fmt: skip
    nbytes = stored.nbytes + layout_nbytes(product.x, layout) + 4 * product.rows * product.columns
    chunks = chunks_of(site.threads, -(-product.columns // 16), stored.nbytes)

    def emit(emitter: Emitter, inputs: tuple[Buffer | None, ...], outputs: tuple[Buffer, ...]) -> None:
        start, numbers = _start(emitter, stored)
        operands = product.operands(emitter, inputs, emitter.weights(stored, "data"), outputs[0])
        operands |= {"start": start, "bounds": emitter.constant(bounds(numbers, chunks))}
        emitter.op(kernel, operands, params, chunks=chunks, scratch=COPY + BLOCK_PANEL)

    symbol, half = site.level.symbol, width == 4
    tiles = -(-product.rows // TILE.get(symbol, 2))
    share = SHARE[symbol][half] * product.rows / (product.rows + EXPANDING[symbol][half] * tiles) / terms
    reason = f"int{width} numbers that are kept, expanded line by line, streamed once{TERMS[site.activations]}"
    return [
        Offer(
            kernel, product.in_layouts(site, layout), ("row",), product.macs, round(nbytes / STREAMING), "dot8", share,
            reason, emit, in_place=product.residual, streamed=round(stored.nbytes / STREAMING), sparse=words(stored),
        )
    ]  # fmt: skip


@lowers("Gemm")
def gemm(site: Site) -> list[Offer | Refusal]:
    """x float32 [T, K] as g32 or g32x2; any T, the best for many."""
    symbol = site.level.symbol
    return _many_rows(site, "", SCRATCH, (PANELS[symbol][2], PANELS[symbol][0]), FEW_ROWS[symbol], "")


@lowers("Gemm")
def gemm_amx(site: Site) -> list[Offer | Refusal]:
    """The same on AMX tiles, T of at least one; levels without tiles are left to gemm."""
    shares = AMX_SHARE["q8g"], AMX_SHARE["q4"]
    return _many_rows(site, "_amx", AMX_SCRATCH, shares, AMX_FEW_ROWS, ", AMX tiles of a group each")


def _many_rows(
    site: Site, suffix: str, panel: int, shares: tuple[float, float], few: tuple[float, float], reason: str
) -> list[Offer | Refusal]:
    """The offer of a kernel that expands panels into scratch of `panel` bytes. Of 8-bit and of 4-bit numbers: `shares`
    is that of the peak which many rows reach, `few` rows reach half of it."""
    stored = site.stored[1]
    if stored is None or stored.encoding not in WIDTHS:
        return []
    width = WIDTHS[stored.encoding]
    half = width == 4

    def weights(emitter: Emitter) -> dict[str, Buffer]:
        return {"w": emitter.weights(stored, "data"), "start": _start(emitter, stored)[0]}

    return [
        many_rows(
            site, stored, f"gemm_bitmap{width}_n16k64{suffix}", weights, panel + COPY, shares[half], few[half],
            f"int{width} numbers that are kept, expanded panel by panel{reason}",
        )
    ]  # fmt: skip
