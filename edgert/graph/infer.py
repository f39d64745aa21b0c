"""Binding of dimension names and inference of every type, folding shape arithmetic on the way.

What each operator makes of its inputs is in the `infer_*` families; values come from kernels_cpu/reference.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from edgert.errors import EdgertError, InputError, UnsupportedError
from edgert.graph.evaluate import evaluate_node
from edgert.graph.ir import Array, Graph, Node, TensorType
from edgert.graph.operators import OPERATORS

FOLD_LIMIT = 65536
"""Elements of a value that is folded: shape arithmetic is far smaller, weights are left to the converter."""
NEVER_FOLDED = frozenset({"QuantizeLinear", "DequantizeLinear"})
"""Folding these would undo quantization."""


def infer_types(graph: Graph, bindings: Mapping[str, int] | None = None) -> Graph:
    """A copy of `graph` with dimension names bound, every type known and constant shape arithmetic folded.

    bindings: size of each dimension name; names left out stay symbolic, and operators that need them as numbers
    refuse. Raises InputError for an unknown name or a negative size, UnsupportedError naming node and operator.
    """
    result = graph.copy()
    _bind(result, dict(bindings or {}))
    known: dict[str, Array] = {n: v for n, v in result.constants.items() if v.size <= FOLD_LIMIT}
    kept: list[Node] = []
    for node in result.nodes:
        types = _infer(result, node, known)
        for name, kind in zip(node.outputs, types, strict=False):
            if name:
                result.types[name] = kind
        values = _fold(result, node, known)
        if values is None:
            kept.append(node)
            continue
        for name, value in zip(node.outputs, values, strict=False):
            if name:
                known[name] = result.constants[name] = value
    result.nodes = kept
    _drop_unused(result)
    return result


def _bind(graph: Graph, bindings: dict[str, int]) -> None:
    names = {d for n in graph.inputs for d in graph.types[n].shape if isinstance(d, str)}
    for name, size in bindings.items():
        if name not in names:
            raise InputError(f"dimension: expected one of {sorted(names) or 'none (all are fixed)'}, found {name!r}")
        if size < 0:
            raise InputError(f"dimension {name}: expected a size >= 0, found {size}")
    for name in graph.inputs:
        kind = graph.types[name]
        shape = tuple(bindings.get(d, d) if isinstance(d, str) else d for d in kind.shape)
        graph.types[name] = replace(kind, shape=shape)


def _infer(graph: Graph, node: Node, known: Mapping[str, Array]) -> list[TensorType]:
    where = f"node {node.name or node.outputs[0]!r} ({node.op})"
    operator = OPERATORS.get(node.op)
    if operator is None:
        raise UnsupportedError(f"{where}: expected an operator edgert knows; see `edgert check`")
    count = len(node.inputs)
    if count < operator.min_inputs or (operator.max_inputs is not None and count > operator.max_inputs):
        raise UnsupportedError(
            f"{where}: expected {operator.min_inputs} to {operator.max_inputs or 'any number of'} inputs, found {count}"
        )
    missing = [name for name in node.inputs if name and name not in graph.types]
    if missing:
        raise UnsupportedError(f"{where}: expected inputs that an earlier node makes, found {missing}")
    ins = [graph.types[name] if name else None for name in node.inputs]
    declared = [graph.types.get(name) if name else None for name in node.outputs]
    try:
        found = operator.infer(node, ins, [known.get(name) if name else None for name in node.inputs])
    except EdgertError as error:
        raise type(error)(f"{where}: {error}") from error
    if len(found) < len(node.outputs):
        raise UnsupportedError(f"{where}: expected at most {len(found)} outputs, found {len(node.outputs)}")
    return [_with_quant(new, old) for new, old in zip(found, declared + [None] * len(found), strict=False)]


def _with_quant(found: TensorType, declared: TensorType | None) -> TensorType:
    """Quantized operators cannot know their output's quantization: it is declared."""
    if found.quant is None and declared is not None and declared.quant is not None:
        return replace(found, dtype=declared.dtype, quant=declared.quant)
    return found


def _fold(graph: Graph, node: Node, known: Mapping[str, Array]) -> list[Array] | None:
    """The node's values when all are constant (or, for Shape and Size, when the shape is)."""
    kinds = [graph.types[name] for name in node.outputs if name]
    if node.op in NEVER_FOLDED or any(not k.is_static or k.numel > FOLD_LIMIT or k.quant for k in kinds):
        return None
    if node.op in ("Shape", "Size"):
        source = graph.types[node.inputs[0]]
        return evaluate_node(node, [shape_carrier(source)], graph.types) if source.is_static else None
    if not all(name in known for name in node.inputs if name):
        return None
    return evaluate_node(node, [known[name] if name else None for name in node.inputs], graph.types)


def shape_carrier(kind: TensorType) -> Array:
    """An array of the shape of `kind` that takes no memory."""
    return np.broadcast_to(np.zeros((), kind.np_dtype), kind.static_shape)


def _drop_unused(graph: Graph) -> None:
    """Constants and nodes that nothing reads any more."""
    needed = set(graph.outputs)
    kept: list[Node] = []
    for node in reversed(graph.nodes):
        if any(name in needed for name in node.outputs):
            kept.append(node)
            needed.update(name for name in node.inputs if name)
    graph.nodes = kept[::-1]
    graph.constants = {name: value for name, value in graph.constants.items() if name in needed}
