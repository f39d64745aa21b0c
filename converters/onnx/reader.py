"""Reads an .onnx file into `OnnxModel`: parsed, checked and with every constant at hand.
Older operator forms are still there; `normalize.py` and the `lift_*` modules see to them."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgert.converters.onnx.captures import captured_names
from edgert.converters.onnx.external_data import ExternalData
from edgert.converters.onnx.tensors import MAX_RANK, NARROW_TYPES, to_array, type_name
from edgert.errors import FormatError, UnsupportedError
from edgert.graph.ir import Array, Dim

if TYPE_CHECKING:
    from onnx import (
        AttributeProto,
        FunctionProto,
        GraphProto,
        ModelProto,
        NodeProto,
        TensorProto,
        ValueInfoProto,
    )

MAX_FILE_BYTES = 2**31 - 1
"""What protobuf can hold; larger models keep their weights in external data."""

MAX_NODES = 100_000
"""After inlining; real networks have a few thousand, and functions can multiply without bound."""

MAX_INLINED_BYTES = 1 << 30
"""Of all function bodies, each counted as often as it is called: they hold constants too."""

MAX_SHAPE_VALUES = 64
"""Initializers up to this size stay in the skeleton."""

MIN_OPSET = 1
"""Older forms are rewritten by `normalize_old.py` and the lift of each operator."""

MICROSOFT = "com.microsoft"
"""The domain of ONNX Runtime's own operators."""


@dataclass
class OnnxNode:
    """A node with Python attributes. `opset` is the version of its domain that it was written for.

    attrs: int, float, str, lists of them, or an ndarray for a tensor attribute.
    unreadable: attributes whose kind (a sparse tensor ...) has no place here, with the kind. graphs: bodies of
    control flow, and captured: the tensors around the node that they read. narrow: the element type of tensor
    attributes whose values are held in a wider one.
    """

    op: str
    domain: str
    opset: int
    inputs: list[str]
    outputs: list[str]
    attrs: dict[str, Any]
    name: str
    unreadable: dict[str, str] = field(default_factory=dict)
    graphs: dict[str, GraphProto] = field(default_factory=dict)
    captured: list[str] = field(default_factory=list)
    narrow: dict[str, str] = field(default_factory=dict)

    def has(self, index: int) -> bool:
        """Whether input number `index` is given."""
        return index < len(self.inputs) and self.inputs[index] != ""

    def input(self, index: int) -> str:
        """Input number `index`, '' when absent."""
        return self.inputs[index] if index < len(self.inputs) else ""


@dataclass
class OnnxValue:
    """A graph input or output: dtype by NumPy name, shape None when the file does not say."""

    name: str
    dtype: str
    shape: tuple[Dim, ...] | None


@dataclass
class OnnxModel:
    """One file. `constants` has initializers and the values of Constant nodes.

    `skeleton` is the parsed model without initializer values, for type inference by `onnx`.
    `unreadable` names constants whose element type has no place in the IR, with the reason; `narrow` those whose
    values are held in a wider type, with their own.
    """

    path: Path
    name: str
    opsets: dict[str, int]
    inputs: list[OnnxValue]
    outputs: list[OnnxValue]
    nodes: list[OnnxNode]
    constants: dict[str, Array]
    unreadable: dict[str, str]
    skeleton: ModelProto
    narrow: dict[str, str] = field(default_factory=dict)
    waited: list[float] = field(default_factory=lambda: [0.0])
    """Seconds spent on type inference so far: one number, shared with the bodies of the model."""


def read_onnx(path: str | Path) -> OnnxModel:
    """Reads and checks `path`. Model-local functions are inlined.

    Raises FormatError when the file is not a well-formed ONNX model, UnsupportedError when its versions
    are older or newer than edgert reads.
    """
    path = Path(path)
    model = _parse(path)
    _check_text(model, path)
    opsets = _versions(model, path)
    external = ExternalData(path)
    constants: dict[str, Array] = {}
    unreadable: dict[str, str] = {}
    narrow: dict[str, str] = {}
    graph = model.graph
    if graph.sparse_initializer:
        name = graph.sparse_initializer[0].values.name
        raise UnsupportedError(
            f"{path}: expected dense initializers, found the sparse_initializer {name!r}; store it densely"
        )
    for tensor in graph.initializer:
        if not tensor.name or tensor.name in constants or tensor.name in unreadable:
            raise FormatError(path, None, "initializers with a name each of their own", repr(tensor.name[:80]))
        try:
            constants[tensor.name] = to_array(tensor, external, path)
            if tensor.data_type in NARROW_TYPES:
                narrow[tensor.name] = NARROW_TYPES[tensor.data_type]
        except UnsupportedError as error:
            unreadable[tensor.name] = str(error)
    _strip(model)
    if model.functions:
        _inline(model, path)
        graph = model.graph
    known = constants.keys() | unreadable.keys()
    inputs = [_value(info, path, "input") for info in graph.input if info.name not in known]
    outputs = [_value(info, path, "output") for info in graph.output]
    if not outputs:
        raise FormatError(path, None, "a graph with outputs", "none")
    nodes = read_nodes(graph.node, opsets, path, external, constants, unreadable, narrow)
    _check_order(path, inputs, outputs, nodes, known | constants.keys() | unreadable.keys())
    name = graph.name or path.stem
    return OnnxModel(path, name, opsets, inputs, outputs, nodes, constants, unreadable, model, narrow)


