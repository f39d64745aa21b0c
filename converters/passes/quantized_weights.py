"""Weights and biases of quantized operators: from any constant behind DequantizeLinear to the IR's form.
int8 rows, symmetric, one scale per row; int32 bias of scale x.scale * w.scale. Shared by `absorb_qdq`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgert.converters.passes.rewrite import Rewriter
from edgert.graph.ir import Array, Quantization

BIAS_LIMIT = 2**31 - 1


@dataclass(frozen=True)
class Rows:
    """values: int8 [N, ...]; scale: float32 [N]. Real weights are values * scale, row by row."""

    values: Array
    scale: Array

    @property
    def quant(self) -> Quantization:
        return Quantization(self.scale, np.zeros(len(self.scale), np.int32), 0)


def weight_rows(rw: Rewriter, tensor: str, axis: int = 0) -> Rows | None:
    """The int8 rows along `axis` of a constant that reaches `tensor` through a DequantizeLinear.

    Zero points are subtracted; a weight that then needs more than int8 gives None, as its products would
    not be those of the original.
    """
    node = rw.maker(tensor)
    if node is None or node.op != "DequantizeLinear":
        return None
    value, kind = rw.constant(node.inputs[0]), rw.type_of(node.inputs[0])
    if value is None or kind is None or kind.quant is None or value.dtype not in (np.int8, np.uint8):
        return None
    quant = kind.quant
    if not quant.per_tensor and (quant.axis or 0) % value.ndim != axis:
        return None
    rows = np.moveaxis(value.astype(np.int32), axis, 0)
    shape = (-1,) + (1,) * (rows.ndim - 1)
    rows = rows - np.broadcast_to(quant.zero_point, rows.shape[:1]).reshape(shape)
    if rows.size and (rows.min() < -128 or rows.max() > 127):
        return None
    scale = np.ascontiguousarray(np.broadcast_to(quant.scale, rows.shape[:1]))
    return Rows(np.ascontiguousarray(rows.astype(np.int8)), scale)


def bias_values(rw: Rewriter, tensor: str, x_scale: float, rows: Rows) -> Array | None:
    """The bias at `tensor` (int32 behind DequantizeLinear, or float) as int32 [N] of scale x * w.

    int32 values that have this scale already are taken as they are. None when it is not constant or
    would overflow.
    """
    wanted = np.float64(x_scale) * rows.scale.astype(np.float64)
    node = rw.maker(tensor)
    if node is not None and node.op == "DequantizeLinear":
        value, kind = rw.constant(node.inputs[0]), rw.type_of(node.inputs[0])
        if value is None or kind is None or kind.quant is None or value.dtype != np.int32:
            return None
        scale = np.broadcast_to(kind.quant.scale, wanted.shape).astype(np.float64)
        if np.allclose(scale, wanted, rtol=1e-5, atol=0.0) and not kind.quant.zero_point.any():
            return np.ascontiguousarray(np.broadcast_to(value.reshape(-1), wanted.shape))
        real = (value.reshape(-1).astype(np.float64) - kind.quant.zero_point) * scale
    else:
        constant = rw.constant(tensor)
        if constant is None or constant.size not in (1, len(wanted)):
            return None
        real = np.broadcast_to(constant.astype(np.float64).reshape(-1), wanted.shape)
    stored = np.rint(real / wanted)
    if np.abs(stored).max(initial=0.0) > BIAS_LIMIT:
        return None
    return stored.astype(np.int32)
