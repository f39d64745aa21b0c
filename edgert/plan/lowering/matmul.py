"""Gemm, MatMul and QLinearGemm: rows of activations against lines of 16 columns.

Weights stored in the kernel's layout are used as they are mapped; others are packed once, at planning.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod

import numpy as np

from edgert.format.encodings import GROUPED
from edgert.format.layouts import pack
from edgert.format.model import StoredTensor
from edgert.graph.ir import Array
from edgert.plan.lowering.api import Buffer, Emitter, Offer, Refusal, Site, layout_nbytes, lowers
from edgert.plan.lowering.requantize import activation_bytes, activation_floats, multipliers, zero_point
from edgert.plan.lowering.shapes import (
    CHUNK_MACS,
    CHUNKS_PER_THREAD,
    Planes,
    flip,
    is_constant,
    per_tensor,
    plane_layout,
    rows_present,
    too_large,
)  # fmt: skip

MAX_SUM = 2**31 / (255 * 127)
"""Products that a 32-bit accumulator holds."""
ROW_PART = 24
"""Rows of a chunk, at least, where rows are divided: whole tiles of any height."""


def parts(threads: int, rows: int, columns: int, macs: int, batch: int = 1) -> tuple[int, int]:
    """(row parts, column parts) of each matrix: columns first, as every part of the rows reads all weights."""
    if threads == 1:
        return 1, 1
    wanted = max(1, min(CHUNKS_PER_THREAD * threads, macs // CHUNK_MACS))
    wanted = -(-wanted // batch)
    by_rows = max(1, min(wanted, rows // ROW_PART))
    by_columns = max(1, min(-(-wanted // by_rows), -(-columns // 64)))
    return by_rows, by_columns


def residual_index(site: Site) -> int | None:
    """Which input is added to the product, the last one where there is one."""
    return len(site.inputs) - 1 if site.node.attr_int("residual", 0) else None


def bias_values(site: Site, count: int) -> Array | None:
    """The constant bias, input 2, for `count` columns, zeros when absent; None when it is not one row of constants."""
    index, dtype = 2, np.int32 if site.node.op.startswith("QLinear") else np.float32
    padded = np.zeros(-(-count // 64) * 64, dtype)
    if index < len(site.inputs) and site.inputs[index] is not None and index != residual_index(site):
        value = site.values[index]
        if value is None or value.dtype != dtype or value.size not in (1, count) or prod(value.shape[:-1]) > 1:
            return None
        padded[:count] = value.reshape(-1)
    return padded


@lowers("QLinearGemm")
def gemm_q8(site: Site) -> list[Offer | Refusal]:
    """x uint8 [..., K], rows or one pixel of k4p; weights int8 [N, K] with a scale per output."""
    kernel = "gemm_q8_n16k4"
    x, w, y = site.inputs[0], site.inputs[1], site.outputs[0]
    if x is None or w is None or is_constant(site, 0) or per_tensor(x) is None or per_tensor(y) is None:
        return [Refusal(kernel, "expected uint8 activations with one scale each")]
    if site.node.attr_int("residual", 0):
        return [Refusal(kernel, "a residual is not fused into fully connected layers")]
    stored = site.stored[1]
    if stored is None or len(w.shape) != 2 or w.dtype != "int8" or w.quant is None or w.quant.zero_point.any():
        return [Refusal(kernel, "expected constant symmetric int8 weights [N, K]")]
    if stored.encoding != "q8" and int(stored.dense().min(initial=0)) < -127:
        return [Refusal(kernel, "weights of -128: their products of pairs may overflow 16 bits")]
    columns, depth = w.static_shape
    bias = bias_values(site, columns)
    if bias is None:
        return [Refusal(kernel, f"expected a constant int32 bias of {columns} values")]
    scales = multipliers(x, w, y, columns)
    if max(float(scales.max(initial=0.0)), 1.0) * depth > MAX_SUM:
        return [Refusal(kernel, f"{depth} products of scale {scales.max():g} overflow 32 bits")]
    rows = x.numel // depth if depth else 0
    if rows == 0 or columns == 0:
        return [Refusal(kernel, f"nothing to multiply: {list(x.shape)} by {list(w.shape)}")]
    offers = [_gemm_q8(site, "row", stored, bias, scales, rows)]
    if plane_layout(x) == "k4p" and Planes.of(x).pixels == 1:
        offers.insert(0, _gemm_q8(site, "k4p", stored, bias, scales, rows))
    return offers


def _gemm_q8(site: Site, layout: str, stored: StoredTensor, bias: Array, scales: Array, rows: int) -> Offer | Refusal:
    kernel = "gemm_q8_n16k4"
    x, w, y = site.inputs[0], site.inputs[1], site.outputs[0]
    assert x is not None and w is not None
    columns, depth = w.static_shape
    steps = -(-depth // 4)
    macs = rows * columns * depth
    row_parts, column_parts = parts(site.threads, rows, columns, macs)
    low, high = activation_bytes(site.node, y, site.level)
    params: dict[str, int | float] = {
        "rows": rows, "columns": columns, "steps": steps, "row_parts": row_parts, "column_parts": column_parts,
        "x_row": depth if layout == "row" else 64 * steps, "x_step": 4 if layout == "row" else 64, "y_row": columns,
        "zero_point": zero_point(y, site.level), "low": low, "high": high,
        "x_flip": flip(site.level) if layout == "row" else 0, "y_flip": flip(site.level),
    }  # fmt: skip

    def emit(emitter: Emitter, inputs: tuple[Buffer | None, ...], outputs: tuple[Buffer, ...]) -> None:
        weights, sums = _packed_q8(emitter, stored)
        folded = bias.copy()
        folded[:columns] -= (zero_point(x, site.level) * sums).astype(np.int32)
        padded = np.zeros(len(bias), np.float32)
        padded[:columns] = scales
        operands = {
            "x": inputs[0], "w": weights, "bias": emitter.constant(folded), "scale": emitter.constant(padded),
            "y": outputs[0],
        }  # fmt: skip
        emitter.op(kernel, operands, params, chunks=row_parts * column_parts)

    absent = (None,) * (len(site.inputs) - 1)
    nbytes = layout_nbytes(x, layout) + w.numel + y.numel
    efficiency = 0.8 if rows >= 4 else 0.2
    mapped = (stored.encoding, stored.layout) == ("q8", "n16k4")
    reason = "weights in lines of 16 columns" + ("" if mapped else ", packed when planned")
    return too_large(kernel, nbytes, rows * columns) or Offer(
        kernel, (layout, *absent), ("row",), macs, nbytes, "dot8", efficiency, reason, emit
    )


def _packed_q8(emitter: Emitter, stored: StoredTensor) -> tuple[Buffer, Array]:
    """Weights in n16k4 and the sum of each row, int64."""
    if (stored.encoding, stored.layout) == ("q8", "n16k4"):
        return emitter.weights(stored, "data"), np.asarray(stored.parts["sum"], np.int64)
    values = np.ascontiguousarray(stored.dense())
    return emitter.constant(pack(values, "n16k4")), values.sum(axis=1, dtype=np.int64)


@dataclass(frozen=True)
class _Lines:
    """The right side of a float product: byte strides of its k and of its lines of 16 columns."""

    step: int
    block: int
    layout: str | None
    """Of an activation; None for constants."""
    make: Callable[[Emitter, Buffer | None], Buffer | None]
    reason: str


@lowers("Gemm")
def gemm_f32(site: Site) -> Offer | Refusal:
    """float32, activations times weights in either orientation, with a bias of one row and a residual."""
    kernel = "gemm_f32_n16k1"
    x, w, y = site.inputs[0], site.inputs[1], site.outputs[0]
    assert x is not None and w is not None
    node = site.node
    if x.dtype != "float32" or w.dtype != "float32" or is_constant(site, 0):
        return Refusal(kernel, f"expected float32 activations, found {x.dtype} and {w.dtype}")
    if node.attr_int("transA", 0) or node.attr_float("alpha", 1.0) != 1.0 or node.attr_float("beta", 1.0) != 1.0:
        return Refusal(kernel, "transA, alpha and beta are not computed")
    columns = y.static_shape[-1]
    bias = bias_values(site, columns)
    if bias is None:
        return Refusal(kernel, f"expected a constant float32 bias of one row of {columns}")
    stored = site.stored[1]
    if stored is not None and (stored.encoding in (*GROUPED, "f16") or stored.sparse):
        return Refusal(kernel, f"weights stored as {stored.encoding} are not unpacked to float32")
    residual = residual_index(site)
    if residual is not None and (site.inputs[residual] is None or is_constant(site, residual)):
        return Refusal(kernel, "expected an activation as the residual")
    lines = _weight_lines(site, bool(node.attr_int("transB", 0)))
    if lines is None:
        return Refusal(kernel, "a transposed activation on the right is not computed")
    rows, depth = x.static_shape
    return _gemm_f32(site, lines, bias, 1, rows, columns, depth, (0, 0), residual)


def _weight_lines(site: Site, transposed: bool) -> _Lines | None:
    """The right side: packed weights where it is constant, else the rows of the activation as they lie."""
    w, stored = site.inputs[1], site.stored[1]
    assert w is not None
    depth = w.static_shape[-1] if transposed else w.static_shape[-2]
    columns = w.static_shape[-2] if transposed else w.static_shape[-1]
    if stored is not None and transposed and (stored.encoding, stored.layout) == ("dense", "n16k1"):
        return _Lines(64, 64 * depth, None, lambda e, b: e.weights(stored, "data"), "weights in lines of 16 columns")
    if is_constant(site, 1):

        def packed(emitter: Emitter, given: Buffer | None) -> Buffer:
            value = stored.dense() if stored is not None else site.values[1]
            assert value is not None
            matrix = value if transposed else np.swapaxes(value, -1, -2)
            matrices = np.ascontiguousarray(matrix, np.float32).reshape(-1, columns, depth)
            return emitter.constant(np.stack([pack(m, "n16k1") for m in matrices]))

        return _Lines(64, 64 * depth, None, packed, "weights packed in lines of 16 columns when planned")
    if transposed:
        return None
    return _Lines(4 * columns, 64, "row", lambda e, b: b, "rows of the right side as they lie")


@lowers("MatMul")
def matmul_f32(site: Site) -> Offer | Refusal:
    """float32 [..., M, K] by [..., K, N]; either side may have no batch, else batches must be equal."""
    kernel = "gemm_f32_n16k1"
    a, b = site.inputs[0], site.inputs[1]
    assert a is not None and b is not None
    if a.dtype != "float32" or b.dtype != "float32" or is_constant(site, 0):
        return Refusal(kernel, f"expected float32 activations, found {a.dtype} and {b.dtype}")
    if len(a.shape) < 2 or len(b.shape) < 2:
        return Refusal(kernel, "one-dimensional operands are not computed")
    rows, depth = a.static_shape[-2:]
    columns = b.static_shape[-1]
    a_batch, b_batch = (tuple(n for n in k.static_shape[:-2] if n != 1) for k in (a, b))
    if b_batch == ():
        # every row of every matrix meets the same right side: one tall product
        batch, rows, strides = 1, prod(a_batch) * rows, (0, 0)
    elif a_batch == b_batch or a_batch == ():
        batch, strides = prod(b_batch), (prod(a_batch) != 1, 1)
    else:
        return Refusal(kernel, f"batches {list(a_batch)} and {list(b_batch)} differ")
    lines = _weight_lines(site, False)
    assert lines is not None
    return _gemm_f32(site, lines, np.zeros(-(-columns // 64) * 64, np.float32), batch, rows, columns, depth, strides)


def _gemm_f32(
    site: Site, lines: _Lines, bias: Array, batch: int, rows: int, columns: int, depth: int,
    strides: tuple[int | bool, int | bool], residual: int | None = None,
) -> Offer | Refusal:  # fmt: skip
    """strides: whether the left and the right side move on with the batch. residual: the input added."""
    kernel = "gemm_f32_n16k1"
    x, y = site.inputs[0], site.outputs[0]
    assert x is not None
    if y.numel == 0:
        return Refusal(kernel, f"nothing to multiply: the output is {list(y.shape)}")
    macs = batch * rows * columns * depth
    row_parts, column_parts = parts(site.threads, rows, columns, macs, batch)
    low, high = activation_floats(site.node)
    matrix = 64 * depth * -(-columns // 16) if lines.layout is None else 4 * depth * columns
    params: dict[str, int | float] = {
        "rows": rows, "columns": columns, "steps": depth, "row_parts": row_parts, "column_parts": column_parts,
        "x_row": 4 * depth, "w_step": lines.step, "w_block": lines.block, "y_row": 4 * columns,
        "x_batch": 4 * rows * depth if strides[0] else 0, "w_batch": matrix if strides[1] else 0,
        "y_batch": 4 * rows * columns, "low": low, "high": high,
    }  # fmt: skip

    def emit(emitter: Emitter, inputs: tuple[Buffer | None, ...], outputs: tuple[Buffer, ...]) -> None:
        operands = {
            "x": inputs[0], "w": lines.make(emitter, inputs[1]), "bias": emitter.constant(bias), "y": outputs[0],
            "residual": None if residual is None else inputs[residual],
            "rows_at": rows_present(emitter, y, rows) if batch == 1 else None,
        }  # fmt: skip
        emitter.op(kernel, operands, params, chunks=batch * row_parts * column_parts)

    absent = tuple("row" if i == residual else None for i in range(2, len(site.inputs)))
    nbytes = 4 * x.numel + matrix * (batch if strides[1] else 1) + 4 * y.numel * (1 if residual is None else 2)
    efficiency = 0.75 if rows >= 6 else 0.2
    return too_large(kernel, nbytes) or Offer(
        kernel, ("row", lines.layout, *absent), ("row",), macs, nbytes, "fma32", efficiency, lines.reason, emit,
        in_place=residual,
    )  # fmt: skip
