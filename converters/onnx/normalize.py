"""The table of lifts, ONNX operator -> function that writes its canonical form, and the default lift.
Which operators need one is decided in the `normalize_*` modules; `graph/ir.py` defines canonical form."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np

from edgert.converters.onnx.builder import LAYOUT, Builder, Refused
from edgert.converters.onnx.reader import OnnxNode
from edgert.graph.ir import Attr
from edgert.graph.operators import OPERATORS

LiftFn: TypeAlias = Callable[[Builder, OnnxNode], None]

LIFTS: dict[tuple[str, str], LiftFn] = {}
"""(domain, operator) -> lift."""


def lift(*ops: str, domain: str = "") -> Callable[[LiftFn], LiftFn]:
    """Registers the decorated function as the lift of each operator in `ops`."""

    def register(function: LiftFn) -> LiftFn:
        for op in ops:
            if (domain, op) in LIFTS:
                raise AssertionError(f"operator {op} has two lifts")
            LIFTS[domain, op] = function
        return function

    return register


OLD: dict[str, LiftFn] = {}
"""Operator of the default domain -> function that rewrites a node of opset 1 to 6 to the form of opset 7, in place."""


def older_than_7(*ops: str) -> Callable[[LiftFn], LiftFn]:
    """Registers the decorated function for nodes of opset 1 to 6 with an operator in `ops`."""

    def register(function: LiftFn) -> LiftFn:
        OLD.update(dict.fromkeys(ops, function))
        return function

    return register


def supported(node: OnnxNode) -> bool:
    """Whether the operator is known, natively or by a lift; its form may still be refused."""
    return (node.domain, node.op) in LIFTS or (node.domain == "" and node.op in OPERATORS)


def lift_node(builder: Builder, node: OnnxNode) -> None:
    """Writes `node` into the graph. Raises Refused."""
    check_schema(node)
    if not node.domain and node.opset < 7:
        node = replace(node, inputs=list(node.inputs), attrs=dict(node.attrs))
        if node.op in OLD:
            OLD[node.op](builder, node)
        node.opset = 7
    LIFTS.get((node.domain, node.op), as_is)(builder, node)


def as_is(builder: Builder, node: OnnxNode) -> None:
    """The default lift: name, inputs and attributes are already canonical."""
    rename(builder, node, node.op)


def rename(builder: Builder, node: OnnxNode, op: str, drop: Collection[str] = ()) -> None:
    """Writes `node` as operator `op` with the same inputs, and its attributes without those in `drop`."""
    builder.emit(node, op, arguments(builder, node, op), attributes(node, drop))


def arguments(builder: Builder, node: OnnxNode, op: str) -> list[str]:
    """The IR inputs of `node`, written as operator `op`."""
    data = LAYOUT.get(op, ())
    return [
        builder.data(name) if data is None or i in data else builder.use(name) for i, name in enumerate(node.inputs)
    ]


def attributes(node: OnnxNode, drop: Collection[str] = ()) -> dict[str, Attr]:
    """The attributes of `node` that the IR can hold. Raises Refused for a tensor attribute."""
    kept: dict[str, Attr] = {}
    for key, value in node.attrs.items():
        if key in drop:
            continue
        if isinstance(value, np.ndarray):
            raise Refused(key, "pass the tensor as an input instead of an attribute")
        kept[key] = value
    return kept


def check_schema(node: OnnxNode) -> None:
    """Holds a node of a domain `onnx` knows against its schema. Raises Refused."""
    import onnx

    if node.unreadable:
        key, kind = next(iter(node.unreadable.items()))
        raise Refused(key, f"{kind} is not supported; replace it in the exporting program")
    if not node.outputs or not any(node.outputs):
        raise Refused("", "a node without outputs has no meaning; remove it")
    if node.domain:
        return
    try:
        schema: Any = onnx.defs.get_schema(node.op, node.opset, node.domain)
    except onnx.defs.SchemaError:
        if ("", node.op) in LIFTS:  # one that ONNX Runtime has put among those of ONNX
            return
        raise Refused("", f"opset {node.opset} has no such operator; check the exporter") from None
    if schema.deprecated and (node.domain, node.op) not in LIFTS:
        raise Refused("", f"the operator is deprecated in opset {node.opset}; export its successor")
    if node.graphs and (node.domain, node.op) not in LIFTS:
        raise Refused(next(iter(node.graphs)), "a graph attribute is not supported here")
    for key, value in node.attrs.items():
        if key not in schema.attributes:
            raise Refused(key, f"opset {node.opset} has no such attribute; check the exporter")
        if not _fits(value, schema.attributes[key].type.name):
            raise Refused(key, f"expected a value of kind {schema.attributes[key].type.name}")
    for key, attribute in schema.attributes.items():
        if attribute.required and key not in node.attrs and key not in node.graphs:
            raise Refused(key, "the attribute is required; check the exporter")
    given = sum(1 for name in node.inputs if name)
    if given < schema.min_input or len(node.inputs) > schema.max_input:
        raise Refused("", f"expected {schema.min_input} to {schema.max_input} inputs, found {given}")
    if len(node.outputs) > schema.max_output:
        raise Refused("", f"expected at most {schema.max_output} outputs, found {len(node.outputs)}")


def _fits(value: object, kind: str) -> bool:
    kinds: dict[str, type] = {"INT": int, "FLOAT": float, "STRING": str, "TENSOR": np.ndarray}
    if kind in kinds:
        return isinstance(value, kinds[kind])
    item = kinds.get(kind.removesuffix("S"))
    return item is not None and isinstance(value, list) and all(isinstance(v, item) for v in value)
