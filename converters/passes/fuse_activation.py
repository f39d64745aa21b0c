"""Relu and Clip become the `activation` of the operator that makes their input.
Other activations stay operators of their own."""

from __future__ import annotations

import numpy as np

from edgert.converters.passes.rewrite import Rewriter
from edgert.graph.ir import Attr, Graph, Node

FUSABLE = (
    "Conv", "ConvTranspose", "Gemm", "Add",
    "QLinearConv", "QLinearGemm", "QLinearAdd",
)  # fmt: skip
LIMIT = float(np.finfo(np.float32).max)
"""A bound that bounds nothing: files hold finite numbers only."""


def clip_bounds(rw: Rewriter, node: Node) -> tuple[float, float] | None:
    """(low, high) of a Relu or of a Clip with constant bounds, else None."""
    if node.op == "Relu":
        return 0.0, LIMIT
    if node.op != "Clip":
        return None
    bounds = [-LIMIT, LIMIT]
    for i, name in enumerate(node.inputs[1:3]):
        if name:
            value = rw.scalar(name)
            if value is None:
                return None
            bounds[i] = min(max(value, -LIMIT), LIMIT)
    return bounds[0], bounds[1]


def activation_attrs(low: float, high: float) -> dict[str, Attr]:
    """The attributes of a fused activation that keeps values within [low, high]."""
    if low == 0.0 and high >= LIMIT:
        return {"activation": "Relu"}
    return {"activation": "Clip", "clip_min": low, "clip_max": high}


def fuse_activation(graph: Graph) -> Graph:
    """Fuses each Relu or constant Clip into the operator before it, if nothing else reads that."""
    rw = Rewriter(graph)
    for node in list(rw.graph.nodes):
        bounds = clip_bounds(rw, node)
        producer = rw.maker(node.inputs[0]) if bounds is not None else None
        if bounds is None or producer is None or producer.op not in FUSABLE:
            continue
        if producer.attr_str("activation", "") or rw.sole_reader(node.inputs[0]) is not node:
            continue
        if not rw.is_float(node.outputs[0]):
            continue
        attrs = {**producer.attrs, **activation_attrs(*bounds)}
        fused = Node(producer.op, producer.inputs, node.outputs, attrs, producer.name)
        rw.replace([producer, node], [fused])
    return rw.finish()
