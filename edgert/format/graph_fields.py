"""The graph in the header: nodes, types and inline quantization, to JSON and back (rules F17 to F22, F39, F54, F55).

Structure is judged here: names, order, kinds, sizes. Whether an operator is known, and whether its inputs
fit, is the business of shape inference and of the plan.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from edgert.errors import FormatError
from edgert.format import encodings
from edgert.format.fields import Value
from edgert.format.limits import (
    MAX_ATTRIBUTE_ITEMS,
    MAX_ATTRIBUTES,
    MAX_BODY_DEPTH,
    MAX_NODE_TENSORS,
    MAX_NODES,
    MAX_RANK,
    MAX_TENSOR_BYTES,
    MAX_TENSORS,
)
from edgert.graph.ir import DTYPES, Attr, Dim, Graph, Node, Quantization, TensorType

_INFINITE = {"inf": math.inf, "-inf": -math.inf}
"""JSON has no infinity; an open clip bound is written {"float": "inf"}."""


def graph_from(value: Value, stored: Collection[str], depth: int = 0) -> Graph:
    """The graph, with the types of all but the `stored` tensors. depth: of a body in bodies, 0 for the model.

    Raises FormatError.
    """
    table = value.fields(("name", "inputs", "outputs", "nodes", "types"), () if depth else ("states", "initial"))
    graph = Graph(name=table["name"].line())
    graph.types = {name: type_from(item) for name, item in table["types"].table(MAX_TENSORS).items()}
    defined = set(stored)

    def define(item: Value) -> str:
        name = item.name()
        if name in defined:
            item.fail("the name of a tensor that is not defined yet", f"{name!r} again")
        defined.add(name)
        return name

    def used(item: Value) -> str:
        name = item.name()
        if name not in defined:
            item.fail("a tensor defined by an input, a stored tensor or an earlier node", repr(name))
        return name

    graph.inputs = [define(item) for item in table["inputs"].items(MAX_TENSORS)]
    node_names: set[str] = set()
    for item in table["nodes"].items(MAX_NODES):
        graph.nodes.append(node := _node_from(item, define, used, stored, depth))
        if node.name and node.name in node_names:
            item.fail("a node with a name of its own", f"{node.name!r} twice")
        node_names.add(node.name)
    outputs = table["outputs"].items(MAX_TENSORS)
    graph.outputs = [used(item) for item in outputs]
    if not outputs or len(set(graph.outputs)) != len(outputs):
        table["outputs"].fail("at least one output, each once")
    for name in graph.types:
        if name not in defined or name in stored:
            table["types"].fail("of inputs and of node outputs only", f"a type of {name!r}")
    for name in (*graph.inputs, *graph.outputs) if depth == 0 else ():
        if name not in graph.types and name not in stored:
            table["types"].fail("complete for inputs and outputs", f"no type of {name!r}")
    if "states" in table:
        graph.states = _states_from(table["states"], graph)
    return graph


def initial_from(value: Value, graph: Graph, stored: Mapping[str, tuple[str, tuple[int, ...]]]) -> dict[str, str]:
    """Past -> the stored tensor with its first value, of the same dtype and shape. stored: name -> (dtype, shape)."""
    initial: dict[str, str] = {}
    for past, item in value.table(MAX_TENSORS).items():
        if past not in graph.states:
            item.fail("the first value of a state", repr(past))
        if (name := item.name()) not in stored:
            item.fail("a stored tensor", repr(name))
        kind = graph.types[past]
        if stored[name] != (kind.dtype, kind.shape):
            item.fail(
                f"of the state's type, {kind.dtype} {list(kind.shape)}", f"{stored[name][0]} {list(stored[name][1])}"
            )
        initial[past] = name
    return initial


def graph_to(graph: Graph, stored: Collection[str]) -> dict[str, Any]:
    """The JSON object of the graph. Types of tensors that nothing defines any more are left out."""
    live = dict.fromkeys([*graph.inputs, *(name for node in graph.nodes for name in node.outputs if name)])
    table: dict[str, Any] = {
        "name": graph.name,
        "inputs": list(graph.inputs),
        "outputs": list(graph.outputs),
        "nodes": [_node_to(node, stored) for node in graph.nodes],
        "types": {name: type_to(graph.types[name]) for name in live if name in graph.types and name not in stored},
    }
    if graph.states:
        table["states"] = graph.states
    if graph.initial:
        table["initial"] = {past: initial_name(past) for past in graph.initial}
    return table


def initial_name(past: str) -> str:
    """The stored tensor that has the first value of a state."""
    return f"{past}.initial"


def _states_from(value: Value, graph: Graph) -> dict[str, str]:
    """Past input -> present output, of one type, each once."""
    inputs = set(graph.inputs)
    free = {name for node in graph.nodes for name in node.outputs} & set(graph.outputs)
    states: dict[str, str] = {}
    for past, item in value.table(MAX_TENSORS).items():
        if past not in inputs:
            item.fail("the state of an input of the graph", repr(past))
        if (present := item.name()) not in free:
            item.fail("an output of the graph that a node makes, for one state only")
        if graph.types[past] != graph.types[present]:
            item.fail("of the same type as its input", "another")
        free.remove(present)
        states[past] = present
    return states


def _node_from(value: Value, define: Any, used: Any, stored: Collection[str], depth: int) -> Node:
    table = value.fields(("op", "name", "inputs", "outputs", "attrs"), ("graphs",))
    inputs = [used(item) if item.raw != "" else "" for item in table["inputs"].items(MAX_NODE_TENSORS)]
    outputs = [define(item) if item.raw != "" else "" for item in table["outputs"].items(MAX_NODE_TENSORS)]
    if not any(outputs):
        table["outputs"].fail("at least one named output")
    attrs = table["attrs"].table(MAX_ATTRIBUTES, identifiers=True)
    graphs: dict[str, Graph] = {}
    if "graphs" in table:
        if depth >= MAX_BODY_DEPTH:
            table["graphs"].fail(f"absent in bodies nested {MAX_BODY_DEPTH} deep")
        bodies = table["graphs"].table(MAX_ATTRIBUTES, identifiers=True)
        graphs = {key: graph_from(item, stored, depth + 1) for key, item in bodies.items()}
    return Node(
        table["op"].identifier(), tuple(inputs), tuple(outputs),
        {key: _attr_from(item) for key, item in attrs.items()}, table["name"].line(), graphs,
    )  # fmt: skip


def _node_to(node: Node, stored: Collection[str]) -> dict[str, Any]:
    table: dict[str, Any] = {
        "op": node.op,
        "name": node.name,
        "inputs": list(node.inputs),
        "outputs": list(node.outputs),
        "attrs": {key: _attr_to(value) for key, value in node.attrs.items()},
    }
    if node.graphs:
        table["graphs"] = {key: graph_to(graph, stored) for key, graph in node.graphs.items()}
    return table


def _attr_from(value: Value) -> Attr:
    if not isinstance(value.raw, list):
        return _scalar_from(value)
    items: list[Any] = [_scalar_from(item) for item in value.items(MAX_ATTRIBUTE_ITEMS)]
    if len({type(item) for item in items}) > 1:
        value.fail("a list of integers, of floats or of strings", "a mixed list")
    return items


def _scalar_from(value: Value) -> int | float | str:
    if isinstance(value.raw, str):
        return value.text()
    if isinstance(value.raw, dict):
        return _INFINITE[value.fields(("float",))["float"].one_of(_INFINITE)]
    if type(value.raw) is int:
        return value.integer(-(2**63), 2**63 - 1)
    return value.real()


def _attr_to(value: Any) -> Any:
    """Attributes as the IR has them, and their NumPy and bool equals, which Python code makes easily."""
    if isinstance(value, (list, tuple)):
        items = [_attr_to(item) for item in value]
        if any(isinstance(item, (float, dict)) for item in items):
            items = [float(item) if isinstance(item, int) else item for item in items]
        return items
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, float) and math.isinf(value):
        return {"float": "inf" if value > 0 else "-inf"}
    return value


def dtype_from(value: Value) -> str:
    return value.one_of(DTYPES)


def shape_from(value: Value, itemsize: int, *, named: bool) -> tuple[Dim, ...]:
    """At most MAX_RANK sizes >= 0 (or names, if `named`), of at most MAX_TENSOR_BYTES in all.

    A size of 0 counts as 1 in that product, because array libraries multiply the other sizes too.
    """
    dims: list[Dim] = []
    nbytes = itemsize
    for item in value.items(MAX_RANK):
        if named and isinstance(item.raw, str):
            dims.append(item.name())
        else:
            dims.append(size := item.integer(0, MAX_TENSOR_BYTES))
            nbytes *= max(size, 1)
    if nbytes > MAX_TENSOR_BYTES:
        value.fail(f"the shape of at most {MAX_TENSOR_BYTES} bytes", f"{nbytes} bytes")
    return tuple(dims)


def type_from(value: Value) -> TensorType:
    table = value.fields(("dtype", "shape"), ("quant",))
    dtype = dtype_from(table["dtype"])
    shape = shape_from(table["shape"], DTYPES[dtype].itemsize, named=True)
    quant = quant_from(table["quant"], dtype, shape) if "quant" in table else None
    return TensorType(dtype, shape, quant)


def type_to(kind: TensorType) -> dict[str, Any]:
    table: dict[str, Any] = {"dtype": kind.dtype, "shape": list(kind.shape)}
    if kind.quant is not None:
        table["quant"] = quant_to(kind.quant)
    return table


def quant_from(value: Value, dtype: str, shape: tuple[Dim, ...]) -> Quantization:
    """Inline quantization: {scale, zero_point}, numbers; with `axis`, lists as long as that axis."""
    table = value.fields(("scale", "zero_point"), ("axis",))
    if dtype not in encodings.QUANTIZED_DTYPES:
        value.fail(f"absent, for only {', '.join(encodings.QUANTIZED_DTYPES)} are quantized", dtype)
    if "axis" not in table:
        scale = np.float32(_float32_from(table["scale"]))
        zero = np.int32(table["zero_point"].integer(-(2**31), 2**31 - 1))
        quant = Quantization(np.asarray(scale), np.asarray(zero))
    else:
        axis = axis_from(table["axis"], shape)
        scales = [_float32_from(item) for item in table["scale"].items(MAX_ATTRIBUTE_ITEMS)]
        zeros = [v.integer(-(2**31), 2**31 - 1) for v in table["zero_point"].items(MAX_ATTRIBUTE_ITEMS)]
        size = shape[axis]
        if len(scales) != len(zeros) or (isinstance(size, int) and len(scales) != size):
            value.fail(f"as long as the axis, {size}", f"{len(scales)} scales, {len(zeros)} zero points")
        quant = Quantization(np.array(scales, np.float32), np.array(zeros, np.int32), axis)
    try:
        encodings.check_scale(quant.scale)
        encodings.check_zero_point(quant.zero_point, dtype)
    except FormatError as error:
        value.fail(f"of {error.expected}", error.found)
    return quant


def quant_to(quant: Quantization) -> dict[str, Any]:
    # As float64, whose shortest decimal gives back exactly this float32.
    table: dict[str, Any] = {
        "scale": quant.scale.astype(np.float64).tolist(),
        "zero_point": quant.zero_point.tolist(),
    }
    return table if quant.axis is None else table | {"axis": quant.axis}


def axis_from(value: Value, shape: tuple[Dim, ...]) -> int:
    if not shape:
        value.fail("absent, for a scalar has no axis")
    return value.integer(0, len(shape) - 1)


def _float32_from(value: Value) -> float:
    number = value.real()
    if abs(number) > float(np.finfo(np.float32).max) or float(np.float32(number)) != number:
        value.fail("exactly a float32 number")
    return number
