"""Gemm with half-precision weights of which any are kept (bitmap16): few rows, and many.

Weights are read where the file has them. Weights in groups are sparse_bitmap.py's, dense halves grouped.py's.
"""

from __future__ import annotations

import numpy as np

from edgert.plan.lowering.api import BLOCK_K, Buffer, Emitter, Offer, Refusal, Site, lowers
from edgert.plan.lowering.grouped import STREAMING, Product, chunks_of
from edgert.plan.lowering.grouped_gemm import FLOAT_PANEL, FLOAT_SHARE, SCRATCH, TRAFFIC, parts
from edgert.plan.lowering.shapes import too_large
from edgert.plan.lowering.sparse_site import bounds, words

COPY = 2208
"""Bytes of scratch: the last block, with room behind it."""
SHARE = {"avx512vnni": 0.19, "avxvnni": 0.16, "avx2": 0.16, "dotprod": 0.15, "neon": 0.15, "portable": 0.046}
"""Of the float peak, that a few rows reach: each expands the weights anew. Measured on x86; on ARM estimated from the
instructions of the loop."""
FEW_ROWS = {"avx512vnni": 4, "avxvnni": 6, "avx2": 6, "dotprod": 6, "neon": 6, "portable": 8}
"""At so many rows half the time of the panels' kernel goes into expanding."""


@lowers("Gemm")
def matvec(site: Site) -> list[Offer | Refusal]:
    """x float32 [T, K]; any T, the best for a few."""
    stored, kernel = site.stored[1], "matvec_bitmap16_n16k64"
    if stored is None or stored.encoding != "bitmap16":
        return []
    product = Product.of(site, kernel)
    if isinstance(product, Refusal):
        return [product]
    params: dict[str, int | float] = {
        "rows": product.rows, "columns": product.columns, "depth": product.depth, "low": product.low,
        "high": product.high,
    }  # fmt: skip
    nbytes = stored.nbytes + 4 * product.rows * (product.depth + product.columns)
    chunks = chunks_of(site.threads, -(-product.columns // 32), stored.nbytes)

    def emit(emitter: Emitter, inputs: tuple[Buffer | None, ...], outputs: tuple[Buffer, ...]) -> None:
        operands = product.operands(emitter, inputs, emitter.weights(stored, "data"), outputs[0])
        start = np.asarray(stored.parts["start"])
        pairs = np.append(start[:-1:2], start[-1:])
        operands |= {"start": emitter.weights(stored, "start"), "bounds": emitter.constant(bounds(pairs, chunks))}
        emitter.op(kernel, operands, params, chunks=chunks, scratch=2 * COPY)

    reason = "halves that are kept, expanded line by line, streamed once"
    return [
        Offer(
            kernel, product.in_layouts(site, "row"), ("row",), product.macs, round(nbytes / STREAMING), "fma32",
            SHARE[site.level.symbol], reason, emit, in_place=product.residual,
            streamed=round(stored.nbytes / STREAMING), sparse=words(stored),
        )
    ]  # fmt: skip


@lowers("Gemm")
def gemm(site: Site) -> list[Offer | Refusal]:
    """x float32 [T, K]; any T, the best for many."""
    stored, kernel = site.stored[1], "gemm_bitmap16_n16k64"
    if stored is None or stored.encoding != "bitmap16":
        return []
    product = Product.of(site, kernel)
    if isinstance(product, Refusal):
        return [product]
    row_parts, column_parts = parts(site.threads, product.rows, product.columns, product.macs, FLOAT_PANEL)
    params: dict[str, int | float] = {
        "rows": product.rows, "columns": product.columns, "row_parts": row_parts, "column_parts": column_parts,
        "units": -(-product.depth // BLOCK_K), "depth": product.depth, "low": product.low, "high": product.high,
        "terms": 1,
    }  # fmt: skip
    sizes = product.x.nbytes, 4 * product.rows * product.columns
    scratch = SCRATCH + COPY + 4 * (-(-product.columns // 16) + 4)

    def emit(emitter: Emitter, inputs: tuple[Buffer | None, ...], outputs: tuple[Buffer, ...]) -> None:
        operands = product.operands(emitter, inputs, emitter.weights(stored, "data"), outputs[0])
        operands["start"] = emitter.weights(stored, "start")
        emitter.op(kernel, operands, params, chunks=row_parts * column_parts, scratch=scratch)

    # the output may not take the residual's place: passes over k keep their sums there
    streamed = int(TRAFFIC * stored.nbytes)
    share = FLOAT_SHARE * product.rows / (product.rows + FEW_ROWS[site.level.symbol])
    found = too_large(kernel, *sizes) or Offer(
        kernel, product.in_layouts(site, "row"), ("row",), product.macs, streamed + sum(sizes), "fma32", share,
        "halves that are kept, expanded panel by panel", emit, streamed=streamed, sparse=words(stored),
    )  # fmt: skip
    return [found]
