"""Channels that say nothing go: what reads a constant gets it in its bias, what nobody reads is not computed.
Which channels go together is in `channel_spaces.py`, which are constant in `constant_channels.py`.

Exact in integers, exact up to the order of sums in float. A constant other than zero can not move into the bias of
a convolution that pads, since its border sees zeros instead: such channels stay.
"""

from __future__ import annotations

import numpy as np

from edgert.converters.passes.channel_spaces import ChannelSpaces, Use, renumber
from edgert.converters.passes.constant_channels import Constant, constant_channels, pads, zero_of
from edgert.graph.ir import Array, Graph, Node, Quantization

CELL = 4
"""Channels come in fours in the layouts of convolutions: fewer of them only pay by the cell."""

PATTERNED = 0.1
"""Share of zero cells from which weights count as pruned by cells, whose places must not shift."""


def remove_dead_channels(graph: Graph) -> Graph:
    """The network without channels that are constant or unread, until there are none."""
    while True:
        spaces = ChannelSpaces(graph)
        gone = dead_channels(spaces)
        if not gone:
            return graph
        graph = without(spaces, gone)


def count_channels(graph: Graph) -> int:
    """Output channels of all convolutions with constant weights."""
    names = (node.inputs[1] for node in graph.nodes if node.op in ("Conv", "QLinearConv"))
    return sum(len(graph.constants[name]) for name in names if name in graph.constants)


def dead_channels(spaces: ChannelSpaces) -> dict[int, Array]:
    """Root of a space -> the channels of it that can go, sorted. Of every space something stays."""
    found = {}
    values: dict[str, Constant] | None = None
    for space in spaces.free():
        size, columns = spaces.sizes[space], [use for use in spaces.users(space) if use.role == "column"]
        if size <= CELL or not columns or not all(foldable(spaces, use) for use in columns):
            continue
        values = constant_channels(spaces) if values is None else values
        dead: Array = np.ones(size, bool)
        for use in columns:
            idle = unread(spaces, use)
            constant = values.get(use.node.inputs[0])
            if constant is not None:
                harmless = (constant.value == zero_of(spaces.graph, use.node)) | (not pads(spaces.graph, use.node))
                idle |= constant.known & harmless
            for start in spaces.offsets(use.layout, space):
                dead &= idle[start : start + size]
        chosen = worthwhile(dead, any(patterned(spaces, use) for use in spaces.users(space)))
        if chosen.size:
            found[space] = chosen
    return found


def worthwhile(dead: Array, patterned: bool) -> Array:
    """Of the dead channels those whose going saves whole cells, and shifts none where weights have a pattern."""
    size = len(dead)
    if patterned:
        padded = np.pad(dead, (0, -size % CELL), constant_values=True)
        cells = np.array(padded.reshape(-1, CELL).all(1))
        if cells.all():
            cells[0] = False
        return np.asarray(np.flatnonzero(np.repeat(cells, CELL)[:size]))
    left = max(-(-int(size - dead.sum()) // CELL), 1) * CELL
    return np.asarray(np.flatnonzero(dead)[: max(size - left, 0)])


def patterned(spaces: ChannelSpaces, use: Use) -> bool:
    """Whether the convolution of `use` is pruned by cells of four input channels, apart from channels all dead."""
    weight = spaces.weight(use)
    if use.role == "value" or weight.ndim < 3 or use.node.op not in ("Conv", "QLinearConv"):
        return False
    flat = np.abs(weight.reshape(*weight.shape[:2], -1)).astype(np.float32)
    flat = flat[flat.any(axis=(1, 2))][:, flat.any(axis=(0, 2))]
    whole = flat.shape[1] // CELL * CELL
    cells = flat[:, :whole].reshape(len(flat), -1, CELL, flat.shape[2]).any(axis=2)
    return bool(cells.size and 1.0 - cells.mean() >= PATTERNED)


def foldable(spaces: ChannelSpaces, use: Use) -> bool:
    """Whether what the columns of `use` add can move into a bias of its node."""
    node, weight = use.node, spaces.weight(use)
    quant = spaces.graph.types[node.inputs[1]].quant
    simple = node.op in ("Conv", "QLinearConv") or (node.op in ("Gemm", "QLinearGemm") and use.axis == 1)
    symmetric = quant is None or not quant.zero_point.any()
    plain = node.attr_float("alpha", 1.0) == node.attr_float("beta", 1.0) == 1.0
    return simple and symmetric and plain and weight.dtype in (np.float32, np.int8)


def unread(spaces: ChannelSpaces, use: Use) -> Array:
    """bool [channels]: the columns of `use` that are all zero."""
    weight = np.moveaxis(spaces.weight(use), use.axis, 0)
    return np.asarray(~weight.reshape(len(weight), -1).any(1))


def without(spaces: ChannelSpaces, gone: dict[int, Array]) -> Graph:
    """The graph less the channels `gone`, with what they added to their readers in the biases of these."""
    values = constant_channels(spaces)
    folded: dict[int, Array] = {}
    for use in spaces.uses:
        if use.role != "column" or not set(spaces.roots(use.layout)) & set(gone):
            continue
        constant = values.get(use.node.inputs[0])
        if constant is None:
            continue
        leaving = np.zeros(spaces.size(use.layout), bool)
        for space in set(spaces.roots(use.layout)) & set(gone):
            for start in spaces.offsets(use.layout, space):
                leaving[start + gone[space]] = True
        leaving &= constant.known & ~unread(spaces, use)
        weight = spaces.weight(use)
        sums = weight.reshape(*weight.shape[:2], -1).sum(2, dtype=np.float64)[:, leaving]
        added = sums @ (constant.value[leaving].astype(np.float64) - zero_of(spaces.graph, use.node))
        folded[id(use.node)] = added
    stay = {space: np.setdiff1d(np.arange(spaces.sizes[space]), dead) for space, dead in gone.items()}
    if any(added.any() for added in folded.values()):
        spaces = ChannelSpaces(with_biases(spaces.graph, folded))
    return renumber(spaces, stay)


def with_biases(graph: Graph, folded: dict[int, Array]) -> Graph:
    """A copy in which each node of `folded` (by id) has that much more bias; int32 biases count in products."""
    copy = graph.copy()
    for old, node in zip(graph.nodes, copy.nodes, strict=True):
        added = folded.get(id(old))
        if added is None or not added.any():
            continue
        name = node.inputs[2] if len(node.inputs) > 2 + node.attr_int("residual", 0) else ""
        if name:
            bias, quant = copy.constants[name].astype(np.float64), copy.types[name].quant
            total = bias + added.reshape(bias.shape if bias.size == added.size else added.shape)
            total = total.astype(copy.constants[name].dtype)
        elif copy.constants[node.inputs[1]].dtype == np.int8:
            total, quant = added.astype(np.int32), product_scale(copy, node)
        else:
            total, quant = added.astype(np.float32), None
        made = copy.add_constant(name or f"{node.outputs[0]}_bias", total, quant)
        tail = node.inputs[-1:] if node.attr_int("residual", 0) else ()
        node.inputs = (*node.inputs[:2], made, *tail)
    return copy


def product_scale(graph: Graph, node: Node) -> Quantization:
    """The quantization of the sums of a quantized product."""
    x, w = graph.types[node.inputs[0]].quant, graph.types[node.inputs[1]].quant
    assert x is not None and w is not None
    scale = np.broadcast_to(x.scale * w.scale, graph.constants[node.inputs[1]].shape[:1]).astype(np.float32)
    return Quantization(scale, np.zeros(len(scale), np.int32), 0)
