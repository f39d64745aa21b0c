"""Types of a whole graph: binds named dimensions, infers every tensor's type, folds constants.
What shape each operator gives is in the `infer_*` modules; values are computed by the reference operators."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import SupportsIndex, overload

import numpy as np

from edgert.errors import EdgertError, InputError, UnsupportedError
from edgert.graph.evaluate import evaluate_node
from edgert.graph.ir import Array, Dim, Graph, Node, TensorType
from edgert.graph.operators import OPERATORS
from edgert.graph.registry import NeedsValue, Operator

FOLD_LIMIT = 1 << 16
"""Most elements of any input or output of a node that is folded: shape arithmetic, not weights."""


def infer_types(graph: Graph, bindings: Mapping[str, int] | None = None, *, partial: bool = False) -> Graph:
    """A copy of `graph` with named dimensions bound, every type inferred, and shape arithmetic folded.

    bindings: sizes of named dimensions. Names that are left out stay names, and so do sizes that follow from
    them; operators that need to know such a size raise UnsupportedError.
    Types of quantized tensors (dtype, scale, zero point) are kept as declared. Nodes whose inputs are all
    constant, unquantized and of at most FOLD_LIMIT elements become constants, and so does Shape of a known
    shape, unless they make an output of the graph.
    partial: nodes whose types depend on values of the run, and what follows from them, keep the types they have;
    without it they raise NeedsValue.
    Raises UnsupportedError naming node and operator, and InputError for a binding that does not fit.
    """
    graph = graph.copy()
    bind_inputs(graph, bindings or {})
    for name, value in graph.constants.items():
        declared = graph.types.get(name)
        graph.types[name] = TensorType(value.dtype.name, tuple(value.shape), declared.quant if declared else None)
    check_order(graph)
    values = dict(graph.constants)
    kept: list[Node] = []
    later: set[str] = set()
    for node in graph.nodes:
        if not later.isdisjoint(node.inputs):
            later.update(node.outputs)
            kept.append(node)
            continue
        try:
            types = node_types(graph, node, values)
        except NeedsValue:
            if not partial:
                raise
            later.update(filter(None, node.outputs))
            kept.append(node)
            continue
        graph.types.update(types)
        folded = fold(graph, node, values)
        values.update(folded)
        if folded and not set(node.outputs) & set(graph.outputs):
            graph.constants.update(folded)
        else:
            kept.append(node)
    graph.nodes = kept
    for name in graph.outputs:
        if name not in graph.types and name not in later:
            raise UnsupportedError(f"expected a node or input that makes output {name!r}, found none")
    return graph


def bind_inputs(graph: Graph, bindings: Mapping[str, int]) -> None:
    """Replaces dimension names in the types of the graph's inputs, in place. Raises InputError."""
    names = {d for name in graph.inputs for d in graph.types[name].shape if isinstance(d, str)}
    for name, size in bindings.items():
        if name not in names:
            known = ", ".join(sorted(names)) or "none"
            raise InputError(f"expected a named dimension of the inputs ({known}), found {name!r}")
        if size < 0:
            raise InputError(f"expected a size >= 0 for dimension {name!r}, found {size}")
    for name in graph.inputs:
        kind = graph.types[name]
        shape: tuple[Dim, ...] = tuple(bindings.get(d, d) if isinstance(d, str) else d for d in kind.shape)
        graph.types[name] = kind.with_shape(shape)


def check_order(graph: Graph) -> None:
    """Raises UnsupportedError unless every tensor is made once, and before it is read."""
    pending = {name for node in graph.nodes for name in node.outputs if name}
    made = {*graph.inputs, *graph.constants}
    for node in graph.nodes:
        early = [name for name in node.inputs if name in pending and name not in made]
        if early:
            raise UnsupportedError(f"{where(node)}: expected nodes in order, found {early} made only later")
        for name in filter(None, node.outputs):
            if name in made:
                raise UnsupportedError(f"{where(node)}: expected tensors made once, found {name!r} made twice")
            made.add(name)


def operator_of(node: Node) -> Operator:
    """The operator of `node`, given as many inputs as it takes. Raises UnsupportedError."""
    found = OPERATORS.get(node.op)
    if found is None:
        raise UnsupportedError(f"{where(node)}: expected an operator edgert knows, found {node.op!r}")
    most = found.max_inputs
    if len(node.inputs) < found.min_inputs or (most is not None and len(node.inputs) > most):
        wanted = f"{found.min_inputs} to {'any number' if most is None else most}"
        raise UnsupportedError(f"{where(node)}: expected {wanted} inputs, found {len(node.inputs)}")
    return found


def where(node: Node) -> str:
    """How messages name a node."""
    return f"node {node.name or (node.outputs or ('?',))[0]!r} ({node.op})"


