"""Cross-layer equalization: scales move between consecutive layers until their weights have equal ranges.
Nagel et al. 2019, Data-Free Quantization Through Weight Equalization and Bias Correction, section 4.1.

Scaling a channel down in one layer and up in the next leaves the network as it was where what lies between
commutes with a positive factor: nothing, Relu, or pooling. A Clip(0, 6) does not: its bound would have to
differ per channel. It is left alone rather than replaced by Relu, which changes the network; the next layer
then keeps its scales.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from edgert.converters.passes.linear import channels
from edgert.converters.passes.rewrite import Rewriter
from edgert.graph.ir import Array, Graph, Node

SWEEPS = 20
TOLERANCE = 0.01
"""Sweeps end when no factor differs from 1 by more than this."""

LARGEST_FACTOR = 1e3
"""A channel that is all but dead on one side is not blown up on the other."""

COMMUTE = {"MaxPool", "AveragePool", "GlobalAveragePool"}
"""Operators per channel that commute with positive factors."""


def equalize(graph: Graph) -> Graph:
    """The same function with equalized weights; biases of the first layer follow its weights."""
    rw = Rewriter(graph)
    pairs = equalizable_pairs(rw)
    own_weights(rw, pairs)
    for _ in range(SWEEPS if pairs else 0):
        changes = [equalize_pair(rw, *pair) for pair in pairs]
        if max(changes) < TOLERANCE:
            break
    return rw.finish()


def equalizable_pairs(rw: Rewriter) -> list[tuple[Node, Node]]:
    """(first, second) Conv nodes with nothing between but what commutes with factors per channel."""
    pairs = []
    for first in rw.graph.nodes:
        scalable = first.op == "Conv" and first.attr_str("activation", "") in ("", "Relu")
        if not scalable or first.attr_int("residual", 0) or not constant_weights(rw, first):
            continue
        tensor = first.outputs[0]
        reader = rw.sole_reader(tensor)
        while reader is not None and reader.op in COMMUTE and not any(reader.outputs[1:]):
            tensor = reader.outputs[0]
            reader = rw.sole_reader(tensor)
        feeds_conv = reader is not None and reader.op == "Conv" and reader.inputs[0] == tensor
        if reader is not None and feeds_conv and constant_weights(rw, reader):
            pairs.append((first, reader))
    return pairs


def constant_weights(rw: Rewriter, node: Node) -> bool:
    weight = rw.constant(node.inputs[1])
    bias = node.inputs[2] if len(node.inputs) > 2 else ""
    return (
        weight is not None
        and weight.dtype == np.float32
        and (not bias or rw.constant(bias) is not None)
        and channels(node, weight) == weight.shape[0]
    )


def own_weights(rw: Rewriter, pairs: list[tuple[Node, Node]]) -> None:
    """Gives each node of `pairs` its own copy of its weights and bias, to be scaled in place."""
    for node in {id(node): node for pair in pairs for node in pair}.values():
        inputs = list(node.inputs)
        for i in (1, 2):
            if len(inputs) > i and inputs[i]:
                value = rw.graph.constants[inputs[i]]
                inputs[i] = rw.add_constant(f"{inputs[i]}_equalized", np.array(value))
        rw.set_inputs(node, inputs)


def input_view(node: Node, weight: Array) -> Array:
    """Weights [N, C / group, ...] as a view [group, N / group, C / group, taps], inputs on axes 0 and 2."""
    group = node.attr_int("group", 1)
    return weight.reshape(group, weight.shape[0] // group, weight.shape[1], -1)


def equalize_pair(rw: Rewriter, first: Node, second: Node) -> float:
    """Divides the outputs of `first` by s and multiplies the inputs of `second` by it, in place.

    s_i = sqrt(r1_i / r2_i) gives both layers the range sqrt(r1_i * r2_i) in channel i (equation 11).
    Returns the largest |s - 1|.
    """
    w1, w2 = rw.graph.constants[first.inputs[1]], rw.graph.constants[second.inputs[1]]
    view = input_view(second, w2)
    r1 = np.abs(w1).reshape(w1.shape[0], -1).max(1).astype(np.float64)
    r2 = np.abs(view).max(axis=(1, 3)).reshape(-1).astype(np.float64)
    alive = (r1 > 0) & (r2 > 0)
    s: npt.NDArray[np.float64] = np.ones(len(r1))
    s[alive] = np.clip(np.sqrt(r1[alive] / r2[alive]), 1 / LARGEST_FACTOR, LARGEST_FACTOR)
    w1 /= s.astype(np.float32).reshape(-1, *(1,) * (w1.ndim - 1))
    if len(first.inputs) > 2 and first.inputs[2]:
        rw.graph.constants[first.inputs[2]] /= s.astype(np.float32)
    view *= s.astype(np.float32).reshape(view.shape[0], 1, view.shape[2], 1)
    return float(np.abs(s - 1).max())
