"""The Add that closes a residual block becomes part of the convolution before it (`residual` = 1).
He et al. 2016: y = F(x) + x; the sum is taken while F(x) is still in registers."""

from __future__ import annotations

from edgert.converters.passes.rewrite import Rewriter
from edgert.graph.ir import Graph, Node


def fuse_residual(graph: Graph) -> Graph:
    """Fuses Add (and the activation already fused into it) into a Conv whose output only the Add reads.

    Where both inputs come from such convolutions, the later one takes the other's output. Depthwise
    convolutions are left alone: residual blocks end in a pointwise one.
    """
    rw = Rewriter(graph)
    order = {id(node): i for i, node in enumerate(rw.graph.nodes)}
    for node in list(rw.graph.nodes):
        if node.op != "Add" or not rw.same_shape(*node.inputs):
            continue
        candidates = [
            (conv, other)
            for x, other in (node.inputs, node.inputs[::-1])
            if (conv := residual_conv(rw, x, node)) is not None and rw.constant(other) is None
        ]
        if not candidates:
            continue
        conv, other = max(candidates, key=lambda pair: order.get(id(pair[0]), 0))
        bias = conv.inputs[2] if len(conv.inputs) > 2 else ""
        inputs = (*conv.inputs[:2], bias, other) if bias else (*conv.inputs[:2], "", other)
        fused = Node("Conv", inputs, node.outputs, {**conv.attrs, **node.attrs, "residual": 1}, conv.name)
        rw.replace([conv, node], [fused])
    return rw.finish()


def residual_conv(rw: Rewriter, tensor: str, reader: Node) -> Node | None:
    """The Conv that makes `tensor` for `reader` alone and can still take a residual, else None."""
    conv = rw.maker(tensor)
    if conv is None or conv.op != "Conv" or rw.sole_reader(tensor) is not reader:
        return None
    kind = rw.type_of(conv.inputs[0])
    depthwise = kind is not None and conv.attr_int("group", 1) == kind.shape[1] != 1
    if conv.attr_str("activation", "") or conv.attr_int("residual", 0) or depthwise:
        return None
    return conv
