"""BatchNormalization becomes part of the Conv, ConvTranspose or Gemm before it, or a Mul and an Add.
Statistics are those of training (inference mode); Ioffe and Szegedy 2015, section 3.1."""

from __future__ import annotations

import numpy as np

from edgert.converters.passes.linear import linear_producer, rescaled
from edgert.converters.passes.rewrite import Rewriter
from edgert.graph.ir import Array, Graph, Node

EPSILON = 1e-5
"""ONNX's default for BatchNormalization."""


def affine_of_batch_norm(rw: Rewriter, node: Node) -> tuple[Array, Array] | None:
    """(gain, shift), float64 [C], of a BatchNormalization with constant statistics in inference mode."""
    if node.attr_int("training_mode", 0) or any(node.outputs[1:]):
        return None
    values = [rw.constant(name) for name in node.inputs[1:5]]
    if len(values) != 4 or any(value is None for value in values):
        return None
    scale, bias, mean, variance = (np.asarray(value, np.float64) for value in values)
    gain = scale / np.sqrt(variance + node.attr_float("epsilon", EPSILON))
    return gain, bias - mean * gain


def fold_batch_norm(graph: Graph) -> Graph:
    """Folds each BatchNormalization into the linear operator whose output only it reads."""
    rw = Rewriter(graph)
    for node in list(rw.graph.nodes):
        if node.op != "BatchNormalization":
            continue
        producer = linear_producer(rw, node.inputs[0])
        affine = affine_of_batch_norm(rw, node)
        if producer is not None and affine is not None:
            rw.replace([producer, node], [rescaled(rw, producer, *affine, node.outputs[:1])])
    return rw.finish()


def lower_batch_norm(graph: Graph) -> Graph:
    """Writes each BatchNormalization that is still there as Mul and Add by constants [C, 1, ...]."""
    rw = Rewriter(graph)
    for node in list(rw.graph.nodes):
        rank = rw.rank(node.inputs[0]) if node.inputs else None
        if node.op != "BatchNormalization" or rank is None or rank < 2:
            continue
        affine = affine_of_batch_norm(rw, node)
        if affine is None:
            continue
        shape = (-1, *(1,) * (rank - 2))
        stem, out = node.name or node.outputs[0], node.outputs[0]
        dtype = rw.graph.constants[node.inputs[1]].dtype
        gain = rw.add_constant(f"{stem}_gain", affine[0].astype(dtype).reshape(shape))
        shift = rw.add_constant(f"{stem}_shift", affine[1].astype(dtype).reshape(shape))
        scaled = rw.add_tensor(f"{out}_scaled", rw.type_of(out))
        first = Node("Mul", (node.inputs[0], gain), (scaled,), {}, f"{stem}_mul")
        second = Node("Add", (scaled, shift), (out,), {}, f"{stem}_add")
        rw.replace([node], [first, second])
    return rw.finish()
