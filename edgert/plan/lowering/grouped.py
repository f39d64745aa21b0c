"""Gemm with weights stored in groups (q4, q4m, q8g) or as halves (f16), few rows at a time: the decoding of text.

Weights are read where the file has them. Products of many rows are grouped_gemm.py's.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgert.format.encodings import GROUPED
from edgert.format.layouts import pack
from edgert.format.model import StoredTensor
from edgert.graph.ir import Array, TensorType
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
from edgert.plan.lowering.matmul import bias_values, residual_index
from edgert.plan.lowering.requantize import activation_floats
from edgert.plan.lowering.shapes import CHUNKS_PER_THREAD, is_constant

NUMBERS = {"q4": "int4 groups of 32", "q4m": "int4 groups of 32 with minima", "q8g": "int8 groups of 32"}
"""Encodings as people say them."""
TERMS = {"int8": "", "int16": ", by int16 in two terms"}
"""How activations are said to be met."""
CHUNK = 32 << 10
"""Bytes of weights of a chunk, at least: 2 to 10 us, some ten times what it costs to share an op."""
STREAMING = 0.9
"""Share of the speed of memory that one row reaches."""
TILE = {"avx512vnni": 4, "dotprod": 4, "neon": 4}
"""Rows that share what is made of a line of weights, where that is a gain: with 16 registers it is hardly one."""
ALONE = {
    "avx512vnni": (0.35, 0.2), "avxvnni": (0.43, 0.35), "avx2": (1.05, 0.72), "dotprod": (0.28, 0.27),
    "neon": (0.73, 0.57), "portable": (1.5, 1.55),
}  # fmt: skip
"""Of the int8 peak, for nibbles and for bytes, what one row reaches with weights in a cache. Measured and estimated as
SHARE."""
UNPACKING = 2.0
"""Loading and unpacking weights costs a tile as much as so many of its rows."""
SHARE = {
    "avx512vnni": (0.9, 0.8), "avxvnni": (0.44, 0.42), "avx2": (1.2, 0.9), "dotprod": (0.85, 0.8),
    "neon": (2.2, 1.7), "portable": (1.2, 1.2),
}  # fmt: skip
"""With more rows computing is the limit: of the int8 peak, which the convolutions set, for nibbles and for bytes, where
there are tiles without that cost. Measured on x86; on ARM estimated from the instructions of the loops."""
FLOAT_SHARE = 0.25
"""The same for halves, of the float peak."""


@dataclass(frozen=True)
class Product:
    """A Gemm of rows x depth activations with constant weights [columns, depth], and what is added to it."""

    x: TensorType
    stored: StoredTensor
    rows: int
    depth: int
    columns: int
    bias: Array | None
    """float32, zero padded."""
    residual: int | None
    """The input that is added."""
    low: float
    high: float

    @classmethod
    def of(cls, site: Site, kernel: str) -> Product | Refusal:
        """The product that `site` is; a refusal by `kernel` if it is another kind of Gemm."""
        node, x, stored = site.node, site.inputs[0], site.stored[1]
        if x is None or x.dtype != "float32" or is_constant(site, 0) or stored is None or len(stored.shape) != 2:
            return Refusal(kernel, "expected float32 activations and constant weights [N, K]")
        if not node.attr_int("transB", 0) or node.attr_int("transA", 0):
            return Refusal(kernel, f"weights stored as {stored.encoding} are rows of outputs: transB only")
        if node.attr_float("alpha", 1.0) != 1.0 or node.attr_float("beta", 1.0) != 1.0:
            return Refusal(kernel, "alpha and beta are not computed")
        rows, depth = x.static_shape
        columns, residual = stored.shape[0], residual_index(site)
        if rows == 0 or depth == 0 or columns == 0:
            return Refusal(kernel, f"nothing to multiply: {list(x.shape)} by {list(stored.shape)}")
        if residual is not None and (site.inputs[residual] is None or is_constant(site, residual)):
            return Refusal(kernel, "expected an activation as the residual")
        bias = bias_values(site, columns)
        if bias is None:
            return Refusal(kernel, f"expected a constant float32 bias of {columns} values")
        given = bias if bias.any() else None
        return cls(x, stored, rows, depth, columns, given, residual, *activation_floats(node))

    @property
    def macs(self) -> int:
        return self.rows * self.columns * self.depth

    def in_layouts(self, site: Site, x: str) -> tuple[str | None, ...]:
        """`x` for the activations, row for the residual."""
        rest = tuple("row" if i == self.residual else None for i in range(1, len(site.inputs)))
        return (x, *rest)

    def operands(
        self, emitter: Emitter, inputs: tuple[Buffer | None, ...], weights: Buffer, y: Buffer
    ) -> dict[str, Buffer | None]:
        """What every kernel of such products takes."""
        return {
            "x": inputs[0], "w": weights, "bias": None if self.bias is None else emitter.constant(self.bias),
            "residual": None if self.residual is None else inputs[self.residual], "y": y,
            "rows_at": emitter.rows(self.rows),
        }  # fmt: skip


def chunks_of(threads: int, units: int, nbytes: int) -> int:
    """As many for each thread, so that all end together: an uneven share of the last chunks is time lost here."""
    each = min(CHUNKS_PER_THREAD, nbytes // (CHUNK * threads))
    return max(1, min(units, threads * each)) if threads > 1 else 1


def _share(symbol: str, whole_bytes: bool, rows: int) -> float:
    """Of the int8 peak that so many rows reach."""
    if rows == 1:
        return ALONE[symbol][whole_bytes]
    share = SHARE[symbol][whole_bytes]
    if symbol not in TILE:
        return share
    return share * rows / (rows + UNPACKING * -(-rows // TILE[symbol]))


@lowers("Gemm")
def matvec(site: Site) -> list[Offer | Refusal]:
    """x float32 [T, K], as g32 for weights in groups and as it is for halves; any T, the best for a few."""
    stored = site.stored[1]
    if stored is None or stored.encoding not in (*GROUPED, "f16"):
        return []
    halves = stored.encoding == "f16"
    terms = 2 if site.activations == "int16" and not halves else 1
    kernel = f"matvec_{stored.encoding}_{'n16k1' if halves else 'n16k64'}"
    product = Product.of(site, kernel)
    if isinstance(product, Refusal):
        return [product]
    params: dict[str, int | float] = {
        "rows": product.rows, "columns": product.columns, "low": product.low, "high": product.high
    }  # fmt: skip
    if halves:
        layout, reason = "row", "halves in lines of 16 columns, streamed once"
        params["depth"] = product.depth
        if stored.layout != "n16k1":
            reason += "; packed when planned"
        streamed = 32 * product.depth * -(-product.columns // 16)
    else:
        layout = ACTIVATIONS[site.activations]
        reason = f"{NUMBERS[stored.encoding]} in lines of 16 rows, streamed once{TERMS[site.activations]}"
        params["terms"] = terms
        params["blocks"] = g32_depth(product.depth) // BLOCK_K
        streamed = stored.nbytes
    nbytes = streamed + layout_nbytes(product.x, layout) + 4 * product.rows * product.columns
    chunks = chunks_of(site.threads, -(-product.columns // 16), streamed)

    def emit(emitter: Emitter, inputs: tuple[Buffer | None, ...], outputs: tuple[Buffer, ...]) -> None:
        if stored.layout == "row":
            weights = emitter.constant(pack(np.asarray(stored.parts["data"]), "n16k1"))
        else:
            weights = emitter.weights(stored, "data")
        emitter.op(kernel, product.operands(emitter, inputs, weights, outputs[0]), params, chunks=chunks)

    unit, efficiency = "dot8", _share(site.level.symbol, stored.encoding == "q8g", product.rows) / terms
    if halves:
        unit, efficiency = ("fma32", FLOAT_SHARE) if product.rows > 1 else ("bytes", STREAMING)
    elif product.rows == 1:
        nbytes, streamed = round(nbytes / STREAMING), round(streamed / STREAMING)
    return [
        Offer(
            kernel, product.in_layouts(site, layout), ("row",), product.macs, nbytes, unit, efficiency, reason, emit,
            in_place=product.residual, streamed=streamed,
        )
    ]  # fmt: skip
