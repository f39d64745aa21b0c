"""PRelu and LeakyRelu become the activation of the convolution that makes their input.
Runs when the weights are settled: nothing before, calibration least of all, needs to know of it."""

from __future__ import annotations

import numpy as np

from edgert.converters.passes.rewrite import Rewriter
from edgert.graph.ir import Array, Graph, Node


def fuse_prelu(graph: Graph) -> Graph:
    """Fuses each PRelu with one slope per channel, and each LeakyRelu, into the float32 Conv before it, if nothing else
    reads that. The slopes [channels] become the last input. Depthwise convolutions are left alone, as by
    `fuse_residual`."""
    rw = Rewriter(graph)
    for node in list(rw.graph.nodes):
        conv = rw.maker(node.inputs[0]) if node.op in ("PRelu", "LeakyRelu") else None
        if conv is None or not takes_slopes(rw, conv) or rw.sole_reader(node.inputs[0]) is not node:
            continue
        slopes = slopes_of(rw, node, rw.graph.constants[conv.inputs[1]].shape[0])
        if slopes is None:
            continue
        name = rw.add_constant(f"{node.outputs[0]}_slope", slopes)
        residual = conv.inputs[-1:] if conv.attr_int("residual", 0) else ()
        bias = conv.inputs[2] if len(conv.inputs) > 2 + len(residual) else ""
        inputs = (*conv.inputs[:2], bias, *residual, name)
        fused = Node("Conv", inputs, node.outputs, {**conv.attrs, "activation": "PRelu"}, conv.name)
        rw.replace([conv, node], [fused])
    return rw.finish()


def takes_slopes(rw: Rewriter, conv: Node) -> bool:
    """Whether `conv` is a float32 Conv over planes that has no activation yet and is not depthwise."""
    if conv.op != "Conv" or conv.attr_str("activation", ""):
        return False
    kind, weights = rw.type_of(conv.inputs[0]), rw.constant(conv.inputs[1])
    if kind is None or kind.dtype != "float32" or weights is None or weights.ndim not in (3, 4):
        return False
    group = conv.attr_int("group", 1)
    return group == 1 or (group != kind.shape[1] and weights.shape[0] // group % 4 == 0)


def slopes_of(rw: Rewriter, node: Node, channels: int) -> Array | None:
    """float32 [channels]; None where the slopes are not one for each channel, or one in all."""
    if node.op == "LeakyRelu":
        return np.full(channels, node.attr_float("alpha", 0.01), np.float32)
    value, rank = rw.constant(node.inputs[1]), rw.rank(node.inputs[0])
    if value is None or rank is None or value.ndim > rank or value.dtype != np.float32:
        return None
    shape = (1,) * (rank - value.ndim) + value.shape
    if value.size not in (1, channels) or value.size != shape[1]:
        return None
    return np.ascontiguousarray(np.broadcast_to(value.reshape(-1), (channels,)))
