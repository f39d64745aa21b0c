"""GroupNormalization becomes InstanceNormalization of its groups, seen as channels, and Mul and Add per channel.
LayerNormalization that exporters wrote out is recognised in `recognise_layer_norm.py`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgert.converters.passes.rewrite import Rewriter
from edgert.graph.ir import Attr, Dim, Graph, Node, TensorType


def lower_group_norm(graph: Graph) -> Graph:
    """Rewrites each GroupNormalization with constant parameters and at most one named size besides the batch.

    Source: Wu and He 2018, section 3; ONNX GroupNormalization-21, its function body.
    """
    rw = Rewriter(graph)
    for node in list(rw.graph.nodes):
        if node.op == "GroupNormalization":
            nodes = _lowered(rw, node)
            if nodes:
                rw.replace([node], nodes)
    return rw.finish()


def _lowered(rw: Rewriter, node: Node) -> list[Node] | None:
    x, scale, bias = rw.type_of(node.inputs[0]), rw.constant(node.inputs[1]), rw.constant(node.inputs[2])
    if x is None or scale is None or bias is None or len(x.shape) < 3 or x.dtype != "float32":
        return None
    channels, groups, spatial = len(scale), node.attr_int("num_groups", 1), x.shape[2:]
    if sum(isinstance(d, str) for d in spatial) > 1:
        return None
    stem, nodes = node.name or node.outputs[0], list[Node]()
    pixels: Dim = int(np.prod([int(d) for d in spatial])) if all(isinstance(d, int) for d in spatial) else "pixels"
    inner: Dim = pixels * (channels // groups) if isinstance(pixels, int) else f"{stem}_group"

    def step(op: str, inputs: Sequence[str], shape: tuple[Dim, ...], attrs: dict[str, Attr] | None = None) -> str:
        output = rw.add_tensor(f"{node.outputs[0]}/{op.lower()}", TensorType(x.dtype, shape))
        nodes.append(Node(op, tuple(inputs), (output,), attrs or {}, f"{stem}/{op}{len(nodes) or ''}"))
        return output

    grouped = rw.add_constant(f"{stem}_groups", np.array([0, groups, -1]))
    whole = rw.add_constant(
        f"{stem}_shape", np.array([0, channels, *(-1 if isinstance(d, str) else d for d in spatial)])
    )
    ones = rw.add_constant(f"{stem}_ones", np.ones(groups, np.float32))
    zeros = rw.add_constant(f"{stem}_zeros", np.zeros(groups, np.float32))
    apart = step("Reshape", [node.inputs[0], grouped], (x.shape[0], groups, inner))
    even = step("InstanceNormalization", [apart, ones, zeros], (x.shape[0], groups, inner),
                {"epsilon": node.attr_float("epsilon", 1e-5)})  # fmt: skip
    y = step("Reshape", [even, whole], x.shape)
    per_channel = (-1, *(1,) * len(spatial))
    for op, value, neutral in (("Mul", scale, 1.0), ("Add", bias, 0.0)):
        if (value != neutral).any():
            y = step(op, [y, rw.add_constant(f"{stem}_{op.lower()}", value.reshape(per_channel))], x.shape)
    nodes[-1].outputs = node.outputs
    return nodes
