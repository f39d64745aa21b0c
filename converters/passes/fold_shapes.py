"""Shape arithmetic is computed as far as the dimensions are known: Shape, Gather, Slice, Concat, Mul and so on.
A Reshape or Expand to a target with unknown sizes gets a constant target that says the same for every size."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np

from edgert.converters.passes.rewrite import Rewriter
from edgert.errors import UnsupportedError
from edgert.graph.broadcast import product, total
from edgert.graph.ir import Dim, Graph, Node

Dims: TypeAlias = list[Dim]
"""An integer tensor of rank 0 or 1 whose elements are numbers or names of dimensions."""

FOLLOWED = (
    "Gather", "Slice", "Concat", "Squeeze", "Unsqueeze", "Cast", "Identity", "ReduceProd", "Expand", "Reshape",
)  # fmt: skip

MOST_AXES = 64
"""Elements of a shape: what has more is none."""


def fold_shapes(graph: Graph) -> Graph:
    """Makes constants of integer tensors that follow from known dimensions alone."""
    rw = Rewriter(graph)
    known: dict[str, tuple[Dims, int]] = {}
    for node in list(rw.graph.nodes):
        value = shape_value(rw, node, known)
        if value is not None:
            known[node.outputs[0]] = value
            dims, rank = value
            if all(isinstance(d, int) for d in dims) and node.outputs[0] not in rw.graph.outputs:
                kind = rw.type_of(node.outputs[0])
                dtype = kind.np_dtype if kind is not None else np.dtype(bool if node.op == "Equal" else np.int64)
                array = np.array(dims, dtype)
                name = rw.add_constant(f"{node.outputs[0]}_value", array if rank else array.reshape(()))
                rw.bypass(node, name)
        elif node.op == "Reshape" and node.inputs[1] in known:
            target = constant_target(rw, node, known[node.inputs[1]][0])
            if target is not None:
                name = rw.add_constant(f"{node.outputs[0]}_shape", np.array(target, np.int64))
                rw.set_inputs(node, (node.inputs[0], name))
                node.attrs.pop("allowzero", None)
        elif node.op == "Expand" and node.inputs[1] in known:
            sizes = expand_target(rw, node, known[node.inputs[1]][0])
            if sizes is not None:
                name = rw.add_constant(f"{node.outputs[0]}_shape", np.array(sizes, np.int64))
                rw.set_inputs(node, (node.inputs[0], name))
    return rw.finish()


def constant_target(rw: Rewriter, node: Node, dims: Dims) -> list[int] | None:
    """A Reshape target of numbers with the meaning of `dims`: 0 copies the input's size, -1 is inferred."""
    source = rw.type_of(node.inputs[0])
    if source is None or (node.attr_int("allowzero", 0) and 0 in dims):
        return None
    target: list[int] = []
    for i, d in enumerate(dims):
        if isinstance(d, int):
            target.append(d)
        elif i < len(source.shape) and source.shape[i] == d:
            target.append(0)
        else:
            target.append(-1)
    return target if target.count(-1) <= 1 else None


def expand_target(rw: Rewriter, node: Node, dims: Dims) -> list[int] | None:
    """An Expand target of numbers with the meaning of `dims`: 1 keeps the input's size."""
    source = rw.type_of(node.inputs[0])
    if source is None:
        return None
    padded: Dims = [*[1] * (len(dims) - len(source.shape)), *source.shape]
    kept = [1 if isinstance(d, str) and d == padded[i - len(dims)] else d for i, d in enumerate(dims)]
    return [d for d in kept if isinstance(d, int)] if all(isinstance(d, int) for d in kept) else None


def shape_value(rw: Rewriter, node: Node, known: dict[str, tuple[Dims, int]]) -> tuple[Dims, int] | None:
    """(elements, rank) of the integer tensor that `node` makes from shapes, or None."""
    try:
        return value_of(rw, node, known)
    except UnsupportedError:  # the name of a size grew too long
        return None


