"""Means over all spatial axes become GlobalAveragePool: ReduceMean, and AveragePool as large as its input.
Other reductions stay as they are."""

from __future__ import annotations

import numpy as np

from edgert.converters.passes.rewrite import Rewriter
from edgert.graph.ir import Graph, Node, TensorType


def recognise_pooling(graph: Graph) -> Graph:
    """Replaces spatial means of [B, C, *S]; a mean that drops its axes is followed by a Squeeze."""
    rw = Rewriter(graph)
    for node in list(rw.graph.nodes):
        kind = rw.type_of(node.inputs[0]) if node.inputs else None
        if kind is None or len(kind.shape) < 3 or kind.dtype != "float32":
            continue
        if node.op == "AveragePool" and covers_input(node, kind):
            rw.replace([node], [Node("GlobalAveragePool", node.inputs, node.outputs, {}, node.name)])
        elif node.op == "ReduceMean" and reduces_space(rw, node, kind):
            replace_mean(rw, node, kind)
    return rw.finish()


def covers_input(node: Node, kind: TensorType) -> bool:
    """One window over everything, without padding."""
    spatial = list(kind.shape[2:])
    pads = node.attr_ints("pads", [0])
    return (
        node.attr_ints("kernel_shape", []) == spatial
        and not any(pads)
        and set(node.attr_ints("dilations", [1])) == {1}
        and node.attr_str("auto_pad", "NOTSET") in ("NOTSET", "VALID")
    )


def reduces_space(rw: Rewriter, node: Node, kind: TensorType) -> bool:
    axes = rw.constant(node.inputs[1]) if len(node.inputs) > 1 else None
    if axes is None:
        return False
    rank = len(kind.shape)
    return sorted(int(axis) % rank for axis in axes.reshape(-1)) == list(range(2, rank))


def replace_mean(rw: Rewriter, node: Node, kind: TensorType) -> None:
    out, axes = node.outputs[0], list(range(2, len(kind.shape)))
    if node.attr_int("keepdims", 1):
        rw.replace([node], [Node("GlobalAveragePool", node.inputs[:1], (out,), {}, node.name)])
        return
    pooled = rw.add_tensor(f"{out}_pooled", kind.with_shape((*kind.shape[:2], *(1,) * len(axes))))
    squeezed = rw.add_constant(f"{out}_axes", np.array(axes, np.int64))
    pool = Node("GlobalAveragePool", node.inputs[:1], (pooled,), {}, node.name)
    rw.replace([node], [pool, Node("Squeeze", (pooled, squeezed), (out,), {}, f"{node.name or out}_squeeze")])
