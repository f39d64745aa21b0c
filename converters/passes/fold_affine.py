"""Multiplications and additions by per-channel constants become part of the Conv or Gemm before them.
A separate bias, a layer scale and a normalisation written out by an exporter all have this form."""

from __future__ import annotations

import numpy as np

from edgert.converters.passes.linear import channels, linear_producer, rescaled
from edgert.converters.passes.rewrite import Rewriter, channel_vector
from edgert.graph.ir import Array, Graph, Node


def affine_of_arithmetic(rw: Rewriter, node: Node, count: int) -> tuple[str, Array, Array] | None:
    """(x, gain, shift), float64 [count], when `node` computes gain * x + shift per channel with constants."""
    if node.op == "Neg":
        return node.inputs[0], -np.ones(count), np.zeros(count)
    if node.op not in ("Add", "Sub", "Mul", "Div") or node.attr_str("activation", ""):
        return None
    left, right = node.inputs
    flipped = rw.constant(left) is not None
    x, constant = (right, left) if flipped else (left, right)
    rank = rw.rank(x)
    if rank is None or rank < 2 or not rw.is_float(x):
        return None
    vector = channel_vector(rw.constant(constant), count, rank)
    if vector is None:
        return None
    one, zero = np.ones(count), np.zeros(count)
    if node.op == "Add":
        return x, one, vector
    if node.op == "Sub":
        return (x, -one, vector) if flipped else (x, one, -vector)
    if node.op == "Mul":
        return x, vector, zero
    return None if flipped or not vector.all() else (x, 1.0 / vector, zero)


def fold_affine(graph: Graph) -> Graph:
    """Folds Neg, and Add, Sub, Mul and Div by per-channel constants, into the linear operator before them."""
    rw = Rewriter(graph)
    for node in list(rw.graph.nodes):
        if node.op not in ("Add", "Sub", "Mul", "Div", "Neg"):
            continue
        for x in node.inputs:
            producer = linear_producer(rw, x)
            if producer is None:
                continue
            count = channels(producer, rw.graph.constants[producer.inputs[1]])
            affine = affine_of_arithmetic(rw, node, count)
            if affine is not None:
                rw.replace([producer, node], [rescaled(rw, producer, *affine[1:], node.outputs)])
                break
    return rw.finish()
