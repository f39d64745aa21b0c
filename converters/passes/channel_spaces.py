"""Which channels of a network go together: tensors that share one numbering of their channels, and who uses it.
What is done with the numbering, another order or fewer channels, is in the passes beside this file.

A *space* is a numbering that several tensors share: the two sides of an addition, a depthwise convolution's
input and output, what a pooling reads and makes. Renumbering a space means taking other rows of the weights that
make it, other columns of the weights that read it, and other elements of every constant per channel between.
Whatever is not known to keep channels apart, and the inputs and outputs of a graph, *fixes* a space as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from math import prod
from typing import Literal, TypeAlias

import numpy as np

from edgert.converters.passes.absorb_qdq import UNARY
from edgert.converters.passes.rewrite import prune
from edgert.graph.ir import Array, Graph, Node

Layout: TypeAlias = tuple[int, ...]
"""The spaces along axis 1 of a tensor, one after another: several after a Concat."""

Role: TypeAlias = Literal["row", "column", "value"]
"""What an axis of a constant is to a space: weights that make it, weights that read it, or one value a channel."""


@dataclass(frozen=True)
class Use:
    """Axis `axis` of the constant in input `slot` of `node` counts the channels of `layout`."""

    node: Node
    slot: int
    axis: int
    layout: Layout
    role: Role


class ChannelSpaces:
    """The spaces of one graph. Fixed ones, and only those, have to stay as they are."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.sizes: list[int] = []
        self.layouts: dict[str, Layout] = {}
        self.uses: list[Use] = []
        self._parents: list[int] = []
        self._fixed: list[bool] = []
        for name in graph.inputs:
            self.new(name, fixed=True)
        for node in graph.nodes:
            HANDLERS.get(node.op, opaque)(self, node)
        self.fix(graph.outputs)

    # Questions

    def root(self, space: int) -> int:
        """The number by which a space goes after all unions."""
        while self._parents[space] != space:
            space = self._parents[space]
        return space

    def free(self) -> list[int]:
        """Roots of the spaces that may be renumbered."""
        return [i for i, parent in enumerate(self._parents) if parent == i and not self._fixed[i]]

    def roots(self, layout: Layout) -> Layout:
        return tuple(self.root(space) for space in layout)

    def size(self, layout: Layout) -> int:
        return sum(self.sizes[space] for space in layout)

    def users(self, space: int) -> list[Use]:
        """The uses of root `space`."""
        return [use for use in self.uses if space in self.roots(use.layout)]

    def offsets(self, layout: Layout, space: int) -> list[int]:
        """Where in `layout` root `space` begins."""
        sizes = [self.sizes[part] for part in layout]
        return [sum(sizes[:i]) for i, part in enumerate(layout) if self.root(part) == space]

    def weight(self, use: Use) -> Array:
        """The constant that `use` is about."""
        return self.graph.constants[use.node.inputs[use.slot]]

    def rank(self, tensor: str) -> int:
        return len(self.graph.types[tensor].shape)

    def channels(self, tensor: str) -> int | None:
        """The size of axis 1; None when it, or the type, is unknown."""
        kind = self.graph.types.get(tensor)
        if kind is None or len(kind.shape) < 2 or (kind.quant is not None and not kind.quant.per_tensor):
            return None
        size = kind.shape[1]
        return size if isinstance(size, int) else None

    # Building

    def new(self, tensor: str, fixed: bool = False) -> None:
        """Gives `tensor` a space of its own."""
        size = self.channels(tensor)
        if size is None or tensor in self.graph.constants:
            return
        self.layouts[tensor] = (len(self.sizes),)
        self._parents.append(len(self.sizes))
        self.sizes.append(size)
        self._fixed.append(fixed)

    def fix(self, tensors: Iterable[str]) -> None:
        for name in tensors:
            for space in self.layouts.get(name, ()):
                self._fixed[self.root(space)] = True

    def join(self, a: str, b: str) -> None:
        """Channel i of `a` is channel i of `b`, whatever the order."""
        left, right = self.layouts.get(a), self.layouts.get(b)
        if left is None or right is None or [self.sizes[i] for i in left] != [self.sizes[i] for i in right]:
            self.fix((a, b))
            return
        for x, y in zip(left, right, strict=True):
            first, second = self.root(x), self.root(y)
            self._parents[second] = first
            self._fixed[first] |= self._fixed[second]

    def use(self, node: Node, slot: int, axis: int, layout: Layout, role: Role) -> None:
        """Records a use where `node` has an input `slot`."""
        if len(node.inputs) > slot and node.inputs[slot]:
            self.uses.append(Use(node, slot, axis, layout, role))

    def follow(self, node: Node, tensor: str) -> None:
        """The output of `node` has the channels of `tensor`, if it has as many."""
        out = node.outputs[0]
        layout = self.layouts.get(tensor)
        if layout is None or self.channels(out) != self.size(layout) or any(node.outputs[1:]):
            opaque(self, node)
        else:
            self.layouts[out] = layout