def read_nodes(
    protos: Any,
    opsets: dict[str, int],
    path: Path,
    external: ExternalData | None,
    constants: dict[str, Array],
    unreadable: dict[str, str],
    narrow: dict[str, str],
) -> list[OnnxNode]:
    """The nodes of a graph or function body; values of Constant nodes go to `constants` instead, and to `narrow` the
    types of those held in a wider one."""
    nodes: list[OnnxNode] = []
    for index, proto in enumerate(protos):
        node = _node(proto, index, opsets, path, external)
        if node.op != "Constant" or node.domain:
            nodes.append(node)
            continue
        if len(node.outputs) != 1 or node.outputs[0] in constants:
            raise FormatError(path, None, "a Constant with one output of its own", f"{node.outputs[:4]}")
        if node.unreadable:
            attribute, kind = next(iter(node.unreadable.items()))
            unreadable[node.outputs[0]] = f"Constant attribute {attribute} is {kind}"
        else:
            constants[node.outputs[0]] = _constant(node, path)
            if "value" in node.narrow:
                narrow[node.outputs[0]] = node.narrow["value"]
    return nodes


def _parse(path: Path) -> ModelProto:
    import onnx
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

    try:
        size = path.stat().st_size
        if not path.is_file():
            raise FormatError(path, None, "an .onnx file", "something that is not a regular file")
        if size == 0 or size > MAX_FILE_BYTES:
            raise FormatError(
                path, None, f"1 to {MAX_FILE_BYTES} bytes", f"{size}", "keep larger weights as external data"
            )
        data = path.read_bytes()
    except OSError as error:
        raise FormatError(path, None, "a readable .onnx file", error.strerror or str(error)) from error
    model = onnx.ModelProto()
    try:
        model.ParseFromString(data)
    except (DecodeError, RecursionError, ValueError) as error:
        raise FormatError(path, None, "an ONNX ModelProto", f"bytes that do not parse ({error})") from error
    if not model.HasField("graph") or not model.opset_import:
        raise FormatError(path, None, "an ONNX model with a graph and opset_import", "none")
    return model


def _check_text(message: Any, path: Path) -> None:
    """Raises FormatError for a name that is not UTF-8, which protobuf hands over as bytes."""
    for slot, value in message.ListFields():
        if slot.type not in (slot.TYPE_STRING, slot.TYPE_MESSAGE) or slot.name == "doc_string":
            continue
        for item in [value] if isinstance(value, str | bytes) or hasattr(value, "ListFields") else value:
            if slot.type == slot.TYPE_MESSAGE:
                _check_text(item, path)
            elif isinstance(item, bytes):
                raise FormatError(path, None, f"UTF-8 in {slot.full_name}", repr(item[:40]))


def _versions(model: ModelProto, path: Path) -> dict[str, int]:
    import onnx

    if not 3 <= model.ir_version <= onnx.IR_VERSION:
        raise UnsupportedError(
            f"{path}: expected ONNX ir_version 3 to {onnx.IR_VERSION}, found {model.ir_version}; "
            "export the model for another version, or install a newer onnx"
        )
    opsets: dict[str, int] = {}
    for entry in model.opset_import:
        domain = "" if entry.domain == "ai.onnx" else entry.domain
        if opsets.setdefault(domain, entry.version) != entry.version:
            raise FormatError(path, None, f"one version of opset {domain!r}", "two")
    newest = onnx.defs.onnx_opset_version()
    if not MIN_OPSET <= opsets.get("", newest) <= newest:
        raise UnsupportedError(
            f"{path}: expected ONNX opset {MIN_OPSET} to {newest}, found {opsets['']}; "
            "convert it with onnx.version_converter, or install a newer onnx"
        )
    if opsets.get(MICROSOFT, 1) != 1:
        raise UnsupportedError(f"{path}: expected {MICROSOFT} opset 1, found {opsets[MICROSOFT]}")
    return opsets


