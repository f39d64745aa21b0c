"""Rewrites operators edgert lacks by the function that ONNX defines for them.
Operators without such a function stay, for the importer to report."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from edgert.converters.onnx.captures import bodies
from edgert.converters.onnx.captures import rename as rename_captured
from edgert.converters.onnx.hints import Hint, infer_values
from edgert.converters.onnx.reader import MAX_NODES, OnnxModel, OnnxNode, read_nodes
from edgert.converters.onnx.tensors import NARROW_NUMBERS, TYPE_NUMBERS
from edgert.errors import FormatError, UnsupportedError

if TYPE_CHECKING:
    from onnx import FunctionProto, NodeProto, TypeProto

PREVIEW = "ai.onnx.preview"
"""The domain of operators that ONNX tries out: they are functions of those it has."""
MAX_DEPTH = 8
"""Bodies are written in simpler operators; ONNX itself nests three deep at most."""


def expand_functions(
    model: OnnxModel, hints: dict[str, Hint], supported: Callable[[OnnxNode], bool], notes: list[str]
) -> None:
    """Expands, in place, every node that is not `supported` and has a function body."""
    for _ in range(MAX_DEPTH):
        nodes: list[OnnxNode] = []
        for node in model.nodes:
            body = None if supported(node) or node.domain not in ("", PREVIEW) else _body(model, node, hints)
            if body is not None:
                notes.append(f"{node.op} {node.name!r} is written out as {len(body)} simpler operators")
            nodes.extend([node] if body is None else body)
            if len(nodes) > MAX_NODES:
                raise FormatError(model.path, None, f"at most {MAX_NODES} nodes, functions written out", "more")
        changed = len(nodes) != len(model.nodes) or any(a is not b for a, b in zip(nodes, model.nodes, strict=True))
        model.nodes = nodes
        if not changed:
            return


def _body(model: OnnxModel, node: OnnxNode, hints: dict[str, Hint]) -> list[OnnxNode] | None:
    """The nodes `node` stands for, named after it; None when ONNX defines no function."""
    import onnx

    if node.unreadable:
        return None
    try:
        schema: Any = onnx.defs.get_schema(node.op, node.opset, node.domain)
    except onnx.defs.SchemaError:
        return None
    proto = onnx.helper.make_node(node.op, node.inputs, node.outputs, node.name, domain=node.domain)
    for key, value in node.attrs.items():
        held = onnx.numpy_helper.from_array(value) if isinstance(value, np.ndarray) else value
        attribute = schema.attributes.get(key)
        if attribute is None:
            return None
        proto.attribute.append(onnx.helper.make_attribute(key, held, attr_type=attribute.type.value))
    proto.attribute.extend(onnx.helper.make_attribute(key, graph) for key, graph in node.graphs.items())
    types = [_type(hints.get(name), name, model) for name in node.inputs]
    function = onnx.FunctionProto()
    try:
        if schema.has_function:
            version = _version(schema.function_opset_versions, node.opset)
            function.ParseFromString(schema.get_function_with_opset_version(version))
        elif schema.has_context_dependent_function:
            version = _version(schema.context_dependent_function_opset_versions, node.opset)
            text = schema.get_context_dependent_function_with_opset_version(
                version, proto.SerializeToString(), [t.SerializeToString() for t in types]
            )
            function.ParseFromString(text)
    except Exception:  # a body that cannot be built for these inputs is no body
        return None
    return _inlined(model, node, proto, function, types, hints) if function.node else None


def _version(available: list[int], opset: int) -> int:
    """The body written for the newest opset up to the model's; what the body means does not depend on it."""
    return max((v for v in available if v <= opset), default=min(available))


def _type(hint: Hint | None, name: str, model: OnnxModel) -> TypeProto:
    import onnx

    if name in model.constants:
        array = model.constants[name]
        hint = Hint(array.dtype.name, tuple(array.shape), model.narrow.get(name, ""))
    if not name or hint is None or not hint.dtype:
        return onnx.TypeProto()
    number = NARROW_NUMBERS[hint.narrow] if hint.narrow else TYPE_NUMBERS[hint.dtype]
    return onnx.helper.make_tensor_type_proto(number, hint.shape)


def _inlined(
    model: OnnxModel,
    node: OnnxNode,
    proto: NodeProto,
    function: FunctionProto,
    types: list[TypeProto],
    hints: dict[str, Hint],
) -> list[OnnxNode] | None:
    import onnx

    given = {a.name: a for a in proto.attribute}
    schema: Any = onnx.defs.get_schema(node.op, node.opset, node.domain)
    for name, attribute in schema.attributes.items():
        if attribute.default_value.name:
            given.setdefault(name, attribute.default_value)
    rename = {"": ""}
    rename.update((formal, node.input(i)) for i, formal in enumerate(function.input))
    rename.update(
        (formal, node.outputs[i] if i < len(node.outputs) else "") for i, formal in enumerate(function.output)
    )
    for inner in function.node:
        for name in (*inner.input, *inner.output):
            if not rename.get(name) and name:
                rename[name] = f"{node.name or node.outputs[0]}/{name}"
        inner.name = f"{node.name}/{inner.name or inner.op_type}"
        _bind(inner, given)
    for inner in function.node:
        inner.input[:] = [rename[name] for name in inner.input]
        inner.output[:] = [rename[name] for name in inner.output]
        for body in bodies(inner):
            rename_captured(body, rename)
    opsets = {"": node.opset if not node.domain else model.opsets.get("", 1)}
    opsets |= {entry.domain: entry.version for entry in function.opset_import}
    _infer(model, node, function, types, hints, opsets)
    try:
        return read_nodes(function.node, opsets, model.path, None, model.constants, model.unreadable, model.narrow)
    except (FormatError, UnsupportedError):
        return None


def _bind(inner: NodeProto, given: dict[str, Any]) -> None:
    """Replaces references to the function's attributes by their values; absent ones are left out."""
    for body in bodies(inner):
        for node in body.node:
            _bind(node, given)
    kept = []
    for attribute in inner.attribute:
        if attribute.ref_attr_name:
            if attribute.ref_attr_name not in given:
                continue
            bound = type(attribute)()
            bound.CopyFrom(given[attribute.ref_attr_name])
            bound.name = attribute.name
            attribute = bound
        kept.append(type(attribute).FromString(attribute.SerializeToString()))
    del inner.attribute[:]
    inner.attribute.extend(kept)


def _infer(
    model: OnnxModel, node: OnnxNode, function: FunctionProto, types: list[TypeProto], hints: dict[str, Hint],
    opsets: dict[str, int],
) -> None:  # fmt: skip
    """Adds hints for the tensors inside the body."""
    import onnx

    inputs = [
        onnx.helper.make_value_info(name, kind)
        for name, kind in dict(zip(node.inputs, types, strict=True)).items()
        if name and kind.HasField("tensor_type")
    ]
    outputs = [onnx.ValueInfoProto(name=name) for name in node.outputs if name]
    small = [
        onnx.numpy_helper.from_array(model.constants[name], name)
        for name in dict.fromkeys(node.inputs)
        if name in model.constants and model.constants[name].size <= 64 and name not in model.narrow
    ]
    graph = onnx.helper.make_graph(list(function.node), "body", inputs, outputs, small)
    imports = [onnx.helper.make_opsetid(domain, version) for domain, version in opsets.items()]
    for name, hint in infer_values(onnx.helper.make_model(graph, opset_imports=imports), model).items():
        if name not in hints or not hints[name].dtype:
            hints[name] = hint
