"""An explicit Pad with zeros becomes part of the Conv or AveragePool that reads it.
Pads that mirror or repeat the edge stay; so do those a window could fall into as a whole."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgert.converters.passes.layouts import axis_groups, reshape_target
from edgert.converters.passes.rewrite import Rewriter
from edgert.graph.ir import Dim, Graph, Node, TensorType

CONVOLUTIONS = ("Conv", "QLinearConv", "ConvInteger")
REGROUPS = ("Reshape", "Unsqueeze", "Squeeze", "Flatten")


@dataclass(frozen=True)
class Padded:
    """A tensor that is another one with `begins` and `ends` more zeros along each axis. source: the other, of `kind`
    once it has the axes of the padded one; `reshape`: whether it needs a Reshape for that."""

    source: str
    kind: TensorType
    begins: list[int]
    ends: list[int]
    reshape: bool


def fold_pads(graph: Graph) -> Graph:
    """Adds the pads of a Pad in front, also one behind a Reshape that adds or drops axes of size 1."""
    rw = Rewriter(graph)
    for node in list(rw.graph.nodes):
        if node.op not in CONVOLUTIONS and not counts_zeros(node):
            continue
        found = padded_input(rw, node.inputs[0])
        if found is None or any(found.begins[:2]) or any(found.ends[:2]):
            continue
        rank = len(found.kind.shape) - 2
        pads = node.attr_ints("pads", [0] * 2 * rank)
        begins = [a + b for a, b in zip(pads[:rank], found.begins[2:], strict=True)]
        ends = [a + b for a, b in zip(pads[rank:], found.ends[2:], strict=True)]
        if node.attr_str("auto_pad", "NOTSET") not in ("NOTSET", "VALID") or not fits(rw, node, [*begins, *ends]):
            continue
        source, shaped = found.source, list[Node]()
        if found.reshape:
            target = reshape_target(rw.graph.types[source].shape, found.kind.shape)
            if target is None:
                continue
            shape = rw.add_constant(f"{node.inputs[0]}_shape", np.array(target, np.int64))
            source = rw.add_tensor(f"{node.inputs[0]}_unpadded", found.kind)
            shaped = [Node("Reshape", (found.source, shape), (source,), {}, f"{source}_reshape")]
        attrs = {key: value for key, value in node.attrs.items() if key != "auto_pad"}
        attrs["pads"] = [*begins, *ends]
        if node.op == "AveragePool":
            attrs["count_include_pad"] = 1
        rw.replace([node], [*shaped, Node(node.op, (source, *node.inputs[1:]), node.outputs, attrs, node.name)])
    return rw.finish()


def counts_zeros(node: Node) -> bool:
    """An AveragePool for which zeros outside are as good as zeros inside."""
    if node.op != "AveragePool" or node.attr_int("ceil_mode", 0):
        return False
    return bool(node.attr_int("count_include_pad", 0)) or not any(node.attr_ints("pads", [0]))


def fits(rw: Rewriter, node: Node, pads: list[int]) -> bool:
    """Whether every window meets the input: pads are smaller than the kernel."""
    rank = len(pads) // 2
    weight = rw.type_of(node.inputs[1]) if len(node.inputs) > 1 else None
    sizes = list(weight.shape[2:]) if weight is not None else [*node.attr_ints("kernel_shape", [])]
    dilations = node.attr_ints("dilations", [1] * rank)
    if len(sizes) != rank or any(isinstance(size, str) for size in sizes):
        return False
    widest = [(int(size) - 1) * step for size, step in zip(sizes, dilations, strict=True)]
    return all(0 <= pad <= most for pad, most in zip(pads, [*widest, *widest], strict=True))


def padded_input(rw: Rewriter, tensor: str) -> Padded | None:
    """What `tensor` is padded from, by a Pad or by a Pad and a Reshape."""
    maker, kind = rw.maker(tensor), rw.type_of(tensor)
    if maker is None or kind is None:
        return None
    if maker.op == "Pad":
        pads = zero_pads(rw, maker)
        inner = rw.type_of(maker.inputs[0])
        if pads is None or inner is None:
            return None
        return Padded(maker.inputs[0], inner, *pads, False)
    if maker.op not in REGROUPS:
        return None
    below = rw.maker(maker.inputs[0])
    inner = rw.type_of(maker.inputs[0])
    pads = zero_pads(rw, below) if below is not None and below.op == "Pad" else None
    groups = axis_groups(inner.shape, kind.shape) if inner is not None else None
    if below is None or inner is None or pads is None or groups is None:
        return None
    source = rw.type_of(below.inputs[0])
    if source is None or any(len(made) != 1 or len(axes) > 1 for axes, made in groups):
        return None
    begins, ends, shape = [0] * len(kind.shape), [0] * len(kind.shape), list[Dim](kind.shape)
    for axes, (axis,) in groups:
        if axes:
            begins[axis], ends[axis], shape[axis] = pads[0][axes[0]], pads[1][axes[0]], source.shape[axes[0]]
    if sum(begins) + sum(ends) != sum(pads[0]) + sum(pads[1]):
        return None  # an axis of size 1 was padded to 1: nothing that could be said here
    return Padded(below.inputs[0], kind.with_shape(tuple(shape)), begins, ends, True)


def zero_pads(rw: Rewriter, node: Node) -> tuple[list[int], list[int]] | None:
    """(begins, ends) along every axis, of a Pad with constant sizes >= 0 and what stands for zero."""
    kind, pads = rw.type_of(node.inputs[0]), rw.constant(node.inputs[1])
    if kind is None or pads is None or (pads < 0).any() or node.attr_str("mode", "constant") != "constant":
        return None
    fill = 0.0
    if len(node.inputs) > 2 and node.inputs[2]:
        value = rw.scalar(node.inputs[2])
        if value is None:
            return None
        fill = value
    zero = 0 if kind.quant is None else kind.quant.zero_point
    if not np.all(zero == fill):
        return None
    rank = len(kind.shape)
    axes = list(range(rank))
    if len(node.inputs) > 3 and node.inputs[3]:
        named = rw.constant(node.inputs[3])
        if named is None:
            return None
        axes = [int(axis) % rank for axis in named.reshape(-1)]
    begins, ends = [0] * rank, [0] * rank
    for i, axis in enumerate(axes):
        begins[axis], ends[axis] = int(pads[i]), int(pads[len(axes) + i])
    return begins, ends
