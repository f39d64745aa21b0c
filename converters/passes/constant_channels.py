"""Which channels of which tensors always have one value: filters of zeros, and what follows from them.
What is done about them is in `remove_dead_channels.py`. Values come from the reference operators, for one pixel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgert.converters.passes.channel_spaces import ChannelSpaces
from edgert.graph.evaluate import as_quant
from edgert.graph.ir import Array, Graph, Node
from edgert.kernels_cpu.reference import evaluate
from edgert.kernels_cpu.reference.quantization import ratio, store
from edgert.kernels_cpu.reference.registry import Call

POINTWISE = {
    "Relu", "Clip", "Identity", "Cast", "QuantizeLinear", "DequantizeLinear", "QLinearUnary", "MaxPool", "AveragePool",
    "GlobalAveragePool", "GlobalMaxPool", "QLinearAveragePool", "QLinearGlobalAveragePool",
}  # fmt: skip
"""One value in, one value out, whichever pixel it is."""
COMBINE = {"Add", "Sub", "Mul", "Div", "Min", "Max", "QLinearAdd", "QLinearMul"}
MOVE = {"Flatten", "Reshape", "Squeeze", "Dropout", "Resize"}


@dataclass(frozen=True)
class Constant:
    """Which channels of a tensor always have one value: `known` bool [C], and `value` [C] as the tensor stores it."""

    known: Array
    value: Array


def constant_channels(spaces: ChannelSpaces) -> dict[str, Constant]:
    """Tensor -> its constant channels, for those that have any."""
    values: dict[str, Constant] = {}
    for node in spaces.graph.nodes:
        out = node.outputs[0] if node.outputs else ""
        found = constant_output(spaces, node, values) if out in spaces.layouts else None
        if found is not None and found.known.any():
            values[out] = found
    return values


def constant_output(spaces: ChannelSpaces, node: Node, values: dict[str, Constant]) -> Constant | None:
    """The constant channels of the output of `node`; None where nothing is known."""
    ins = [values.get(name) for name in node.inputs]
    if node.op in ("Conv", "QLinearConv"):
        return of_convolution(spaces, node, ins)
    if node.op in ("Concat", "QLinearConcat"):
        parts = [nothing(spaces, name) if x is None else x for name, x in zip(node.inputs, ins, strict=True)]
        if node.op == "QLinearConcat":
            return None
        return Constant(np.concatenate([x.known for x in parts]), np.concatenate([x.value for x in parts]))
    first = ins[0] if ins else None
    if node.op in MOVE:
        exact = node.op != "Resize" or node.attr_str("mode", "nearest") == "nearest"
        return first if exact else None
    if node.op in POINTWISE:
        if first is None or node.attr_int("count_include_pad", 0):
            return None
        extra = [spaces.graph.constants.get(name) if name else None for name in node.inputs[1:]]
        rank = spaces.rank(node.inputs[0])
        attrs = unpadded(node, rank) | {"kernel_shape": [1] * (rank - 2)}
        return Constant(first.known, run(spaces.graph, node, [as_image(first.value, rank), *extra], attrs))
    return combined(spaces, node, values) if node.op in COMBINE else None


def combined(spaces: ChannelSpaces, node: Node, values: dict[str, Constant]) -> Constant | None:
    """Elementwise operators: constant where all operands are. Constant operands have one value, or one a channel."""
    rank = spaces.rank(node.outputs[0])
    images: list[Array | None] = []
    known = np.ones(spaces.size(spaces.layouts[node.outputs[0]]), bool)
    for name in node.inputs:
        value = spaces.graph.constants.get(name)
        if value is None:
            if name not in values:
                return None
            known &= values[name].known
            value = as_image(values[name].value, rank)
        elif value.size > 1 and value.shape[1 - rank :] != (len(known), *(1,) * (rank - 2)):
            return None
        images.append(value)
    return Constant(known, run(spaces.graph, node, images, node.attrs))


def nothing(spaces: ChannelSpaces, tensor: str) -> Constant:
    size, dtype = spaces.size(spaces.layouts[tensor]), spaces.graph.types[tensor].np_dtype
    return Constant(np.zeros(size, bool), np.zeros(size, dtype))


def as_image(value: Array, rank: int) -> Array:
    """Values [C] as a tensor [1, C, 1, ...]."""
    return value.reshape(1, -1, *(1,) * (rank - 2))


def unpadded(node: Node, rank: int) -> dict[str, Any]:
    """The attributes of `node` without its border."""
    return {**node.attrs, "pads": [0] * (2 * (rank - 2)), "auto_pad": "NOTSET"}


def of_convolution(spaces: ChannelSpaces, node: Node, ins: list[Constant | None]) -> Constant | None:
    """Filters that see only zeros and constants give a constant: their bias, and what the constants add to it."""
    graph = spaces.graph
    weight, group = graph.constants.get(node.inputs[1]), node.attr_int("group", 1)
    kind = graph.types[node.inputs[0]]
    if weight is None or node.inputs[0] not in spaces.layouts or weight.dtype not in (np.float32, np.int8):
        return None
    x = ins[0] or nothing(spaces, node.inputs[0])
    if group < 1 or group * weight.shape[1] != len(x.known) or len(weight) % group:
        return None  # types were not inferred, as a dimension is free: `infer` will refuse it once that is bound
    zero = zero_of(graph, node)
    steady = x.known & ((x.value == zero) | (not pads(graph, node)))
    heavy = weight.reshape(group, weight.shape[0] // group, weight.shape[1], -1).any(3)  # [group, N / group, C / group]
    known = ~(heavy & ~steady.reshape(group, 1, -1)).any(2).reshape(-1)
    known |= shut(graph, node, weight) | settled(graph, node, weight)
    residual = node.attr_int("residual", 0)
    if residual:
        known &= np.zeros(len(known), bool) if ins[-1] is None else ins[-1].known
    if not known.any():
        return None
    image = np.full(len(x.known), zero, kind.np_dtype)
    image[x.known] = x.value[x.known]
    rank = len(kind.shape)
    reach = [
        (k - 1) * d + 1
        for k, d in zip(weight.shape[2:], node.attr_ints("dilations", []) or [1] * (rank - 2), strict=True)
    ]
    window = np.broadcast_to(as_image(image, rank), (1, len(image), *reach))
    rest: list[Array | None] = [graph.constants.get(name) if name else None for name in node.inputs[2:]]
    if residual and ins[-1] is not None:
        rest[-1] = as_image(ins[-1].value, rank)
    value = run(graph, node, [window, weight, *rest], unpadded(node, rank))
    return Constant(known, value)


def shut(graph: Graph, node: Node, weight: Array) -> Array:
    """bool [N]: filters that a Relu or Clip from 0 always cuts off, as inputs are at least 0, no weight is above 0,
    and the bias is not either. Their value is that of any input, 0."""
    closed = node.attr_str("activation", "") == "Relu" or (
        node.attr_str("activation", "") == "Clip" and node.attr_float("clip_min", -np.inf) == 0.0
    )
    if node.op != "Conv" or not closed or node.attr_int("residual", 0) or not at_least_zero(graph, node.inputs[0]):
        return np.zeros(len(weight), bool)
    bias = graph.constants.get(node.inputs[2]) if len(node.inputs) > 2 and node.inputs[2] else np.zeros(len(weight))
    if bias is None:
        return np.zeros(len(weight), bool)
    return np.asarray((weight.reshape(len(weight), -1).max(1) <= 0) & (bias <= 0))


def settled(graph: Graph, node: Node, weight: Array) -> Array:
    """bool [N]: filters of a QLinearConv that give one stored value at the least and at the greatest sum there can be,
    so at every one. Padding is zero, which is among the inputs."""
    x, w, y = (graph.types[name] for name in (*node.inputs[:2], node.outputs[0]))
    none = np.zeros(len(weight), bool)
    if node.op != "QLinearConv" or node.attr_int("residual", 0) or x.dtype != "uint8" or weight.dtype != np.int8:
        return none
    bias = graph.constants.get(node.inputs[2]) if len(node.inputs) > 2 and node.inputs[2] else none.astype(np.int64)
    if bias is None or x.quant is None or w.quant is None or y.quant is None:
        return none
    zero, flat = int(x.quant.zero_point), weight.reshape(len(weight), -1).astype(np.int64)
    low, high = 0 if at_least_zero(graph, node.inputs[0]) else -zero, 255 - zero
    least = np.minimum(flat * low, flat * high).sum(1) + bias
    greatest = np.maximum(flat * low, flat * high).sum(1) + bias
    multiplier = ratio((x.quant.scale, w.quant.scale), y.quant.scale)
    call = Call(node.op, dict(node.attrs), (), (as_quant(y.quant),), (y.dtype,))
    ends = (store(call, total.astype(np.float32) * multiplier) for total in (least, greatest))
    return np.asarray(np.equal(*ends))


def at_least_zero(graph: Graph, tensor: str) -> bool:
    """Whether what makes `tensor` ends in a Relu or a Clip from 0 or above."""
    for node in graph.nodes:
        if tensor in node.outputs:
            kind = "Relu" if node.op == "Relu" else node.attr_str("activation", "")
            return kind == "Relu" or (kind == "Clip" and node.attr_float("clip_min", -np.inf) >= 0.0)
    return False


def run(graph: Graph, node: Node, values: Sequence[Array | None], attrs: dict[str, Any]) -> Array:
    """The output [C] of `node` for one pixel."""
    kind = graph.types[node.outputs[0]]
    quants = [as_quant(graph.types[name].quant) if name else None for name in node.inputs]
    made = evaluate(node.op, values, attrs, quants, [as_quant(kind.quant)], [kind.dtype])[0]
    return np.asarray(made).reshape(-1).astype(kind.np_dtype)


def pads(graph: Graph, node: Node) -> bool:
    """Whether a window of `node` may reach beyond its input."""
    if not node.op.endswith("Conv"):
        return False
    pointwise = all(k == 1 for k in graph.types[node.inputs[1]].shape[2:])
    padded = any(node.attr_ints("pads", []))
    return padded or (not pointwise and node.attr_str("auto_pad", "NOTSET") not in ("NOTSET", "VALID"))


def zero_of(graph: Graph, node: Node) -> int:
    """How the first input of `node` stores zero."""
    quant = graph.types[node.inputs[0]].quant
    return 0 if quant is None else int(quant.zero_point)
