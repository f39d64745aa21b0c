"""Control flow of ONNX: bodies of If, Loop and Scan become graphs of their own, with what they capture made inputs.
What control flow means is in `edgert/graph/control.py`; nodes are translated by `translate.py` as everywhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgert.converters.onnx.builder import Builder, Refused
from edgert.converters.onnx.captures import captured_names, rename
from edgert.converters.onnx.external_data import ExternalData
from edgert.converters.onnx.hints import Hint, infer_values
from edgert.converters.onnx.normalize import attributes, lift
from edgert.converters.onnx.reader import OnnxModel, OnnxNode, OnnxValue, dims_of, read_nodes
from edgert.converters.onnx.tensors import TYPE_NUMBERS, to_array, type_name
from edgert.converters.onnx.translate import translate
from edgert.errors import FormatError, UnsupportedError
from edgert.graph.ir import Graph, Node

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto

MAX_DEPTH = 4
"""Bodies within bodies, as the file format has it."""


@lift("If", "Loop", "Scan")
def control(b: Builder, n: OnnxNode) -> None:
    """The node with its bodies. What they capture comes last among the inputs, each tensor once; constants around a
    body are copied into it, so that plans for it know them."""
    if n.op == "Scan" and n.opset < 9:
        raise Refused("", "Scan of opset 8 has a batch axis; export with opset 9 or newer")
    around = [name for name in dict.fromkeys(n.captured) if b.value(name) is None]
    graphs = {key: _body(b, n, key, around) for key in n.graphs}
    inputs = [b.use(name) for name in n.inputs]
    attrs = attributes(n)
    attrs["captured"] = len(around)
    b.emit(n, n.op, inputs + [b.use(name) for name in around], attrs)
    b.graph.nodes[-1].graphs = graphs


def _body(b: Builder, n: OnnxNode, key: str, around: list[str]) -> Graph:
    """The body under attribute `key` of `n`, a function of its own inputs and of the tensors `around` it."""
    if b.depth >= MAX_DEPTH:
        raise Refused(key, f"bodies are nested more than {MAX_DEPTH} deep")
    scope = f"{b.scope}{n.name}/{key}/"
    try:
        model = _read(b, n, n.graphs[key], around, scope)
        hints = _hints(b, model, n.graphs[key], scope)
    except (FormatError, UnsupportedError) as error:
        raise Refused(key, str(error)) from None
    graph, problems = translate(model, hints, b.notes, scope, b.depth + 1)
    if problems:
        raise Refused(key, f"{len(problems)} of its nodes cannot be converted; the first: {problems[0]}")
    for value in (*model.inputs, *model.outputs):
        if value.shape is None or not value.dtype:  # known when it runs
            graph.types.pop(value.name, None)
    names: list[str] = []
    for value in model.outputs:
        names.append(_made(graph, value.name, names))
    graph.outputs = names
    return graph


def _made(graph: Graph, name: str, others: list[str]) -> str:
    """The name of an output of a body that is to be `name`: each is a tensor of its own, which a node makes."""
    if name not in others and any(name in node.outputs for node in graph.nodes):
        return name
    out = graph.unique(f"{name}/{len(others)}")
    graph.nodes.append(Node("Identity", (name,), (out,), {}, out))
    if name in graph.types:
        graph.types[out] = graph.types[name]
    return out


def _read(b: Builder, n: OnnxNode, proto: GraphProto, around: list[str], scope: str) -> OnnxModel:
    """The body as a model whose tensor names all begin with `scope`."""
    path = b.model.path
    if proto.sparse_initializer:
        raise UnsupportedError(f"{path}: expected dense initializers in the bodies of {n.name!r}, found a sparse one")
    external = ExternalData(path)
    constants = {scope + t.name: to_array(t, external, path) for t in proto.initializer}
    unreadable: dict[str, str] = {}
    own: dict[str, Any] = {}
    narrow: dict[str, str] = {}
    proto = type(proto).FromString(proto.SerializeToString())  # renamed below
    nodes = read_nodes(proto.node, b.model.opsets, path, external, own, unreadable, narrow)
    constants.update((scope + name, value) for name, value in own.items())
    captured = set(captured_names(proto))
    constants.update((scope + name, value) for name in captured if (value := b.value(name)) is not None)
    for node in nodes:
        node.inputs = [scope + name if name else "" for name in node.inputs]
        node.outputs = [scope + name if name else "" for name in node.outputs]
        node.captured = [scope + name for name in node.captured]
        for graph in node.graphs.values():
            rename(graph, {name: scope + name for name in captured_names(graph)})
    given = {t.name for t in proto.initializer}
    inputs = [_value(info, scope) for info in proto.input if info.name not in given]
    inputs += [OnnxValue(scope + name, b.dtype(name, ""), b.hint(name).shape) for name in around]
    outputs = [_value(info, scope) for info in proto.output]
    renamed = {scope + name: why for name, why in unreadable.items()}
    return OnnxModel(
        path, scope, b.model.opsets, inputs, outputs, nodes, constants, renamed, b.model.skeleton,
        {scope + name: kind for name, kind in narrow.items()}, b.model.waited,
    )  # fmt: skip


def _value(info: Any, scope: str) -> OnnxValue:
    """An input or output of a body; bodies need not say what type it has."""
    kind = info.type.tensor_type
    if info.type.WhichOneof("value") not in (None, "tensor_type"):
        raise UnsupportedError(
            f"expected {info.name!r} of a body to be a tensor, found {info.type.WhichOneof('value')}"
        )
    shape = dims_of(scope + info.name, kind.shape.dim) if kind.HasField("shape") else None
    return OnnxValue(scope + info.name, type_name(kind.elem_type) if kind.elem_type else "", shape)


def _hints(b: Builder, model: OnnxModel, proto: GraphProto, scope: str) -> dict[str, Hint]:
    """What `onnx` can infer of the tensors of a body, from what is known of those around it."""
    import onnx

    skeleton: ModelProto = onnx.ModelProto()
    skeleton.ir_version = b.model.skeleton.ir_version
    skeleton.opset_import.extend(b.model.skeleton.opset_import)
    skeleton.graph.CopyFrom(proto)
    for name in captured_names(proto):
        hint = b.hint(name)
        if hint.dtype in TYPE_NUMBERS:
            shape = hint.shape
            skeleton.graph.input.append(onnx.helper.make_tensor_value_info(name, TYPE_NUMBERS[hint.dtype], shape))
    hints = {scope + name: hint for name, hint in infer_values(skeleton, b.model).items()}
    for value in model.inputs:
        if not value.dtype:
            value.dtype = hints.get(value.name, Hint()).dtype
    return hints
