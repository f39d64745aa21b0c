"""An interpreter of graphs over the reference operators: for tests, calibration and comparison.
It is the meaning of a graph, not a way to run one fast; that is `runtime`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from edgert.errors import EdgertError, InputError, UnsupportedError
from edgert.graph.control import run_control
from edgert.graph.evaluate import evaluate_node
from edgert.graph.infer import check_order, node_types, where
from edgert.graph.ir import Array, Graph, Node, TensorType

Observer = Callable[[str, Array], None]
"""Called with the name and value of every input and of every tensor a node makes, in order."""


def run_graph(graph: Graph, feeds: Mapping[str, Array], observe: Observer | None = None) -> dict[str, Array]:
    """Output name -> value of `graph` for `feeds`, input name -> value.

    Each node is typed when its inputs are there, so that sizes may depend on values. Tensors are freed after their
    last use. Raises InputError for feeds that do not fit the inputs, and UnsupportedError naming node and operator.
    """
    bindings_of(graph, feeds)
    check_order(graph)
    graph = graph.copy()
    values: dict[str, Array] = {**graph.constants, **{name: np.asarray(feeds[name]) for name in graph.inputs}}
    for name, value in values.items():
        declared = graph.types.get(name)
        graph.types[name] = TensorType(value.dtype.name, value.shape, declared.quant if declared else None)
    if observe:
        for name in graph.inputs:
            observe(name, values[name])
    last_use = {name: i for i, node in enumerate(graph.nodes) for name in node.inputs}
    for i, node in enumerate(graph.nodes):
        absent = [name for name in node.inputs if name and name not in values]
        if absent:
            raise UnsupportedError(f"{where(node)}: expected values of its inputs, found none of {absent}")
        made = run_node(graph, node, values, _run_body)
        values.update(made)
        if observe:
            for name, value in made.items():
                observe(name, value)
        for name in {*node.inputs, *made}:
            if last_use.get(name, i) == i and name not in graph.outputs:
                values.pop(name, None)
    return {name: values[name] for name in graph.outputs}


def run_node(
    graph: Graph, node: Node, values: Mapping[str, Array], run_body: Callable[[Graph, Sequence[Array]], list[Array]]
) -> dict[str, Array]:
    """Output name -> value of one node, and their types into `graph`, which has those of its inputs.

    values: of its inputs, by name. run_body: runs a body of control flow. Raises UnsupportedError naming the node.
    """
    inputs = [values[name] if name else None for name in node.inputs]
    try:
        if node.graphs:
            found = run_control(node, inputs, run_body)
            made = {name: value for name, value in zip(node.outputs, found, strict=False) if name}
            for name, value in made.items():
                declared = graph.types.get(name)
                graph.types[name] = TensorType(value.dtype.name, value.shape, declared.quant if declared else None)
            return made
        graph.types.update(node_types(graph, node, values))
        return evaluate_node(graph, node, inputs)
    except EdgertError as error:
        raise UnsupportedError(f"{where(node)}: {str(error).removeprefix(f'{where(node)}: ')}") from None


def _run_body(body: Graph, inputs: Sequence[Array]) -> list[Array]:
    """One body of control flow, on values of whatever shape."""
    shaped = body.copy()
    for name, value in zip(body.inputs, inputs, strict=True):
        declared = body.types.get(name)
        shaped.types[name] = TensorType(value.dtype.name, value.shape, declared.quant if declared else None)
    found = run_graph(shaped, dict(zip(body.inputs, inputs, strict=True)))
    return [found[name] for name in body.outputs]


def bindings_of(graph: Graph, feeds: Mapping[str, Array]) -> dict[str, int]:
    """Sizes of the named dimensions of the inputs, read from `feeds`.

    Raises InputError for missing or unknown names, a wrong dtype or shape, and sizes that disagree.
    """
    missing, unknown = sorted(set(graph.inputs) - set(feeds)), sorted(set(feeds) - set(graph.inputs))
    if missing or unknown:
        raise InputError(f"expected inputs {sorted(graph.inputs)}, found missing {missing}, unknown {unknown}")
    bindings: dict[str, int] = {}
    for name in graph.inputs:
        kind, value = graph.types[name], np.asarray(feeds[name])
        wanted = f"expected {kind.dtype}{list(kind.shape)} for input {name!r}"
        if value.dtype != kind.np_dtype or value.ndim != len(kind.shape):
            raise InputError(f"{wanted}, found {value.dtype}{list(value.shape)}")
        for dim, size in zip(kind.shape, value.shape, strict=True):
            known = bindings.setdefault(dim, size) if isinstance(dim, str) else dim
            if known != size:
                named = f" with {dim} = {known}" if isinstance(dim, str) else ""
                raise InputError(f"{wanted}{named}, found {list(value.shape)}")
    return bindings
