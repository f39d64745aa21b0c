"""Layer normalization that exporters wrote out (before ONNX had the operator) becomes LayerNormalization.
Source: Ba, Kiros and Hinton 2016; ONNX LayerNormalization-17 is defined by these very nodes."""

from __future__ import annotations

import numpy as np

from edgert.converters.passes.recognise_activations import near
from edgert.converters.passes.rewrite import Rewriter
from edgert.graph.ir import Attr, Graph, Node


def recognise_layer_norm(graph: Graph) -> Graph:
    """Replaces (x - mean) / sqrt(variance + epsilon) * scale + bias over the last axis; the bias may be missing."""
    rw = Rewriter(graph)
    for node in list(rw.graph.nodes):
        if node.op == "Div" and rw.maker(node.outputs[0]) is node:
            normalization(rw, node)
    return rw.finish()


def normalization(rw: Rewriter, divide: Node) -> None:
    """Replaces `divide` and what follows it, if it is the division of a layer normalization."""
    centred, root = rw.maker(divide.inputs[0]), rw.maker(divide.inputs[1])
    if centred is None or centred.op != "Sub" or root is None or root.op != "Sqrt":
        return
    x, tensor = centred.inputs[0], centred.outputs[0]
    shifted = rw.maker(root.inputs[0])
    if shifted is None or shifted.op != "Add" or not is_mean(rw, centred.inputs[1], x):
        return
    for variance, offset in (shifted.inputs, shifted.inputs[::-1]):
        epsilon, maker = rw.scalar(offset), rw.maker(variance)
        if epsilon is None or maker is None or not is_mean(rw, variance, maker.inputs[0]):
            continue
        if is_square(rw, maker.inputs[0], tensor):
            scaled(rw, divide, x, epsilon)
            return


def is_mean(rw: Rewriter, tensor: str, of: str) -> bool:
    """Whether `tensor` is the mean of `of` over its last axis, which stays as one."""
    node, rank = rw.maker(tensor), rw.rank(of)
    if node is None or node.op != "ReduceMean" or node.inputs[0] != of or not node.attr_int("keepdims", 1):
        return False
    axes = rw.constant(node.inputs[1]) if len(node.inputs) > 1 and node.inputs[1] else None
    return axes is not None and rank is not None and axes.reshape(-1).tolist() in ([-1], [rank - 1])


def is_square(rw: Rewriter, tensor: str, of: str) -> bool:
    node = rw.maker(tensor)
    if node is None:
        return False
    if node.op == "Pow":
        return node.inputs[0] == of and near(rw.scalar(node.inputs[1]), 2.0)
    return node.op == "Mul" and set(node.inputs) == {of}


def scaled(rw: Rewriter, divide: Node, x: str, epsilon: float) -> None:
    """Replaces the division, the Mul by a scale [C] that must follow, and the Add of a bias [C] that may."""
    kind = rw.type_of(x)
    multiply = rw.sole_reader(divide.outputs[0])
    scale = vector_operand(rw, multiply, "Mul", divide.outputs[0])
    if kind is None or multiply is None or scale is None or rw.graph.constants[scale].shape != kind.shape[-1:]:
        return
    add = rw.sole_reader(multiply.outputs[0])
    bias = vector_operand(rw, add, "Add", multiply.outputs[0])
    old, inputs = [divide, multiply], [x, scale]
    if add is not None and bias is not None and rw.graph.constants[bias].shape == kind.shape[-1:]:
        old.append(add)
        inputs.append(bias)
    attrs: dict[str, Attr] = {"axis": -1, "epsilon": epsilon}
    rw.replace(old, [Node("LayerNormalization", tuple(inputs), old[-1].outputs, attrs, old[-1].name)])


def vector_operand(rw: Rewriter, node: Node | None, op: str, other: str) -> str | None:
    """The constant float vector that `node`, an `op`, combines with `other`."""
    if node is None or node.op != op or node.attr_str("activation", ""):
        return None
    name = next((name for name in node.inputs if name != other), "")
    value = rw.constant(name)
    return name if value is not None and value.ndim == 1 and value.dtype == np.float32 else None