def value_of(rw: Rewriter, node: Node, known: dict[str, tuple[Dims, int]]) -> tuple[Dims, int] | None:
    """As `shape_value`; raises UnsupportedError for a size whose name would be too long."""

    def value(name: str) -> tuple[Dims, int] | None:
        array = rw.constant(name)
        if array is not None:
            integer = array.dtype.kind in "iub" and array.ndim <= 1 and array.size <= MOST_AXES
            return (array.reshape(-1).tolist(), array.ndim) if integer else None
        return known.get(name)

    if node.op == "Shape":
        kind = rw.type_of(node.inputs[0])
        if kind is None:
            return None
        rank = len(kind.shape)
        start, end = node.attr_int("start", 0), node.attr_int("end", rank)
        return list(kind.shape[slice(start, end)]), 1
    if node.op in ARITHMETIC or node.op == "Where":
        terms = [value(name) for name in node.inputs]
        kind = rw.type_of(node.outputs[0])
        if kind is not None and kind.dtype not in ("int64", "int32", "bool"):
            return None
        if any(term is None for term in terms):
            return None
        return elementwise(node.op, [term for term in terms if term is not None])
    if node.op not in FOLLOWED:
        return None
    first = value(node.inputs[0])
    if first is None:
        return None
    dims, rank = first
    if node.op in ("Cast", "Identity"):
        kind = rw.type_of(node.outputs[0])
        return first if kind is not None and kind.dtype in ("int64", "int32") else None
    if node.op == "Concat":
        parts = [value(name) for name in node.inputs]
        if any(part is None or part[1] != 1 for part in parts):
            return None
        return [d for part in parts if part is not None for d in part[0]], 1
    if node.op == "ReduceProd":
        every = rank == 1 and not (len(node.inputs) < 2 and node.attr_int("noop_with_empty_axes", 0))
        return ([product(dims)], node.attr_int("keepdims", 1)) if every else None
    if node.op == "Expand":
        count = value(node.inputs[1])
        if len(dims) != 1 or count is None or len(count[0]) != 1 or not isinstance(size := count[0][0], int):
            return None
        return (dims * size, 1) if 0 <= size <= MOST_AXES else None
    if node.op == "Reshape":
        return (dims, 1) if rw.rank(node.outputs[0]) == 1 else None
    if node.op == "Unsqueeze":
        return (dims, 1) if rank == 0 else None
    if node.op == "Squeeze":
        return (dims, 0) if rank == 1 and len(dims) == 1 else None
    if rank != 1:
        return None
    return gathered(rw, node, dims) if node.op == "Gather" else sliced(rw, node, dims)


def elementwise(op: str, terms: list[tuple[Dims, int]]) -> tuple[Dims, int] | None:
    """An operator on each element, where vectors of one length and single elements are combined."""
    count = max(len(dims) for dims, _ in terms)
    if any(len(dims) not in (1, count) for dims, _ in terms):
        return None
    made: Dims = []
    for column in zip(*(dims * (count // len(dims)) for dims, _ in terms), strict=True):
        if op == "Where":
            found: Dim | None = None if isinstance(column[0], str) else column[1 if column[0] else 2]
        else:
            found = ARITHMETIC[op](column[0], column[1])
        if found is None:
            return None
        made.append(found)
    return made, max(rank for _, rank in terms)


def multiplied(a: Dim, b: Dim) -> Dim | None:
    negative = any(isinstance(d, int) and d < 0 for d in (a, b)) and any(isinstance(d, str) for d in (a, b))
    return None if negative else product([a, b])


def subtracted(a: Dim, b: Dim) -> Dim | None:
    if a == b:
        return 0
    return total([a, -b]) if isinstance(b, int) else None


def divided(a: Dim, b: Dim) -> Dim | None:
    """Whole sizes alone: what is left of a named one is not known."""
    if b == 1:
        return a
    both = isinstance(a, int) and isinstance(b, int) and a >= 0 and b > 0
    return int(a) // int(b) if both else None


def equal(a: Dim, b: Dim) -> Dim | None:
    """1 or 0. A named size may be any number that is not negative."""
    if isinstance(a, str) or isinstance(b, str):
        if a == b:
            return 1
        return 0 if any(isinstance(d, int) and d < 0 for d in (a, b)) else None
    return int(a == b)


ARITHMETIC: dict[str, Callable[[Dim, Dim], Dim | None]] = {
    "Add": lambda a, b: total([a, b]),
    "Sub": subtracted,
    "Mul": multiplied,
    "Div": divided,
    "Equal": equal,
}


def gathered(rw: Rewriter, node: Node, dims: Dims) -> tuple[Dims, int] | None:
    indices = rw.constant(node.inputs[1])
    if indices is None or indices.ndim > 1:
        return None
    places = [int(i) for i in indices.reshape(-1)]
    if any(not -len(dims) <= i < len(dims) for i in places):
        return None
    return [dims[i] for i in places], indices.ndim


def sliced(rw: Rewriter, node: Node, dims: Dims) -> tuple[Dims, int] | None:
    starts, ends = (rw.scalar(name) for name in node.inputs[1:3])
    step = rw.scalar(node.inputs[4]) if len(node.inputs) > 4 and node.inputs[4] else 1.0
    if starts is None or ends is None or step != 1.0:
        return None
    return dims[slice(int(starts), int(ends))], 1
