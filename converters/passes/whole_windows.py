"""Convolutions whose window is the whole image are products of one row: Flatten, Gemm, Reshape.
A kernel with pixels as vectors would fill one lane of them."""

from __future__ import annotations

import numpy as np

from edgert.converters.passes.rewrite import Rewriter
from edgert.graph.ir import Attr, Graph, Node, TensorType
from edgert.kernels_cpu.reference.window import window

FEW = 64
"""Weights below which a layer costs less than the two nodes beside its Gemm would."""


def whole_windows(graph: Graph) -> Graph:
    """Rewrites each float32 Conv of one group, without residual, whose kernel covers its unpadded input of more than
    one pixel. Runs when the weights are settled: pruning and calibration know it as a convolution."""
    rw = Rewriter(graph)
    for node in list(rw.graph.nodes):
        if node.op != "Conv" or not covers(rw, node):
            continue
        weight, kind = rw.graph.constants[node.inputs[1]], rw.type_of(node.inputs[0])
        assert kind is not None
        filters, depth, stem = weight.shape[0], weight[0].size, node.name or node.outputs[0]
        flat = rw.add_tensor(f"{stem}_flat", TensorType(kind.dtype, (kind.shape[0], depth)))
        made = rw.add_tensor(f"{stem}_row", TensorType(kind.dtype, (kind.shape[0], filters)))
        rows = rw.add_constant(f"{node.inputs[1]}_rows", weight.reshape(filters, depth))
        shape = rw.add_constant(f"{stem}_shape", np.array([-1, filters, 1, 1], np.int64))
        attrs: dict[str, Attr] = {"transB": 1}
        attrs |= {key: node.attrs[key] for key in ("activation", "clip_min", "clip_max") if key in node.attrs}
        new = [
            Node("Flatten", (node.inputs[0],), (flat,), {"axis": 1}, f"{stem}_flatten"),
            Node("Gemm", (flat, rows, *node.inputs[2:]), (made,), attrs, node.name),
            Node("Reshape", (made, shape), node.outputs, {}, f"{stem}_reshape"),
        ]
        rw.replace([node], new)
    return rw.finish()


def covers(rw: Rewriter, node: Node) -> bool:
    """Whether `node` is such a convolution."""
    kind, weight = rw.type_of(node.inputs[0]), rw.constant(node.inputs[1])
    if kind is None or kind.dtype != "float32" or weight is None or weight.ndim != 4 or weight.size < FEW:
        return False
    if node.attr_int("group", 1) != 1 or node.attr_int("residual", 0):
        return False
    if kind.shape[1:] != weight.shape[1:] or weight[0, 0].size == 1:
        return False
    win = window(weight.shape[2:], weight.shape[2:], node.attrs)
    return not any((*win.before, *win.after)) and win.extent == win.kernel
