"""Types of an imported graph by edgert's own shape functions, and every node whose form they refuse.
`edgert.graph.infer` does the same for a graph that is sound, and stops at the first node that is not."""

from __future__ import annotations

from edgert.errors import EdgertError
from edgert.graph.infer import fold, node_types, where
from edgert.graph.ir import Array, Graph, Node, TensorType
from edgert.graph.registry import NeedsValue

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
    known = Graph(graph.name, types=types)
    values: dict[str, Array] = {name: v for name, v in graph.constants.items() if v.size <= MAX_FOLDED}
    refused: list[tuple[Node, str]] = []
    for node in graph.nodes:
        if any(name and name not in types for name in node.inputs):
            continue
        declared = {n: graph.types[n] for n in node.outputs if n in graph.types and graph.types[n].quant is not None}
        known.types.update(declared)
        try:
            types.update(node_types(known, node, values))
            values.update(fold(known, node, values))
        except NeedsValue:  # known when it runs
            for name in node.outputs:
                types.pop(name, None)
        except EdgertError as error:
            for name in node.outputs:
                types.pop(name, None)
            refused.append((node, str(error).removeprefix(f"{where(node)}: ")))
    return types, refused
