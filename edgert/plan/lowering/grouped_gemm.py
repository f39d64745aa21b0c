"""Gemm with weights stored in groups (q4, q4m, q8g) or as halves (f16), many rows at a time: the reading of a prompt.

Weights are unpacked a panel at a time while the kernel runs. Products of a few rows are grouped.py's.
"""

from __future__ import annotations

import numpy as np

from edgert.format.layouts import pack
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
from edgert.plan.lowering.grouped import NUMBERS, TERMS, Product
from edgert.plan.lowering.shapes import CHUNK_MACS, CHUNKS_PER_THREAD, too_large

SCRATCH = 24 << 10
"""Of a thread: the panel of unpacked weights."""
PANEL, FLOAT_PANEL = 32, 64
"""Columns of the widest panel of numbers, and of floats."""
STRIP = 256
"""Columns of a chunk, at most: with its rows, what deep products add up in passes stays in a second-level cache."""
PART = 512
"""Rows of a chunk, at most, for the same reason."""
FEW_ROWS = 3
"""At so many rows half the time goes into unpacking."""
UNPACKING = {"avx512vnni": (6, 6, 12)}
"""The same of q4, q4m and q8g where products are faster: FEW_ROWS elsewhere."""
TRAFFIC = 1.3
"""Weights come in bursts, panel by panel: what their bytes cost, compared with streaming them."""
SHARE = {
    "avx512vnni": (0.79, 0.73, 0.79), "avxvnni": (0.79, 0.7, 0.79), "avx2": (1.65, 1.55, 1.0),
    "dotprod": (0.7, 0.65, 0.7), "neon": (1.8, 1.7, 1.3), "portable": (1.8, 1.6, 1.8),
}  # fmt: skip
"""Of the int8 peak, which the convolutions set, with many rows of q4, q4m and q8g: nibbles add up in 16 bits where
there are no dot products. Measured on x86; on ARM estimated from the instructions of the loops."""
FLOAT_SHARE = 0.85
"""Of the float peak."""


def parts(threads: int, rows: int, columns: int, macs: int, panel: int) -> tuple[int, int]:
    """(row parts, column parts) for panels of `panel` columns. Columns first, as every part of the rows unpacks all its
    weights again, and so many that all threads end together."""
    panels, strips = -(-columns // panel), -(-columns // STRIP)
    each = min(CHUNKS_PER_THREAD, macs // (CHUNK_MACS * threads)) if threads > 1 else 0
    choices = [n for n in range(threads, max(threads * each, strips + threads) + 1, threads) if strips <= n <= panels]
    by_columns = min(choices, key=lambda n: (-(-panels // n) * n, -n)) if each and choices else strips
    enough = -(-threads * min(each, 2) // by_columns)
    return max(-(-rows // PART), min(enough, rows // (8 * FEW_ROWS))), by_columns


@lowers("Gemm")
def gemm(site: Site) -> list[Offer | Refusal]:
    """x float32 [T, K], as g32 for weights in groups and as it is for halves; any T, the best for many."""
    stored = site.stored[1]
    if stored is None or stored.encoding not in (*NUMBERS, "f16"):
        return []
    if stored.encoding == "f16":
        reason = "halves, widened panel by panel" + ("" if stored.layout == "n16k1" else "; packed when planned")
        return [many_rows(site, "gemm_f16_n16k1", FLOAT_SHARE, SCRATCH, reason)]
    symbol, number = site.level.symbol, list(NUMBERS).index(stored.encoding)
    few = UNPACKING.get(symbol, (FEW_ROWS,) * len(NUMBERS))[number]
    reason = f"{NUMBERS[stored.encoding]}, unpacked panel by panel"
    return [many_rows(site, f"gemm_{stored.encoding}_n16k64", SHARE[symbol][number], SCRATCH, reason, few)]


def many_rows(site: Site, kernel: str, share: float, scratch: int, reason: str, few: int = FEW_ROWS) -> Offer | Refusal:
    """The offer of one of the kernels that unpack panels; `share` is that of the peak which many rows reach, `few` rows
    reach half of it."""
    product = Product.of(site, kernel)
    if isinstance(product, Refusal):
        return product
    stored, halves = product.stored, product.stored.encoding == "f16"
    terms = 2 if site.activations == "int16" and not halves else 1
    row_parts, column_parts = parts(
        site.threads, product.rows, product.columns, product.macs, FLOAT_PANEL if halves else PANEL
    )
    params: dict[str, int | float] = {
        "rows": product.rows, "columns": product.columns, "row_parts": row_parts, "column_parts": column_parts,
        "units": product.depth if halves else g32_depth(product.depth) // BLOCK_K,
        "low": product.low, "high": product.high, "terms": terms,
    }  # fmt: skip
    layout = "row" if halves else ACTIVATIONS[site.activations]
    if terms == 2:
        reason += TERMS[site.activations]
    sizes = layout_nbytes(product.x, layout), 4 * product.rows * product.columns

    def emit(emitter: Emitter, inputs: tuple[Buffer | None, ...], outputs: tuple[Buffer, ...]) -> None:
        if stored.layout == "row":
            weights = emitter.constant(pack(np.asarray(stored.parts["data"]), "n16k1"))
        else:
            weights = emitter.weights(stored, "data")
        operands = product.operands(emitter, inputs, weights, outputs[0])
        emitter.op(kernel, operands, params, chunks=row_parts * column_parts, scratch=scratch)

    # the output may not take the residual's place: passes over k keep their sums there
    streamed = int(TRAFFIC * stored.nbytes)
    return too_large(kernel, *sizes) or Offer(
        kernel, product.in_layouts(site, layout), ("row",), product.macs, streamed + sum(sizes),
        "fma32" if halves else "dot8", share / terms * product.rows / (product.rows + few), reason, emit,
        streamed=streamed,
    )  # fmt: skip
