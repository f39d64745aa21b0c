"""What each operator does when its tensors are stored with their axes in another order: `LAYOUT_RULES`.
Which order each tensor gets is decided in `sink_transposes.py`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np

from edgert.errors import UnsupportedError
from edgert.graph.broadcast import product
from edgert.graph.ir import Array, Attr, Dim, Graph, Node

Layout: TypeAlias = tuple[int, ...]
"""A tensor t is stored in `layout` as transpose(t, layout): its axis layout[i] is axis i of what is stored."""


@dataclass(frozen=True)
class Move:
    """A node that works on stored tensors. wants: layout of each input, None as it is; one of more axes than the
    input has is meant for a constant, which gets axes of size 1 in front. gives: layout of each output. op, attrs and
    constant inputs by position: what the node becomes."""

    wants: tuple[Layout | None, ...]
    gives: tuple[Layout, ...]
    attrs: dict[str, Attr]
    values: dict[int, Array] = field(default_factory=dict)
    op: str = ""


Rule: TypeAlias = Callable[[Graph, Node, Layout], Move | None]
"""The move of a node, given the layout of its first input, or of its output where inputs broadcast; else None."""

ELEMENTWISE = (
    "Abs", "Acos", "Acosh", "Add", "And", "Asin", "Asinh", "Atan", "Atanh", "BitShift", "BitwiseAnd", "BitwiseNot",
    "BitwiseOr", "BitwiseXor", "Cast", "CastLike", "Ceil", "Celu", "Clip", "Cos", "Cosh", "DequantizeLinear", "Div",
    "Dropout", "Elu", "Equal", "Erf", "Exp", "Floor", "Gelu", "Greater", "GreaterOrEqual", "HardSigmoid", "HardSwish",
    "Identity", "IsInf", "IsNaN", "LeakyRelu", "Less", "LessOrEqual", "Log", "Max", "Mean", "Min", "Mish", "Mod",
    "Mul", "Neg", "Not", "Or", "PRelu", "Pow", "QLinearAdd", "QLinearMul", "QLinearUnary", "QuantizeLinear",
    "Reciprocal", "Relu", "Round", "Selu", "Sigmoid", "Sign", "Sin", "Sinh", "Softplus", "Softsign", "Sqrt", "Sub",
    "Sum", "Swish", "Tan", "Tanh", "ThresholdedRelu", "Where", "Xor",
)  # fmt: skip
"""Each output value depends on the input values at its place, where inputs broadcast."""

AXIS = {
    "Concat": 0, "QLinearConcat": 0, "Split": 0, "Softmax": -1, "LogSoftmax": -1, "Hardmax": -1, "LpNormalization": -1,
    "TopK": -1, "GatherElements": 0, "ScatterElements": 0,
}  # fmt: skip
"""Operators with one axis, in attribute `axis`, and its default; all outputs and the inputs in JOINED keep the rank."""

JOINED = {"Concat": None, "QLinearConcat": None, "GatherElements": 2, "ScatterElements": 3}
"""How many inputs are laid out alike, None for all; one where an operator is not named."""

REDUCTIONS = (
    "ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd",
    "ReduceSum", "ReduceSumSquare",
)  # fmt: skip

SAME_LAST = {"MatMul": None, "QLinearGemm": None, "LayerNormalization": -1, "RMSNormalization": -1, "GLU": -1}
"""Operators along the last axis alone, with constants beside their first input; the default of `axis`."""


def identity(rank: int) -> Layout:
    return tuple(range(rank))


def composed(first: Sequence[int], second: Sequence[int]) -> Layout:
    """The layout of transpose(transpose(x, first), second)."""
    return tuple(first[axis] for axis in second)


def inverse(layout: Sequence[int]) -> Layout:
    return tuple(layout.index(axis) for axis in range(len(layout)))


def order_of(shape: Sequence[Dim], layout: Layout) -> Layout:
    """The axes that are not of size 1, as they follow each other: layouts alike in this differ by a Reshape."""
    return tuple(axis for axis in layout if shape[axis] != 1)


def without(layout: Layout, axes: Sequence[int]) -> Layout:
    """`layout` of what is left when `axes` go."""
    left = [axis for axis in range(len(layout)) if axis not in axes]
    return tuple(left.index(axis) for axis in layout if axis in left)


def reshape_target(source: Sequence[Dim], target: Sequence[Dim]) -> list[int] | None:
    """The constant target of a Reshape from `source` to `target`, where sizes may be names; None if there is none."""
    sizes = [
        size if isinstance(size, int) else (0 if at < len(source) and source[at] == size else -1)
        for at, size in enumerate(target)
    ]
    zeros = any(size == 0 and isinstance(found, int) for size, found in zip(sizes, target, strict=True))
    return None if zeros or sizes.count(-1) > 1 else sizes


# Rules


def rank_of(graph: Graph, name: str) -> int | None:
    kind = graph.types.get(name)
    return None if kind is None else len(kind.shape)


def label_rank(graph: Graph, node: Node) -> int | None:
    """Number of axes of the layout that a rule is asked for."""
    names = node.outputs if node.op in ELEMENTWISE else node.inputs
    return rank_of(graph, names[0]) if names and names[0] else None


def elementwise(graph: Graph, node: Node, layout: Layout) -> Move | None:
    wants: list[Layout | None] = []
    for name in node.inputs:
        kind = graph.types.get(name)
        if not name or (kind is not None and all(size == 1 for size in kind.shape)):
            wants.append(None if kind is None or len(kind.shape) != len(layout) else layout)
            continue
        missing = len(layout) - len(kind.shape) if kind is not None else -1
        if missing < 0:
            return None
        if missing and name not in graph.constants:
            if layout[:missing] != identity(missing):
                return None
            wants.append(tuple(axis - missing for axis in layout[missing:]))
        else:
            wants.append(layout)
    return Move(tuple(wants), (layout,) * len(node.outputs), node.attrs)


def along_axis(graph: Graph, node: Node, layout: Layout) -> Move | None:
    rank = len(layout)
    count = JOINED.get(node.op, 1)
    alike = len(node.inputs) if count is None else count
    if any(rank_of(graph, name) != rank for name in node.inputs[:alike]):
        return None
    axis = node.attr_int("axis", AXIS[node.op])
    wants = [layout if i < alike else None for i in range(len(node.inputs))]
    attrs = {**node.attrs, "axis": layout.index(axis % rank)}
    return Move(tuple(wants), (layout,) * len(node.outputs), attrs)


def along_last(graph: Graph, node: Node, layout: Layout) -> Move | None:
    last = len(layout) - 1
    axis = SAME_LAST[node.op]
    if layout[last] != last or node.attr_int("residual", 0):
        return None
    if axis is not None and node.attr_int("axis", axis) not in (-1, last):
        return None
    if any(name and name not in graph.constants for name in node.inputs[1:]) or any(node.outputs[1:]):
        return None
    if axis is None and rank_of(graph, node.inputs[1]) != 2:
        return None
    return Move((layout, *(None,) * (len(node.inputs) - 1)), (layout,), node.attrs)


def constant_ints(graph: Graph, node: Node, at: int) -> list[int] | None:
    value = graph.constants.get(node.inputs[at]) if at < len(node.inputs) else None
    return None if value is None else [int(v) for v in value.reshape(-1)]


def has(node: Node, at: int) -> bool:
    return at < len(node.inputs) and node.inputs[at] != ""


def first_only(node: Node, layout: Layout) -> tuple[Layout | None, ...]:
    return (layout, *(None,) * (len(node.inputs) - 1))


def moved_axes(axes: Sequence[int], layout: Layout) -> Array:
    return np.array([layout.index(axis % len(layout)) for axis in axes], np.int64)


def slice_rule(graph: Graph, node: Node, layout: Layout) -> Move | None:
    axes = constant_ints(graph, node, 3)
    if axes is None and not has(node, 3):
        starts = graph.types.get(node.inputs[1])
        count = starts.shape[0] if starts is not None and len(starts.shape) == 1 else None
        axes = list(range(count)) if isinstance(count, int) else None
    if axes is None:
        return None
    wants = (layout, *(None,) * max(len(node.inputs) - 1, 3))
    return Move(wants, (layout,), node.attrs, {3: moved_axes(axes, layout)})


def pad_rule(graph: Graph, node: Node, layout: Layout) -> Move | None:
    wants = first_only(node, layout)
    if has(node, 3):
        axes = constant_ints(graph, node, 3)
        return None if axes is None else Move(wants, (layout,), node.attrs, {3: moved_axes(axes, layout)})
    value = graph.constants.get(node.inputs[1])
    if value is None or value.size != 2 * len(layout):
        return None
    pads = value.reshape(2, -1)[:, list(layout)].reshape(-1)
    return Move(wants, (layout,), node.attrs, {1: pads})


def reduce_rule(graph: Graph, node: Node, layout: Layout) -> Move | None:
    rank = len(layout)
    if not has(node, 1):
        if not node.attr_int("keepdims", 1):
            return None
        return Move(first_only(node, layout), (layout,), node.attrs)
    axes = constant_ints(graph, node, 1)
    if not axes:
        return None
    gone = [axis % rank for axis in axes]
    gives = layout if node.attr_int("keepdims", 1) else without(layout, gone)
    return Move(first_only(node, layout), (gives,), node.attrs, {1: np.sort(moved_axes(axes, layout))})


def arg_rule(graph: Graph, node: Node, layout: Layout) -> Move | None:
    axis = node.attr_int("axis", 0) % len(layout)
    gives = layout if node.attr_int("keepdims", 1) else without(layout, [axis])
    return Move((layout,), (gives,), {**node.attrs, "axis": layout.index(axis)})


def cumsum_rule(graph: Graph, node: Node, layout: Layout) -> Move | None:
    axes, value = constant_ints(graph, node, 1), graph.constants.get(node.inputs[1])
    if axes is None or value is None:
        return None
    return Move((layout, None), (layout,), node.attrs, {1: moved_axes(axes, layout).reshape(value.shape)})


def resize_rule(graph: Graph, node: Node, layout: Layout) -> Move | None:
    wants = first_only(node, layout)
    if axes := node.attr_ints("axes", []):
        moved = [int(axis) for axis in moved_axes(axes, layout)]
        return Move(wants, (layout,), {**node.attrs, "axes": moved})
    values: dict[int, Array] = {}
    for at in range(1, len(node.inputs)):
        if not has(node, at):
            continue
        value = graph.constants.get(node.inputs[at])
        if value is None:
            return None
        if value.size:
            per_axis = value.reshape(-1, len(layout)) if at == 1 else value.reshape(1, -1)
            if per_axis.shape[1] != len(layout):
                return None
            values[at] = per_axis[:, list(layout)].reshape(-1)
    return Move(wants, (layout,), node.attrs, values)


def expand_rule(graph: Graph, node: Node, layout: Layout) -> Move | None:
    sizes = constant_ints(graph, node, 1)
    if sizes is None or len(sizes) != len(layout):
        return None
    return Move((layout, None), (layout,), node.attrs, {1: np.array(sizes, np.int64)[list(layout)]})


def gather_rule(graph: Graph, node: Node, layout: Layout) -> Move | None:
    indices = rank_of(graph, node.inputs[1])
    if indices is None or indices > 1:
        return None
    axis = node.attr_int("axis", 0) % len(layout)
    gives = layout if indices else without(layout, [axis])
    return Move((layout, None), (gives,), {**node.attrs, "axis": layout.index(axis)})


def regroup_rule(graph: Graph, node: Node, layout: Layout) -> Move | None:
    """Reshape, Flatten, Squeeze and Unsqueeze: groups of axes that are merged or split move as wholes."""
    source, out = graph.types.get(node.inputs[0]), graph.types.get(node.outputs[0])
    groups = axis_groups(source.shape, out.shape) if source is not None and out is not None else None
    if source is None or out is None or groups is None:
        return None
    order = order_of(source.shape, layout)
    at, gives = 0, list[int]()
    while at < len(order):
        axes, made = next((axes, made) for axes, made in groups if order[at] in axes)
        if order[at : at + len(axes)] != axes:
            return None
        at += len(axes)
        gives += made
    single = [made for axes, made in groups if not axes]
    for (axis,) in single:
        # New axes of size 1 follow the axis they followed before.
        gives.insert(gives.index(axis - 1) + 1 if axis - 1 in gives else 0, axis)
    target = reshape_target([source.shape[axis] for axis in layout], [out.shape[axis] for axis in gives])
    if target is None:
        return None
    return Move((layout, None), (tuple(gives),), {}, {1: np.array(target, np.int64)}, "Reshape")


def axis_groups(source: Sequence[Dim], out: Sequence[Dim]) -> list[tuple[Layout, Layout]] | None:
    """Smallest (axes of `source`, axes of `out`) that hold the same values, in order; axes of size 1 in `source` are
    in none, those in `out` are alone. None where names of sizes hide it."""
    left = [axis for axis, size in enumerate(source) if size != 1]
    right = [axis for axis, size in enumerate(out) if size != 1]
    groups: list[tuple[Layout, Layout]] = []
    i = j = 0
    while i < len(left) and j < len(right):
        pairs = ((a, b) for a in range(i + 1, len(left) + 1) for b in range(j + 1, len(right) + 1))
        shortest = sorted(pairs, key=sum)
        found = next(
            (
                (a, b)
                for a, b in shortest
                if same_product([source[axis] for axis in left[i:a]], [out[axis] for axis in right[j:b]])
            ),
            None,
        )
        if found is None:
            return None
        groups.append((tuple(left[i : found[0]]), tuple(right[j : found[1]])))
        i, j = found
    if i < len(left) or j < len(right):
        return None
    return [*groups, *(((), (axis,)) for axis, size in enumerate(out) if size == 1)]


def same_product(a: Sequence[Dim], b: Sequence[Dim]) -> bool:
    try:
        return product(a) == product(b)
    except UnsupportedError:  # a name too long to carry along
        return False


LAYOUT_RULES: dict[str, Rule] = {
    **dict.fromkeys(ELEMENTWISE, elementwise),
    **dict.fromkeys(AXIS, along_axis),
    **dict.fromkeys(SAME_LAST, along_last),
    **dict.fromkeys(REDUCTIONS, reduce_rule),
    **dict.fromkeys(("ArgMax", "ArgMin"), arg_rule),
    **dict.fromkeys(("Expand", "Tile"), expand_rule),
    **dict.fromkeys(("Reshape", "Flatten", "Squeeze", "Unsqueeze"), regroup_rule),
    "CumSum": cumsum_rule,
    "Gather": gather_rule,
    "Pad": pad_rule,
    "Resize": resize_rule,
    "Slice": slice_rule,
}
