"""run_graph: a graph's values by the reference, node by node. Slow and plain: for tests, calibration and folding."""

from __future__ import annotations

from collections.abc import Mapping

from edgert.errors import InputError, UnsupportedError
from edgert.graph.evaluate import evaluate_node
from edgert.graph.ir import Array, Graph


def run_graph(graph: Graph, feeds: Mapping[str, Array]) -> dict[str, Array]:
    """The values of `graph.outputs` for `feeds` (row-major arrays by input name).

    Intermediate values are freed after their last use. Types need not be inferred, but those that are known are
    held: InputError for a missing feed or a wrong dtype, UnsupportedError when a node's result contradicts its type.
    """
    values: dict[str, Array] = dict(graph.constants)
    for name in graph.inputs:
        if name not in feeds:
            raise InputError(f"input {name!r}: expected a value, found only {sorted(feeds)}")
        kind = graph.types.get(name)
        if kind is not None and feeds[name].dtype != kind.np_dtype:
            raise InputError(f"input {name!r}: expected {kind.dtype}, found {feeds[name].dtype}")
        values[name] = feeds[name]
    last: dict[str, int] = {}
    for i, node in enumerate(graph.nodes):
        last |= {name: i for name in node.inputs if name}
    for i, node in enumerate(graph.nodes):
        results = evaluate_node(node, [values[n] if n else None for n in node.inputs], graph.types)
        for name, value in zip(node.outputs, results, strict=False):
            if name:
                kind = graph.types.get(name)
                if kind is not None and kind.is_static and kind.static_shape != value.shape and feeds_static(graph):
                    raise UnsupportedError(
                        f"node {node.name or name!r} ({node.op}): expected shape {kind.shape}, computed {value.shape}"
                    )
                values[name] = value
        for name in node.inputs:
            if name and last[name] == i and name not in graph.outputs:
                values.pop(name, None)
    return {name: values[name] for name in graph.outputs}


def feeds_static(graph: Graph) -> bool:
    """Whether the inputs' shapes are fixed, so that inferred shapes must hold."""
    return all(graph.types[name].is_static for name in graph.inputs if name in graph.types)