def _strip(model: ModelProto) -> None:
    """Replaces large initializers by graph inputs of the same type, which is all that type inference needs.
    Small ones stay: inference reads shapes, axes and scales from them."""
    import onnx

    graph = model.graph
    declared = {info.name for info in graph.input}
    small: list[TensorProto] = []
    for tensor in graph.initializer:
        if math.prod(tensor.dims) <= MAX_SHAPE_VALUES and tensor.data_location != tensor.EXTERNAL:
            small.append(tensor)
        elif tensor.name not in declared:
            graph.input.append(onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims)))
    kept = [onnx.TensorProto.FromString(tensor.SerializeToString()) for tensor in small]
    del graph.initializer[:]
    graph.initializer.extend(kept)


def _inline(model: ModelProto, path: Path) -> None:
    """Inlines model-local functions in place, after proving that the result is finite and small enough."""
    import onnx
    from onnx.inliner import inline_local_functions

    functions = {(f.domain, f.name): f for f in model.functions}
    if len(functions) != len(model.functions):
        raise UnsupportedError(f"{path}: expected functions without overloads, found two of one name")
    sizes: dict[tuple[str, str], tuple[int, int]] = {}
    total, held = _expanded(model.graph, functions, sizes, set(), path)
    if total > MAX_NODES:
        raise FormatError(path, None, f"at most {MAX_NODES} nodes after inlining functions", f"{total}")
    if held > MAX_INLINED_BYTES + model.graph.ByteSize():
        raise FormatError(path, None, f"at most {MAX_INLINED_BYTES} bytes of inlined functions", f"{held}")
    try:
        inlined = inline_local_functions(model)
    except (RuntimeError, onnx.checker.ValidationError) as error:
        raise FormatError(path, None, "functions that can be inlined", str(error)[:300]) from error
    model.CopyFrom(inlined)


def _expanded(
    body: GraphProto | FunctionProto,
    functions: dict[tuple[str, str], FunctionProto],
    sizes: dict[tuple[str, str], tuple[int, int]],
    open_calls: set[tuple[str, str]],
    path: Path,
) -> tuple[int, int]:
    """(nodes, bytes) of `body` once every call in it is inlined. Raises FormatError on recursion."""
    total, held = 0, body.ByteSize()
    for node in body.node:
        key = (node.domain, node.op_type)
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs) if attribute.type in (5, 10) else ():
                nodes, size = _expanded(inner, functions, sizes, open_calls, path)
                total, held = total + nodes, held + size - inner.ByteSize()
        if key not in functions:
            total += 1
            continue
        if key not in sizes:
            if key in open_calls or len(open_calls) > 100:
                raise FormatError(path, None, "functions that do not call themselves", f"{key[1]!r} does")
            sizes[key] = _expanded(functions[key], functions, sizes, open_calls | {key}, path)
        total, held = total + sizes[key][0], held + sizes[key][1]
    return total, held


def _value(info: ValueInfoProto, path: Path, role: str) -> OnnxValue:
    kind = info.type
    if not kind.HasField("tensor_type"):
        found = kind.WhichOneof("value") or "no type"
        raise UnsupportedError(f"{path}: expected {role} {info.name!r} to be a tensor, found {found}")
    try:
        dtype = type_name(kind.tensor_type.elem_type)
    except UnsupportedError as error:
        raise UnsupportedError(f"{path}: {role} {info.name!r}: {error}") from error
    if not kind.tensor_type.HasField("shape"):
        if role == "input":
            raise UnsupportedError(
                f"{path}: expected a shape for input {info.name!r}, found none; "
                "name its dimensions, for example with onnx.tools.update_model_dims"
            )
        return OnnxValue(info.name, dtype, None)
    return OnnxValue(info.name, dtype, dims_of(info.name, kind.tensor_type.shape.dim, path))


