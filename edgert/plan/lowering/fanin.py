"""Gemm with weights of constant fan-in: each output gathers its inputs. Any number of rows.

The same product with the zeros filled in is matmul.py's, in floats.
"""

from __future__ import annotations

import numpy as np

from edgert.plan.lowering.api import Buffer, Emitter, Offer, Refusal, Site, lowers
from edgert.plan.lowering.grouped import Product, chunks_of
from edgert.plan.lowering.sparse_site import words

KERNEL = "matvec_fanin_n16"
TILE = 4
"""Rows that share indices and weights."""
LOADING = 0.5
"""Loading these costs a tile as much as so many of its rows."""
SHARE = {"avx512vnni": 0.048, "avxvnni": 0.095, "avx2": 0.095, "dotprod": 0.11, "neon": 0.22, "portable": 0.19}
"""Of the float peak, what rows would reach if all shared them: single loads are the limit. Measured on x86; on ARM
estimated from the instructions of the loop."""


@lowers("Gemm")
def fanin(site: Site) -> list[Offer | Refusal]:
    """x float32 [T, K], any T."""
    stored = site.stored[1]
    if stored is None or stored.encoding != "fanin":
        return []
    product = Product.of(site, KERNEL)
    if isinstance(product, Refusal):
        return [product]
    blocks, kept, _ = stored.specs[0].shape
    params: dict[str, int | float] = {
        "rows": product.rows, "columns": product.columns, "depth": product.depth, "kept": kept,
        "low": product.low, "high": product.high,
    }  # fmt: skip
    chunks = chunks_of(site.threads, blocks, stored.nbytes * product.rows)

    def emit(emitter: Emitter, inputs: tuple[Buffer | None, ...], outputs: tuple[Buffer, ...]) -> None:
        operands = product.operands(emitter, inputs, emitter.weights(stored, "data"), outputs[0])
        operands["index"] = emitter.weights(stored, "index")
        # a copy, as whole lines of 16 are read
        operands["scale"] = emitter.constant(np.asarray(stored.parts["scale"]))
        emitter.op(KERNEL, operands, params, chunks=chunks)

    rows = product.rows
    share = SHARE[site.level.symbol] * rows / (rows + LOADING * -(-rows // TILE))
    return [
        Offer(
            KERNEL, product.in_layouts(site, "row"), ("row",), rows * 16 * blocks * kept,
            stored.nbytes + 4 * rows * (product.depth + product.columns), "fma32", share,
            "16 outputs side by side gather their inputs", emit, in_place=product.residual,
            streamed=stored.nbytes, sparse=words(stored),
        )
    ]  # fmt: skip
