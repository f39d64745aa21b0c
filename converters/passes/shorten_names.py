"""Names longer than a file can hold lose their middle: exporters join those of all layers they fused.
Names of other tensors and nodes stay as the source has them."""

from __future__ import annotations

from edgert.converters.names import shortened
from edgert.graph.ir import Graph

LONGEST = 216
"""Bytes up to which a name stays: a file holds 255, and quantization and packing add suffixes."""


def shorten_names(graph: Graph) -> Graph:
    """Renames, in a copy, every tensor and node with a name of more than LONGEST bytes."""
    graph = graph.copy()
    tensors = {*graph.inputs, *graph.outputs, *graph.types, *graph.constants}
    tensors.update(name for node in graph.nodes for name in (*node.inputs, *node.outputs))
    renamed = {name: short for name, short in _short(tensors).items() if short != name}
    nodes = _short({node.name for node in graph.nodes})

    def name_of(name: str) -> str:
        return renamed.get(name, name)

    for node in graph.nodes:
        node.inputs, node.outputs = tuple(map(name_of, node.inputs)), tuple(map(name_of, node.outputs))
        node.name = nodes[node.name]
    graph.inputs, graph.outputs = list(map(name_of, graph.inputs)), list(map(name_of, graph.outputs))
    graph.types = {name_of(name): kind for name, kind in graph.types.items()}
    graph.constants = {name_of(name): value for name, value in graph.constants.items()}
    graph.states = {name_of(past): name_of(present) for past, present in graph.states.items()}
    graph.initial = {name_of(past): value for past, value in graph.initial.items()}
    return graph


def _short(names: set[str]) -> dict[str, str]:
    """Name -> itself, or a short one that no other has."""
    found = {name: name for name in names if len(name.encode()) <= LONGEST}
    taken = set(found)
    for name in sorted(names - taken):
        short = shortened(name)
        i = 0
        while short in taken:
            i += 1
            short = f"{shortened(name)}_{i}"
        taken.add(short)
        found[name] = short
    return found
