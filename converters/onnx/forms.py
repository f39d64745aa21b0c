"""Types of an imported graph by edgert's own shape functions, and every node whose form they refuse.
`edgert.graph.infer` does the same for a graph that is sound, and stops at the first node that is not."""

from __future__ import annotations

from dataclasses import replace

from edgert.errors import EdgertError
from edgert.graph.evaluate import evaluate_node
from edgert.graph.infer import NEVER_FOLDED, shape_carrier
from edgert.graph.ir import Array, Graph, Node, TensorType
from edgert.graph.operators import OPERATORS

MAX_FOLDED = 64
"""Shape arithmetic is on vectors of a few values; larger constants are not worth computing here."""


def complete_types(graph: Graph) -> None:
    """Replaces the types in `graph` by inferred ones, as far as named dimensions let them be known."""
    types = {name: graph.types[name] for name in graph.inputs}
    graph.types.update(_walk(graph, types)[0])


def refused_forms(graph: Graph) -> list[tuple[Node, str]]:
    """(node, reason) for each refused node. A named batch size (axis 0 of an input) is taken as 1; nodes that
    depend on other named dimensions are not judged, for they may fit once those are bound."""
    types: dict[str, TensorType] = {}
    for name in graph.inputs:
        kind = graph.types[name]
        if kind.shape and isinstance(kind.shape[0], str):
            kind = kind.with_shape((1, *kind.shape[1:]))
        if kind.is_static:
            types[name] = kind
    return _walk(graph, types)[1]


def _walk(graph: Graph, types: dict[str, TensorType]) -> tuple[dict[str, TensorType], list[tuple[Node, str]]]:
    """(types of all tensors that follow from `types`, refused nodes). What a refused node makes stays unknown,
    and so does what depends on it."""
    types |= {name: graph.types[name] for name in graph.constants}
    values: dict[str, Array] = {name: v for name, v in graph.constants.items() if v.size <= MAX_FOLDED}
    refused: list[tuple[Node, str]] = []
    for node in graph.nodes:
        if any(name and name not in types for name in node.inputs):
            continue
        ins = [types[name] if name else None for name in node.inputs]
        try:
            outs = OPERATORS[node.op].infer(node, ins, [values.get(name) for name in node.inputs])
        except EdgertError as error:
            refused.append((node, str(error)))
            continue
        for name, kind in zip(node.outputs, outs, strict=False):
            declared = graph.types.get(name)
            if declared is not None and declared.quant is not None:
                kind = replace(declared, shape=kind.shape)
            if name:
                types[name] = kind
        _fold(node, types, values)
    return types, refused


def _fold(node: Node, types: dict[str, TensorType], values: dict[str, Array]) -> None:
    """Computes the outputs of `node` when they are small and follow from constants, as shapes do."""
    outs = [types[name] for name in node.outputs if name in types]
    if node.op in NEVER_FOLDED or any(not kind.is_static or kind.numel > MAX_FOLDED for kind in outs):
        return
    source = types[node.inputs[0]] if node.inputs and node.inputs[0] else None
    if node.op in ("Shape", "Size") and source is not None and source.is_static:
        results = evaluate_node(node, [shape_carrier(source)], types)
    elif node.inputs and all(not name or name in values for name in node.inputs):
        results = evaluate_node(node, [values[name] if name else None for name in node.inputs], types)
    else:
        return
    values.update({name: value for name, value in zip(node.outputs, results, strict=False) if name})