def opaque(spaces: ChannelSpaces, node: Node) -> None:
    """An operator of which nothing is known."""
    spaces.fix(node.inputs)
    for name in node.outputs:
        if name:
            spaces.new(name, fixed=True)


def convolution(spaces: ChannelSpaces, node: Node) -> None:
    """Conv, QLinearConv: rows make the output, columns read the input; depthwise, one row per channel."""
    x, out = node.inputs[0], node.outputs[0]
    weight = spaces.graph.constants.get(node.inputs[1])
    layout = spaces.layouts.get(x)
    bias = node.inputs[2] if len(node.inputs) > 2 + node.attr_int("residual", 0) else ""
    if weight is None or layout is None or (bias and bias not in spaces.graph.constants):
        opaque(spaces, node)
        return
    group = node.attr_int("group", 1)
    if group == 1:
        spaces.new(out)
        spaces.use(node, 1, 1, layout, "column")
    elif group == spaces.size(layout) == weight.shape[0] and weight.shape[1] == 1:
        spaces.follow(node, x)
    else:
        opaque(spaces, node)
        return
    made = spaces.layouts.get(out, ())
    spaces.use(node, 1, 0, made, "row" if group == 1 else "value")
    if bias:
        spaces.use(node, 2, 0, made, "value")
    if node.attr_int("residual", 0):
        spaces.join(out, node.inputs[-1])


def transposed_convolution(spaces: ChannelSpaces, node: Node) -> None:
    """ConvTranspose without groups: weights [C, N, *K]."""
    layout = spaces.layouts.get(node.inputs[0])
    known = all(name in spaces.graph.constants for name in node.inputs[1:] if name)
    if layout is None or not known or node.attr_int("group", 1) != 1:
        opaque(spaces, node)
        return
    spaces.new(node.outputs[0])
    made = spaces.layouts.get(node.outputs[0], ())
    spaces.use(node, 1, 0, layout, "column")
    spaces.use(node, 1, 1, made, "row")
    spaces.use(node, 2, 0, made, "value")


def matrix(spaces: ChannelSpaces, node: Node) -> None:
    """Gemm and QLinearGemm with weights [N, K], MatMul and QLinearMatMul with weights [K, N], of x [B, K]."""
    x, out = node.inputs[0], node.outputs[0]
    weight, layout = spaces.graph.constants.get(node.inputs[1]), spaces.layouts.get(x)
    plain = spaces.rank(x) == 2 if x in spaces.graph.types else False
    turned = node.op in ("Gemm", "QLinearGemm") and bool(node.attr_int("transB", int(node.op == "QLinearGemm")))
    if weight is None or weight.ndim != 2 or layout is None or not plain or node.attr_int("transA", 0):
        opaque(spaces, node)
        return
    spaces.new(out)
    made = spaces.layouts.get(out, ())
    spaces.use(node, 1, 1 if turned else 0, layout, "column")
    spaces.use(node, 1, 0 if turned else 1, made, "row")
    if len(node.inputs) > 2 and node.inputs[2]:
        bias = spaces.graph.constants.get(node.inputs[2])
        if bias is None:
            spaces.fix((out, node.inputs[2]))
        elif bias.size > 1 or bias.size == spaces.size(made):
            spaces.use(node, 2, bias.ndim - 1, made, "value")


def alike(spaces: ChannelSpaces, node: Node) -> None:
    """One output value per channel of the first input, whichever channel it is."""
    spaces.follow(node, node.inputs[0])


def pad(spaces: ChannelSpaces, node: Node) -> None:
    """Pad of spatial axes only."""
    amounts = spaces.graph.constants.get(node.inputs[1])
    axes = node.inputs[3] if len(node.inputs) > 3 else ""
    if amounts is None or axes or amounts.reshape(2, -1)[:, :2].any():
        opaque(spaces, node)
    else:
        spaces.follow(node, node.inputs[0])


def flat(spaces: ChannelSpaces, node: Node) -> None:
    """Flatten, Reshape, Squeeze that only drop spatial axes of size 1."""
    x, out = node.inputs[0], node.outputs[0]
    kind, made = spaces.graph.types.get(x), spaces.graph.types.get(out)
    if kind is None or made is None or len(made.shape) != 2 or made.shape[:1] != kind.shape[:1]:
        opaque(spaces, node)
        return
    if node.op == "Reshape":
        shape = spaces.graph.constants.get(node.inputs[1])
        if shape is None or int(shape.reshape(-1)[1]) not in (-1, 0, kind.shape[1]):
            opaque(spaces, node)
            return
    if not all(isinstance(d, int) for d in kind.shape[2:]) or prod(int(d) for d in kind.shape[2:]) != 1:
        opaque(spaces, node)
        return
    spaces.follow(node, x)