def dims_of(name: str, dims: Any, path: Path | None = None) -> tuple[Dim, ...]:
    """The dimensions of a TensorShapeProto; a size nobody named is called after the tensor and axis."""
    if len(dims) > MAX_RANK:
        raise FormatError(path, None, f"rank at most {MAX_RANK} ({name!r})", f"{len(dims)}")
    return tuple(
        int(d.dim_value) if d.HasField("dim_value") and d.dim_value >= 0 else (d.dim_param or f"{name}_dim{axis}")
        for axis, d in enumerate(dims)
    )


def _node(proto: NodeProto, index: int, opsets: dict[str, int], path: Path, external: ExternalData | None) -> OnnxNode:
    domain = "" if proto.domain == "ai.onnx" else proto.domain
    name = proto.name or f"{proto.op_type}_{index}"
    if domain not in opsets and domain != MICROSOFT:  # exporters often forget to declare it
        raise FormatError(path, None, f"an opset_import for the domain of node {name!r}", repr(domain))
    node = OnnxNode(proto.op_type, domain, opsets.get(domain, 1), list(proto.input), list(proto.output), {}, name)
    for attribute in proto.attribute:
        if any(attribute.name in known for known in (node.attrs, node.unreadable, node.graphs)):
            raise FormatError(path, None, f"each attribute of node {name!r} once", repr(attribute.name))
        _read_attribute(node, attribute, path, external)
    return node


def _read_attribute(node: OnnxNode, attribute: AttributeProto, path: Path, external: ExternalData | None) -> None:
    kinds: Any = type(attribute).AttributeType
    kind = kinds.Name(attribute.type) if attribute.type in kinds.values() else f"unknown {attribute.type}"
    key = attribute.name
    if attribute.ref_attr_name:
        node.unreadable[key] = "a reference outside a function"
    elif kind in ("FLOAT", "INT"):
        node.attrs[key] = attribute.f if kind == "FLOAT" else attribute.i
    elif kind in ("FLOATS", "INTS"):
        node.attrs[key] = list(attribute.floats if kind == "FLOATS" else attribute.ints)
    elif kind in ("STRING", "STRINGS"):
        try:
            texts = [s.decode() for s in (attribute.strings if kind == "STRINGS" else [attribute.s])]
        except UnicodeDecodeError:
            raise FormatError(path, None, f"UTF-8 in attribute {key!r} of {node.name!r}", "bytes") from None
        node.attrs[key] = texts if kind == "STRINGS" else texts[0]
    elif kind == "TENSOR":
        try:
            node.attrs[key] = to_array(attribute.t, external, path)
            if attribute.t.data_type in NARROW_TYPES:
                node.narrow[key] = NARROW_TYPES[attribute.t.data_type]
        except UnsupportedError as error:
            node.unreadable[key] = str(error)
    elif kind == "GRAPH":
        node.graphs[key] = attribute.g
        node.captured += captured_names(attribute.g)
    else:
        node.unreadable[key] = f"a {kind.lower()} attribute"


def _constant(node: OnnxNode, path: Path) -> Array:
    """The value of a Constant node, in whichever of its forms. Source: ONNX Constant-13."""
    if len(node.attrs) == 1:
        key, value = next(iter(node.attrs.items()))
        if key == "value" and isinstance(value, np.ndarray):
            return value
        if key in ("value_float", "value_floats"):
            return np.array(value, np.float32)
        if key in ("value_int", "value_ints"):
            return np.array(value, np.int64)
    raise FormatError(
        path, None, f"one numeric value in Constant {node.name!r}", f"attributes {sorted(node.attrs)[:8]}"
    )


def _check_order(
    path: Path,
    inputs: list[OnnxValue],
    outputs: list[OnnxValue],
    nodes: list[OnnxNode],
    known: set[str],
) -> None:
    """SSA form in topological order. Source: ONNX IR.md, section Nodes."""
    if len(nodes) > MAX_NODES:
        raise FormatError(path, None, f"at most {MAX_NODES} nodes", f"{len(nodes)}")
    defined = set(known)
    for value in inputs:
        if not value.name or value.name in defined:
            raise FormatError(path, None, "inputs with a name each of their own", repr(value.name[:80]))
        defined.add(value.name)
    for node in nodes:
        for name in node.inputs:
            if name and name not in defined:
                raise FormatError(path, None, f"inputs of node {node.name!r} made by an earlier node", repr(name[:80]))
        for name in filter(None, node.outputs):
            if name in defined:
                raise FormatError(path, None, f"{name!r} to be made once", f"node {node.name!r} making it again")
            defined.add(name)
    for value in outputs:
        if value.name not in defined:
            raise FormatError(path, None, f"a node that makes output {value.name!r}", "none")