def node_types(graph: Graph, node: Node, values: Mapping[str, Array]) -> dict[str, TensorType]:
    """Output name -> type, from the types of the inputs in `graph` and their `values` where constant.

    Raises UnsupportedError naming node and operator; NeedsValue where an input's value has to be known for it.
    """
    found = operator_of(node)
    for name in node.inputs:
        if name and name not in graph.types:
            raise UnsupportedError(f"{where(node)}: expected a tensor {name!r}, found none")
    count = max((i + 1 for i, name in enumerate(node.inputs) if name), default=0)
    padded = node.inputs[: max(count, found.min_inputs)]  # trailing absent inputs are no inputs
    ins = [graph.types[name] if name else None for name in padded]
    try:
        for kind in filter(None, ins):
            check_quant(kind)
        consts = _Constants(values.get(name) if name else None for name in padded)
        inferred = found.infer(node, ins, consts)
        if len(node.outputs) > len(inferred):
            raise UnsupportedError(f"expected at most {len(inferred)} outputs, found {len(node.outputs)}")
        pairs = zip(node.outputs, inferred, strict=False)
        return {name: merged(found, kind, graph.types.get(name)) for name, kind in pairs if name}
    except NeedsValue as error:
        raise NeedsValue(f"{where(node)}: {error}", tuple(sorted(consts.missed))) from None
    except (UnsupportedError, InputError) as error:
        raise UnsupportedError(f"{where(node)}: {error}") from None
    except (TypeError, ValueError, LookupError, ArithmeticError) as error:
        # A file may hold an attribute of any type under any name.
        raise UnsupportedError(
            f"{where(node)}: expected attributes as ONNX defines them, found {node.attrs} ({error})"
        ) from error


class _Constants(list["Array | None"]):
    """Values of a node's inputs that remembers which of those not at hand were asked for."""

    def __init__(self, values: Iterable[Array | None]) -> None:
        super().__init__(values)
        self.missed: set[int] = set()

    @overload
    def __getitem__(self, at: SupportsIndex) -> Array | None: ...
    @overload
    def __getitem__(self, at: slice) -> list[Array | None]: ...
    def __getitem__(self, at: SupportsIndex | slice) -> Array | list[Array | None] | None:
        chosen = range(len(self))[at] if isinstance(at, slice) else [range(len(self))[at]]
        self.missed.update(i for i in chosen if super(_Constants, self).__getitem__(i) is None)
        return super().__getitem__(at)

    def __iter__(self) -> Iterator[Array | None]:
        return (self[i] for i in range(len(self)))


def merged(found: Operator, inferred: TensorType, declared: TensorType | None) -> TensorType:
    """The inferred type with the quantization that the graph declares. Raises UnsupportedError."""
    quant = declared.quant if declared is not None else None
    if found.quantizes:
        if declared is None or quant is None:
            raise UnsupportedError("expected a scale and zero point declared for the output, found none")
        inferred = TensorType(declared.dtype, inferred.shape)
    if quant is None:
        return inferred
    if inferred.quant is not None and inferred.quant != quant:
        raise UnsupportedError("expected an output quantized as the input, found another scale or zero point")
    if inferred.np_dtype.kind not in "iu":
        raise UnsupportedError(f"expected a quantized tensor of integers, found {inferred.dtype}")
    check_quant(replace(inferred, quant=quant))
    return replace(inferred, quant=quant)


def check_quant(kind: TensorType) -> None:
    """Raises UnsupportedError unless the scales of a quantized type fit its shape."""
    quant = kind.quant
    if quant is None or quant.axis is None:
        return
    rank = len(kind.shape)
    size = kind.shape[quant.axis] if -rank <= quant.axis < rank else None
    if size is None or (isinstance(size, int) and quant.scale.shape != (size,)):
        raise UnsupportedError(
            f"expected one scale for each index of axis {quant.axis} of {kind.shape}, found {quant.scale.shape}"
        )


def fold(graph: Graph, node: Node, values: Mapping[str, Array]) -> dict[str, Array]:
    """Values of the outputs of `node` when they can be known now, else {}."""
    inputs = [name for name in node.inputs if name]
    if node.op in ("Shape", "Size") and graph.types[inputs[0]].is_static:
        return {node.outputs[0]: shape_value(node, graph.types[inputs[0]].static_shape)}
    outputs = [name for name in node.outputs if name]
    if any(name not in values for name in inputs) or not small(graph, [*inputs, *outputs]):
        return {}
    arrays = [values[name] if name else None for name in node.inputs]
    try:
        return evaluate_node(graph, node, arrays)
    except EdgertError as error:
        raise UnsupportedError(f"{where(node)}: {error}") from None


def small(graph: Graph, names: Sequence[str]) -> bool:
    """Whether all tensors have a known shape, at most FOLD_LIMIT elements, and no quantization to lose."""
    kinds = [graph.types[name] for name in names]
    return all(k.quant is None and k.is_static and k.numel <= FOLD_LIMIT for k in kinds)


def shape_value(node: Node, shape: tuple[int, ...]) -> Array:
    """The value of Shape or Size of a tensor of `shape`, int64. Source: ONNX Shape-15, Size-13."""
    if node.op == "Size":
        return np.asarray(np.prod(shape, dtype=np.int64))
    chosen = shape[node.attr_int("start", 0) : node.attr_int("end", len(shape))]
    return np.asarray(chosen, np.int64)
