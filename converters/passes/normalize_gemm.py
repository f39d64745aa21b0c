"""Products of matrices with constant weights take one form: Gemm(x [M,K], w [N,K], bias [N]), transB = 1.
MatMul of two activations, or of more than two axes, stays MatMul."""

from __future__ import annotations

import numpy as np

from edgert.converters.passes.rewrite import Rewriter
from edgert.graph.ir import Array, Graph, Node


def normalize_gemm(graph: Graph) -> Graph:
    """Rewrites MatMul (+ Add of a bias) and every Gemm with constant weights; alpha and beta go in."""
    rw = Rewriter(graph)
    for node in list(rw.graph.nodes):
        if node.op not in ("MatMul", "Gemm") or rw.maker(node.outputs[0]) is not node:
            continue
        weight = rw.constant(node.inputs[1])
        if weight is None or weight.ndim != 2 or rw.rank(node.inputs[0]) != 2 or not rw.is_float(node.inputs[0]):
            continue
        if not np.issubdtype(weight.dtype, np.floating):
            continue
        if node.op == "MatMul":
            from_matmul(rw, node, weight)
        elif not node.attr_int("transA", 0):
            from_gemm(rw, node, weight)
    return rw.finish()


def bias_of(rw: Rewriter, name: str, count: int) -> Array | None:
    """A constant that adds one value per column, as [count]."""
    value = rw.constant(name)
    if value is None or value.ndim > 2 or (value.ndim == 2 and value.shape[0] != 1):
        return None
    if value.size not in (1, count):
        return None
    return np.broadcast_to(value.reshape(-1), (count,))


def from_matmul(rw: Rewriter, node: Node, weight: Array) -> None:
    stem = node.name or node.outputs[0]
    inputs = [node.inputs[0], rw.add_constant(f"{node.inputs[1]}_transposed", weight.T)]
    old, outputs = [node], node.outputs
    reader = rw.sole_reader(node.outputs[0])
    if reader is not None and reader.op == "Add" and not reader.attr_str("activation", ""):
        other = next((name for name in reader.inputs if name != node.outputs[0]), "")
        bias = bias_of(rw, other, weight.shape[1])
        if bias is not None:
            inputs.append(rw.add_constant(f"{stem}_bias", bias))
            old, outputs = [node, reader], reader.outputs
    rw.replace(old, [Node("Gemm", tuple(inputs), outputs, {"transB": 1}, stem)])


def from_gemm(rw: Rewriter, node: Node, weight: Array) -> None:
    alpha, beta = node.attr_float("alpha", 1.0), node.attr_float("beta", 1.0)
    transposed = node.attr_int("transB", 0)
    count = weight.shape[0 if transposed else 1]
    has_bias = len(node.inputs) > 2 and node.inputs[2] != ""
    bias = bias_of(rw, node.inputs[2], count) if has_bias else None
    if has_bias and bias is None:
        return
    plain = alpha == 1.0 and (beta == 1.0 or not has_bias)
    if transposed and plain and (bias is None or rw.graph.constants[node.inputs[2]].shape == (count,)):
        return
    stem = node.name or node.outputs[0]
    wide = (weight if transposed else weight.T) * weight.dtype.type(alpha)
    inputs = [node.inputs[0], rw.add_constant(f"{node.inputs[1]}_rows", wide)]
    if bias is not None:
        inputs.append(rw.add_constant(f"{stem}_bias", bias * bias.dtype.type(beta)))
    attrs = {key: value for key, value in node.attrs.items() if key not in ("alpha", "beta", "transA")}
    rw.replace([node], [Node("Gemm", tuple(inputs), node.outputs, {**attrs, "transB": 1}, node.name)])
