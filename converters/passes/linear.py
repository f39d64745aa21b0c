"""Scaling the output channels of operators with weights: Conv, ConvTranspose and Gemm.
Shared by the passes that fold something linear into a producer; not a pass itself."""

from __future__ import annotations

import numpy as np

from edgert.converters.passes.rewrite import Rewriter
from edgert.graph.ir import Array, Node

LINEAR = ("Conv", "ConvTranspose", "Gemm")


def linear_producer(rw: Rewriter, tensor: str) -> Node | None:
    """The Conv, ConvTranspose or Gemm that makes `tensor` for one reader only, with constant float weights
    and bias and nothing fused into it; else None."""
    node = rw.maker(tensor)
    if node is None or node.op not in LINEAR or rw.sole_reader(tensor) is None:
        return None
    if node.attr_str("activation", "") or node.attr_int("residual", 0):
        return None
    weight = rw.constant(node.inputs[1])
    if weight is None or not np.issubdtype(weight.dtype, np.floating):
        return None
    bias = node.inputs[2] if len(node.inputs) > 2 else ""
    if bias:
        value = rw.constant(bias)
        if value is None or value.size not in (1, channels(node, weight)):
            return None
    return node


def channels(node: Node, weight: Array) -> int:
    """The number of output channels of `node`."""
    if node.op == "Conv":
        return int(weight.shape[0])
    if node.op == "ConvTranspose":
        return int(weight.shape[1]) * node.attr_int("group", 1)
    return int(weight.shape[0 if node.attr_int("transB", 0) else 1])


def rescaled(rw: Rewriter, node: Node, gain: Array, shift: Array, outputs: tuple[str, ...]) -> Node:
    """A new node computing gain * node(x) + shift into `outputs`; gain, shift: float64 [channels].

    Weights are scaled in float64 and rounded once. `node` must come from `linear_producer`.
    """
    weight = rw.graph.constants[node.inputs[1]]
    dtype = weight.dtype
    count = channels(node, weight)
    wide = weight.astype(np.float64)
    attrs = {key: value for key, value in node.attrs.items() if key not in ("alpha", "beta")}
    if node.op == "Conv":
        wide = wide * gain.reshape(-1, *(1,) * (wide.ndim - 1))
    elif node.op == "ConvTranspose":
        groups = node.attr_int("group", 1)
        tail = (1,) * (wide.ndim - 2)
        split = wide.reshape(groups, -1, *wide.shape[1:])
        wide = (split * gain.reshape(groups, 1, -1, *tail)).reshape(wide.shape)
    else:
        wide = wide * node.attr_float("alpha", 1.0)
        wide = wide * (gain[:, None] if node.attr_int("transB", 0) else gain[None, :])
    bias = np.zeros(count)
    if len(node.inputs) > 2 and node.inputs[2]:
        bias = np.broadcast_to(rw.graph.constants[node.inputs[2]].astype(np.float64).reshape(-1), (count,))
        if node.op == "Gemm":
            bias = bias * node.attr_float("beta", 1.0)
    stem = node.name or outputs[0]
    inputs = [node.inputs[0], rw.add_constant(f"{stem}_weight", wide.astype(dtype))]
    total = (bias * gain + shift).astype(dtype)
    if total.any():
        inputs.append(rw.add_constant(f"{stem}_bias", total))
    return Node(node.op, tuple(inputs), outputs, attrs, node.name)
