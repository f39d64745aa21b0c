"""A graph cut down to what some of its outputs need. States are always kept up to date, and so are their nodes."""

from __future__ import annotations

from collections.abc import Sequence

from edgert.errors import InputError
from edgert.graph.ir import Graph


def prune(graph: Graph, outputs: Sequence[str]) -> Graph:
    """`graph` with only `outputs` and the presents of its states, and the nodes these need.

    Inputs stay, read or not. Raises InputError for a name that is no output.
    """
    unknown = [name for name in outputs if name not in graph.outputs]
    if unknown:
        raise InputError(f"expected outputs among {graph.outputs}, found {unknown[0]!r}")
    kept = [name for name in graph.outputs if name in outputs or name in graph.states.values()]
    needed = set(kept)
    nodes = []
    for node in reversed(graph.nodes):
        if needed & set(node.outputs):
            needed.update(filter(None, node.inputs))
            nodes.append(node)
    result = graph.copy()
    result.outputs = kept
    names = {id(node) for node in nodes}
    result.nodes = [new for old, new in zip(graph.nodes, result.nodes, strict=True) if id(old) in names]
    return result