def binary(spaces: ChannelSpaces, node: Node) -> None:
    """Elementwise operators of two or more operands, tensors of equal rank or constants per channel."""
    out = node.outputs[0]
    count = spaces.channels(out)
    tensors = [name for name in node.inputs if name and name not in spaces.graph.constants]
    if count is None or any(spaces.channels(name) != count for name in tensors) or not tensors:
        opaque(spaces, node)
        return
    if any(spaces.rank(name) != spaces.rank(out) for name in tensors):
        opaque(spaces, node)
        return
    spaces.follow(node, tensors[0])
    for name in tensors[1:]:
        spaces.join(tensors[0], name)
    layout = spaces.layouts.get(out, ())
    for slot, name in enumerate(node.inputs):
        value = spaces.graph.constants.get(name)
        axis = 1 - spaces.rank(out) + value.ndim if value is not None else -1
        if value is not None and axis >= 0 and value.shape[axis] > 1:
            spaces.use(node, slot, axis, layout, "value")


def concat(spaces: ChannelSpaces, node: Node) -> None:
    """Concat of channels: the output has the spaces of all its inputs."""
    parts = [spaces.layouts.get(name) for name in node.inputs]
    rank = spaces.rank(node.outputs[0]) if node.outputs[0] in spaces.graph.types else 0
    if any(part is None for part in parts) or node.attr_int("axis", 1) not in (1, 1 - rank):
        opaque(spaces, node)
        return
    spaces.layouts[node.outputs[0]] = tuple(space for part in parts if part is not None for space in part)


def batch_norm(spaces: ChannelSpaces, node: Node) -> None:
    spaces.follow(node, node.inputs[0])
    for slot in range(1, 5):
        if node.inputs[slot] not in spaces.graph.constants:
            spaces.fix(node.outputs)
            return
        spaces.use(node, slot, 0, spaces.layouts.get(node.outputs[0], ()), "value")


Handler: TypeAlias = Callable[[ChannelSpaces, Node], None]

HANDLERS: dict[str, Handler] = {
    **dict.fromkeys((*UNARY, "Clip", "Identity", "Dropout", "Cast", "QLinearUnary"), alike),
    **dict.fromkeys(("QuantizeLinear", "DequantizeLinear", "Resize"), alike),
    **dict.fromkeys(("MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool"), alike),
    **dict.fromkeys(("QLinearAveragePool", "QLinearGlobalAveragePool"), alike),
    **dict.fromkeys(("Conv", "QLinearConv"), convolution),
    "ConvTranspose": transposed_convolution,
    **dict.fromkeys(("Gemm", "QLinearGemm", "MatMul", "QLinearMatMul"), matrix),
    **dict.fromkeys(("Add", "Sub", "Mul", "Div", "Min", "Max", "Sum", "PRelu", "QLinearAdd", "QLinearMul"), binary),
    **dict.fromkeys(("Concat", "QLinearConcat"), concat),
    **dict.fromkeys(("Flatten", "Reshape", "Squeeze"), flat),
    "Pad": pad,
    "BatchNormalization": batch_norm,
}
"""How each operator treats the channels of what it reads; `opaque` for all others."""


def renumber(spaces: ChannelSpaces, taken: Mapping[int, Array]) -> Graph:
    """The graph whose free space `root` has the channels `taken[root]` of the old one, in that order.

    taken: root -> int [new size]. A permutation leaves the network as it is; leaving channels out does where they
    add nothing to what reads them, for which the caller answers.
    """
    graph = spaces.graph.copy()
    twins = {id(old): new for old, new in zip(spaces.graph.nodes, graph.nodes, strict=True)}

    def index(layout: Layout) -> Array:
        parts, start = [], 0
        for space in layout:
            size = spaces.sizes[space]
            parts.append(np.asarray(taken.get(spaces.root(space), np.arange(size))) + start)
            start += size
        return np.concatenate(parts)

    touched = set(taken)
    edits: dict[tuple[int, int], list[Use]] = {}
    for use in spaces.uses:
        if touched & set(spaces.roots(use.layout)):
            edits.setdefault((id(use.node), use.slot), []).append(use)
    for (number, slot), uses in edits.items():
        node = twins[number]
        name = node.inputs[slot]
        value, quant = graph.constants[name], graph.types[name].quant
        for use in uses:
            order = index(use.layout)
            value = np.take(value, order, use.axis)
            if quant is not None and not quant.per_tensor and (quant.axis or 0) % value.ndim == use.axis:
                quant = replace(quant, scale=quant.scale[order], zero_point=quant.zero_point[order])
            if node.op.endswith("Conv") and use.role == "value" and slot == 1:
                node.attrs["group"] = len(order)
        renewed = graph.add_constant(name, np.ascontiguousarray(value), quant)
        node.inputs = tuple(renewed if i == slot else other for i, other in enumerate(node.inputs))
    for tensor, layout in spaces.layouts.items():
        if touched & set(spaces.roots(layout)) and tensor in graph.types:
            kind = graph.types[tensor]
            graph.types[tensor] = kind.with_shape((kind.shape[0], len(index(layout)), *kind.shape[2:]))
    for node in graph.nodes:
        if node.op == "Reshape" and touched & set(spaces.roots(spaces.layouts.get(node.outputs[0], ()))):
            # `flat` took it for one that keeps images and channels; it may have named their number.
            node.inputs = (node.inputs[0], graph.add_constant(f"{node.inputs[1]}_flat", np.array([0, -1], np.int64)))
            node.attrs.pop("allowzero", None)
    return prune(graph)
