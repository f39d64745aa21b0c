"""Shape arithmetic is computed as far as the dimensions are known: Shape, Gather, Slice, Concat and so on.
A Reshape to a target with one unknown size gets a constant target that says the same for every size."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np

from edgert.converters.passes.rewrite import Rewriter
from edgert.graph.ir import Dim, Graph, Node

Dims: TypeAlias = list[Dim]
"""An integer tensor of rank 0 or 1 whose elements are numbers or names of dimensions."""


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
                dtype = kind.np_dtype if kind is not None else np.dtype(np.int64)
                array = np.array(dims, dtype)
                name = rw.add_constant(f"{node.outputs[0]}_value", array if rank else array.reshape(()))
                rw.bypass(node, name)
        elif node.op == "Reshape" and node.inputs[1] in known:
            target = constant_target(rw, node, known[node.inputs[1]][0])
            if target is not None:
                name = rw.add_constant(f"{node.outputs[0]}_shape", np.array(target, np.int64))
                rw.set_inputs(node, (node.inputs[0], name))
    return rw.finish()


def constant_target(rw: Rewriter, node: Node, dims: Dims) -> list[int] | None:
    """A Reshape target of numbers with the meaning of `dims`: 0 copies the input's size, -1 is inferred."""
    source = rw.type_of(node.inputs[0])
    if node.attr_int("allowzero", 0) or source is None:
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


def shape_value(rw: Rewriter, node: Node, known: dict[str, tuple[Dims, int]]) -> tuple[Dims, int] | None:
    """(elements, rank) of the integer tensor that `node` makes from shapes, or None."""

    def value(name: str) -> tuple[Dims, int] | None:
        array = rw.constant(name)
        if array is not None:
            integer = np.issubdtype(array.dtype, np.integer) and array.ndim <= 1
            return (array.reshape(-1).tolist(), array.ndim) if integer else None
        return known.get(name)

    if node.op == "Shape":
        kind = rw.type_of(node.inputs[0])
        if kind is None:
            return None
        rank = len(kind.shape)
        start, end = node.attr_int("start", 0), node.attr_int("end", rank)
        return list(kind.shape[slice(start, end)]), 1
    if node.op not in ("Gather", "Slice", "Concat", "Squeeze", "Unsqueeze", "Cast", "Identity"):
        return None
    first = value(node.inputs[0])
    if first is None or all(name in rw.graph.constants for name in node.inputs if name):
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
    if node.op == "Unsqueeze":
        return (dims, 1) if rank == 0 else None
    if node.op == "Squeeze":
        return (dims, 0) if rank == 1 and len(dims) == 1 else None
    if rank != 1:
        return None
    return gathered(rw, node, dims) if node.op == "Gather" else sliced(rw, node, dims)


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
