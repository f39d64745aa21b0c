"""Weights that an exporter stored as int8 and scales when the model runs: Cast(int8) * scale becomes DequantizeLinear.
The form in which ONNX says the same, and which other passes fold, absorb or keep as it is."""

from __future__ import annotations

import numpy as np

from edgert.converters.passes.rewrite import Rewriter
from edgert.graph.ir import Array, Graph, Node, Quantization


def recognise_weight_only(graph: Graph) -> Graph:
    """Rewrites the product of a constant int8 tensor, cast to float32, and constant scales: one for the whole tensor
    or one per index of one axis. Scales that are not positive and finite stay where they are."""
    rw = Rewriter(graph)
    for node in list(rw.graph.nodes):
        if node.op != "Mul" or node.attr_str("activation", ""):
            continue
        for cast, scale in (node.inputs, node.inputs[::-1]):
            maker, factor = rw.maker(cast), rw.constant(scale)
            if maker is None or maker.op != "Cast" or factor is None or factor.dtype != np.float32:
                continue
            values = rw.constant(maker.inputs[0])
            if values is None or values.dtype != np.int8:
                continue
            quant = quantization(values, factor)
            if quant is not None:
                stored = rw.add_constant(f"{node.outputs[0]}_int8", values, quant)
                rw.replace([node], [Node("DequantizeLinear", (stored,), node.outputs, {}, node.name)])
                break
    return rw.finish()


def quantization(values: Array, factor: Array) -> Quantization | None:
    """What multiplying `values` by `factor` means: None unless it keeps their shape and follows one axis at most."""
    if not np.isfinite(factor).all() or not (factor > 0).all() or factor.ndim > values.ndim:
        return None
    if factor.size == 1:
        return Quantization(factor.reshape(()), np.zeros((), np.int32))
    shape = (1,) * (values.ndim - factor.ndim) + factor.shape
    axes = [axis for axis, size in enumerate(shape) if size != 1]
    if len(axes) != 1 or shape[axes[0]] != values.shape[axes[0]]:
        return None
    return Quantization(factor.reshape(-1), np.zeros(factor.size, np.int32), axes[0])
