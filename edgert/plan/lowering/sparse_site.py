"""What the rules for sparse weights share: their words, chunks of equal bytes, the offer of kernels that unpack panels.

The rules are in the sibling files sparse_*.py, fanin.py and conv_sparse*.py.
"""

from __future__ import annotations

from collections.abc import Callable

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
)
from edgert.plan.lowering.grouped import TERMS, Product
from edgert.plan.lowering.grouped_amx import TILE_ROWS
from edgert.plan.lowering.grouped_gemm import PANEL, TRAFFIC, parts
from edgert.plan.lowering.shapes import too_large

Weights = Callable[[Emitter], dict[str, Buffer]]
"""The operands that are an encoding's own, 'w' among them."""


def words(stored: StoredTensor) -> str:
    """What an offer says of its weights: '4x4 52 %'."""
    return f"{stored.pattern} {round(100 * (1 - stored.density))} %"


def bounds(start: Array, chunks: int) -> Array:
    """uint32 [chunks + 1]: which rows of blocks a chunk has, cut where the bytes are equal."""
    ends = start[-1] * np.arange(1, chunks) / chunks
    return np.concatenate([[0], np.searchsorted(start, ends), [len(start) - 1]]).astype(np.uint32)


def many_rows(
    site: Site, stored: StoredTensor, kernel: str, weights: Weights, scratch: int, share: float, few: float, reason: str
) -> Offer | Refusal:
    """The offer of a kernel that unpacks panels of 4 or 8-bit numbers. scratch: bytes, before 4 for each block of 16
    columns. share: of the peak, that many rows reach; `few` rows reach half of it."""
    x = site.inputs[0]
    if kernel.endswith("_amx"):
        if "amx" not in site.level.features:
            return Refusal(kernel, f"{site.level.name} has no AMX tiles")
        if x is not None and x.shape and x.static_shape[0] < TILE_ROWS:
            return Refusal(kernel, f"{x.static_shape[0]} rows: a tile has {TILE_ROWS}")
    product = Product.of(site, kernel)
    if isinstance(product, Refusal):
        return product
    layout, terms = ACTIVATIONS[site.activations], 2 if site.activations == "int16" else 1
    row_parts, column_parts = parts(site.threads, product.rows, product.columns, product.macs, PANEL)
    params: dict[str, int | float] = {
        "rows": product.rows, "columns": product.columns, "row_parts": row_parts, "column_parts": column_parts,
        "units": g32_depth(product.depth) // BLOCK_K, "low": product.low, "high": product.high, "terms": terms,
    }  # fmt: skip
    sizes = layout_nbytes(product.x, layout), 4 * product.rows * product.columns
    scratch += 4 * (-(-product.columns // 16) + 4)

    def emit(emitter: Emitter, inputs: tuple[Buffer | None, ...], outputs: tuple[Buffer, ...]) -> None:
        own = weights(emitter)
        operands = product.operands(emitter, inputs, own["w"], outputs[0]) | own
        emitter.op(kernel, operands, params, chunks=row_parts * column_parts, scratch=scratch)

    # the output may not take the residual's place: passes over k keep their sums there
    streamed = int(TRAFFIC * stored.nbytes)
    return too_large(kernel, *sizes) or Offer(
        kernel, product.in_layouts(site, layout), ("row",), product.macs, streamed + sum(sizes), "dot8",
        share / terms * product.rows / (product.rows + few), f"{reason}{TERMS[site.activations]}", emit,
        streamed=streamed, sparse=words(stored),
    )  # fmt: skip
