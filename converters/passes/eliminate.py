"""Operators that change nothing go: Identity, Dropout at inference, and no-op forms of others.
Duplicates are in `deduplicate.py`; what nothing reads goes with every pass."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from edgert.converters.passes.layouts import reshape_target
from edgert.converters.passes.rewrite import Rewriter
from edgert.graph.ir import Graph, Node

NoOp = Callable[[Rewriter, Node], bool]


def always(rw: Rewriter, node: Node) -> bool:
    return True


def unused_tail(rw: Rewriter, node: Node) -> bool:
    """Only the first output is read (Dropout's mask is not)."""
    return not any(name and (rw.readers(name) or name in rw.graph.outputs) for name in node.outputs[1:])


def same_dtype(rw: Rewriter, node: Node) -> bool:
    a, b = rw.type_of(node.inputs[0]), rw.type_of(node.outputs[0])
    return a is not None and b is not None and a.dtype == b.dtype


def same_type(rw: Rewriter, node: Node) -> bool:
    """Equal shapes. A name stands for one size throughout a graph, so names may be compared."""
    return same_dtype(rw, node) and rw.same_shape(node.inputs[0], node.outputs[0])


def zero_pads(rw: Rewriter, node: Node) -> bool:
    pads = rw.constant(node.inputs[1])
    return pads is not None and not pads.any()


def identity_permutation(rw: Rewriter, node: Node) -> bool:
    perm = node.attr_ints("perm", [])
    return bool(perm) and perm == sorted(perm)


def one_input(rw: Rewriter, node: Node) -> bool:
    return len(node.inputs) == 1


def neutral_right(rw: Rewriter, node: Node) -> bool:
    """x + 0, x - 0, x * 1 or x / 1 without broadcasting x."""
    value = rw.constant(node.inputs[1])
    if value is None or node.attr_str("activation", "") or not same_type(rw, node):
        return False
    neutral = 0 if node.op in ("Add", "Sub") else 1
    return bool(np.all(value == neutral))


NO_OPS: dict[str, NoOp] = {
    "Identity": always,
    "Dropout": unused_tail,
    "Cast": same_dtype,
    "Reshape": same_type,
    "Flatten": same_type,
    "Squeeze": same_type,
    "Unsqueeze": same_type,
    "Expand": same_type,
    "Slice": same_type,
    "Pad": zero_pads,
    "Transpose": identity_permutation,
    "Concat": one_input,
    "Sum": one_input,
    "Add": neutral_right,
    "Sub": neutral_right,
    "Mul": neutral_right,
    "Div": neutral_right,
}


def eliminate(graph: Graph) -> Graph:
    """Removes no-ops, and merges a Reshape or Transpose with one directly before it."""
    rw = Rewriter(graph)
    for node in list(rw.graph.nodes):
        test = NO_OPS.get(node.op)
        if test is not None and test(rw, node) and rw.bypass(node, node.inputs[0]):
            continue
        if node.op in RESHAPES:
            skip_earlier_reshape(rw, node)
        elif node.op == "Transpose":
            compose_transposes(rw, node)
    return rw.finish()


RESHAPES = ("Reshape", "Flatten", "Squeeze", "Unsqueeze")


def skip_earlier_reshape(rw: Rewriter, node: Node) -> None:
    """Reshape(Reshape(x)) reads x, and so do Squeeze, Unsqueeze and Flatten, which become Reshapes for it. Where
    types are unknown that needs a target that copies no size (0) from its input."""
    inner = rw.maker(node.inputs[0])
    if inner is None or inner.op not in RESHAPES:
        return
    source, out = rw.type_of(inner.inputs[0]), rw.type_of(node.outputs[0])
    target = None
    if source is not None and out is not None:
        target = reshape_target(source.shape, out.shape)
    if target is not None:
        shape = rw.add_constant(f"{node.outputs[0]}_shape", np.array(target, np.int64))
        rw.replace([node], [Node("Reshape", (inner.inputs[0], shape), node.outputs, {}, node.name)])
    elif node.op == "Reshape":
        shape_value = rw.constant(node.inputs[1])
        if shape_value is not None and (shape_value != 0).all():
            rw.set_inputs(node, (inner.inputs[0], *node.inputs[1:]))


def compose_transposes(rw: Rewriter, node: Node) -> None:
    """Transpose(Transpose(x)) becomes one Transpose, or nothing."""
    inner = rw.maker(node.inputs[0])
    if inner is None or inner.op != "Transpose":
        return
    first, second = inner.attr_ints("perm", []), node.attr_ints("perm", [])
    if not first or not second:
        return
    perm = [first[axis] for axis in second]
    if perm == sorted(perm) and rw.bypass(node, inner.inputs[0]):
        return
    node.attrs["perm"] = perm
    rw.set_inputs(node, inner.inputs[:1])
