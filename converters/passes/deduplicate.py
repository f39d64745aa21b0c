"""Equal computations are done once, and equal small constants are kept once.
Common sub-expression elimination over operator, attributes, inputs and output types."""

from __future__ import annotations

from collections.abc import Hashable

from edgert.converters.passes.rewrite import Rewriter
from edgert.graph.ir import Graph, Node, Quantization

SMALL = 4096
"""Bytes up to which constants are compared; equal large weights are too rare to hash for."""

RANDOM = {
    "RandomNormal",
    "RandomUniform",
    "RandomNormalLike",
    "RandomUniformLike",
    "Bernoulli",
    "Multinomial",
}
"""Operators that give another answer each time."""


def quant_key(quant: Quantization | None) -> Hashable:
    if quant is None:
        return None
    return quant.axis, quant.scale.shape, quant.scale.tobytes(), quant.zero_point.tobytes()


def node_key(rw: Rewriter, node: Node) -> Hashable:
    """What two nodes share exactly when one can stand for the other."""
    attrs = tuple(sorted((key, repr(value)) for key, value in node.attrs.items()))
    kinds = tuple(
        (kind.dtype, quant_key(kind.quant)) if (kind := rw.type_of(name)) is not None else None for name in node.outputs
    )
    bodies = tuple(id(graph) for graph in node.graphs.values())  # never equal: they are not compared
    return node.op, node.inputs, attrs, kinds, bodies


def deduplicate(graph: Graph) -> Graph:
    """Keeps the first of each group of equal constants and of equal nodes."""
    rw = Rewriter(graph)
    values: dict[Hashable, str] = {}
    for name, value in list(rw.graph.constants.items()):
        if value.nbytes > SMALL or name in rw.graph.outputs:
            continue
        kind = rw.type_of(name)
        key = value.dtype.str, value.shape, value.tobytes(), quant_key(kind.quant if kind else None)
        first = values.setdefault(key, name)
        if first != name:
            rw.redirect(name, first)
    nodes: dict[Hashable, Node] = {}
    for node in list(rw.graph.nodes):
        if node.op in RANDOM or any(name in rw.graph.outputs for name in node.outputs):
            continue
        twin = nodes.setdefault(node_key(rw, node), node)
        if twin is not node:
            for mine, theirs in zip(node.outputs, twin.outputs, strict=True):
                if mine:
                    rw.redirect(mine, theirs)
    return rw.finish()
