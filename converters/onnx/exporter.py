"""Graph to ONNX file: `export_onnx`, in QDQ form or with quantized operators.
Float operators are written in the forms of the target opset; quantized ones so that runtimes fuse them."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np

from edgert.converters.onnx.builder import LAYOUT
from edgert.converters.onnx.export_writer import Writer, bounds, quantized_bounds
from edgert.converters.onnx.reader import MICROSOFT
from edgert.converters.onnx.tensors import TYPE_NUMBERS
from edgert.errors import InputError, UnsupportedError
from edgert.graph.ir import Graph, Node

Form: TypeAlias = Literal["qdq", "qoperator"]

MIN_OPSET = 13
"""The first with axes as inputs and scales per channel in QuantizeLinear."""

FUSED = frozenset({"activation", "clip_min", "clip_max", "residual"})
"""Attributes of the IR that ONNX writes as operators of their own."""

FLOAT_FORM: dict[str, tuple[str, dict[str, Any]]] = {
    "QLinearConv": ("Conv", {}),
    "QLinearGemm": ("Gemm", {"transB": 1}),
    "QLinearMatMul": ("MatMul", {}),
    "QLinearAdd": ("Add", {}),
    "QLinearMul": ("Mul", {}),
    "QLinearConcat": ("Concat", {}),
    "QLinearGlobalAveragePool": ("GlobalAveragePool", {}),
    "QLinearAveragePool": ("AveragePool", {}),
}
"""Quantized operator -> the float operator it computes on real values."""


def export_onnx(graph: Graph, path: str | Path, *, form: Form = "qdq", opset: int = 17) -> None:
    """Writes `graph` as an ONNX model that ONNX Runtime runs with the same answers.

    form: 'qdq' writes a quantized operator as DequantizeLinear -> float operator -> QuantizeLinear,
    'qoperator' as QLinearConv, QLinearMatMul and ONNX Runtime's QGemm, QLinearAdd, ... where there is one.
    A fused residual has no quantized operator in ONNX and is written in QDQ form in both.
    Quantized tensors are uint8 in the file too, weights int8 per channel, biases int32.

    The file appears complete or not at all. Raises UnsupportedError for what opset `opset` cannot say.
    """
    import onnx

    newest = onnx.defs.onnx_opset_version()
    if form not in ("qdq", "qoperator"):
        raise InputError(f"expected form 'qdq' or 'qoperator', found {form!r}")
    if not MIN_OPSET <= opset <= newest:
        raise InputError(f"expected opset {MIN_OPSET} to {newest}, found {opset}")
    writer = Writer(graph, opset)
    for node in graph.nodes:
        try:
            _write(writer, node, form)
        except UnsupportedError as error:
            raise UnsupportedError(f"node {node.name!r} ({node.op}): {error}") from error
    for name in graph.outputs:
        writer.tensor(name)
    data = writer.model().SerializeToString()
    path = Path(path)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        part.write_bytes(data)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _write(w: Writer, node: Node, form: Form) -> None:
    quantized = w.quant(node.outputs[0]) is not None
    if node.op == "QuantizeLinear":
        w.quantize(w.tensor(node.inputs[0]), node.outputs[0])
    elif node.op == "DequantizeLinear":
        w.dequantize(node.inputs[0], node.outputs[0])
    elif node.op.startswith("QLinear"):
        direct = QOPERATORS.get(node.op) if form == "qoperator" else None
        if direct is None or node.attr_int("residual", 0) or not direct(w, node):
            _write_real(w, node)
    elif node.op in LAYOUT and quantized and form == "qdq":
        _write_layout(w, node)
    elif node.op == "Pad" and quantized and (len(node.inputs) < 3 or not node.inputs[2]):
        kind = w.graph.types[node.inputs[0]]
        assert kind.quant is not None
        zero = w.constant(f"{node.outputs[0]}_pad", kind.quant.zero_point.astype(kind.dtype))
        inputs = [w.tensor(name) for name in node.inputs[:2]] + [zero, *node.inputs[3:]]
        lower(w, node, "Pad", inputs, list(node.outputs), dict(node.attrs))
    else:
        _write_float(w, node)


def _write_real(w: Writer, node: Node) -> None:
    """A quantized operator as DequantizeLinear -> float operators -> QuantizeLinear."""
    attrs = {key: value for key, value in node.attrs.items() if key not in FUSED}
    more: dict[str, Any]
    if node.op == "QLinearUnary":
        op, more = str(attrs.pop("op")), {}
    elif node.op in FLOAT_FORM:
        op, more = FLOAT_FORM[node.op]
    else:
        raise UnsupportedError("the operator has no ONNX form")
    inputs = [w.real(name) for name in node.inputs]
    real = w.fresh(f"{node.outputs[0]}_real")
    _compute(w, node, op, inputs, attrs | more, real)
    w.quantize(real, node.outputs[0])


def _compute(w: Writer, node: Node, op: str, inputs: list[str], attrs: dict[str, Any], out: str) -> None:
    """`op`, then the fused residual and activation of `node`, from float tensors to `out`.

    An activation that the output's quantization enforces anyway is left out.
    """
    low, high = bounds(node)
    kind = w.graph.types.get(node.outputs[0])
    clips = (low, high) != (-np.inf, np.inf)
    if clips and kind is not None and kind.quant is not None and kind.quant.per_tensor:
        limits = np.iinfo(kind.np_dtype)
        clips = quantized_bounds(kind, low, high) != (limits.min, limits.max)
    slope = inputs.pop() if node.attr_str("activation", "") == "PRelu" else ""
    residual = inputs.pop() if node.attr_int("residual", 0) else ""
    stages = [("main", op)] + ([("sum", "Add")] if residual else []) + ([("bend", "PRelu")] if slope else [])
    stages += [("act", "Clip")] if clips else []
    source = ""
    for i, (what, stage) in enumerate(stages):
        target = out if i == len(stages) - 1 else w.fresh(f"{out}_{what}")
        if what == "main":
            lower(w, node, op, inputs, [target, *node.outputs[1:]], attrs)
        elif what == "sum":
            w.add("Add", [source, residual], [target])
        elif what == "bend":
            w.add("PRelu", [source, _per_channel(w, node, slope)], [target])
        elif (low, high) == (0.0, np.inf):
            w.add("Relu", [source], [target])
        else:
            dtype = kind.dtype if kind is not None and kind.quant is None else "float32"
            ends = [
                w.constant(f"{out}_{key}", np.array(v, dtype)) if np.isfinite(v) else ""
                for key, v in (("min", low), ("max", high))
            ]
            w.add(stage, [source, *ends], [target])
        source = target


def _per_channel(w: Writer, node: Node, slope: str) -> str:
    """The slopes [C] of `node` shaped to broadcast along the channels of its output."""
    rank = len(w.graph.types[node.outputs[0]].shape)
    values = w.graph.constants[slope]
    return w.constant(f"{node.outputs[0]}_slope", values.reshape(-1, *(1,) * (rank - 2)))


def _write_layout(w: Writer, node: Node) -> None:
    """A value-moving operator between DequantizeLinear and QuantizeLinear, which changes no value."""
    where = LAYOUT[node.op]
    inputs = [
        w.real(name) if where is None or i == 0 else w.tensor(name) if name else ""
        for i, name in enumerate(node.inputs)
    ]
    if node.op == "Pad" and node.attr_str("mode", "constant") == "constant":
        inputs.extend([""] * (3 - len(inputs)))
        inputs[2] = _real_pad(w, node)
    outputs = [w.fresh(f"{name}_real") if name and w.quant(name) is not None else name for name in node.outputs]
    lower(w, node, node.op, inputs, outputs, dict(node.attrs))
    for real, name in zip(outputs, node.outputs, strict=True):
        if real != name:
            w.quantize(real, name)


def _real_pad(w: Writer, node: Node) -> str:
    """The padding value of a quantized Pad as a real number, '' for 0."""
    quant = w.quant(node.inputs[0])
    if len(node.inputs) < 3 or not node.inputs[2] or quant is None:
        return ""
    if node.inputs[2] not in w.graph.constants:
        raise UnsupportedError("expected a constant padding value of a quantized Pad, found a computed one")
    stored = int(w.graph.constants[node.inputs[2]].reshape(-1)[0])
    value = (stored - quant.zero_point) * quant.scale
    return w.constant(f"{node.outputs[0]}_pad", np.asarray(value, np.float32).reshape(()))


def _write_float(w: Writer, node: Node) -> None:
    """An operator on tensors as they are, its fused parts written out."""
    attrs = {key: value for key, value in node.attrs.items() if key not in FUSED}
    inputs = [w.tensor(name) if name else "" for name in node.inputs]
    _compute(w, node, node.op, inputs, attrs, node.outputs[0])


def lower(w: Writer, node: Node, op: str, inputs: list[str], outputs: list[str], attrs: dict[str, Any]) -> None:
    """Writes `op` in the form of the target opset: undoes what importing lifts. Raises UnsupportedError."""
    domain = ""
    if op == "Cast":
        attrs = {"to": TYPE_NUMBERS[str(attrs["to"])]}
    elif op.startswith("Reduce") and op != "ReduceSum" and w.opset < 18 and len(inputs) > 1:
        axes = w.graph.constants.get(node.inputs[1])
        if axes is None:
            raise UnsupportedError("expected constant axes before opset 18, found computed ones")
        inputs, attrs = inputs[:1], {**attrs, "axes": [int(a) for a in axes]}
    elif op == "Split" and w.opset < 18:
        attrs = {key: value for key, value in attrs.items() if key != "num_outputs"}
    elif op == "Gelu" and w.opset < 20:
        tanh = attrs.get("approximate", "none") == "tanh"
        op, attrs, domain = ("FastGelu" if tanh else "Gelu"), {}, MICROSOFT
    elif op == "AveragePool" and w.opset < 19 and set(attrs.get("dilations", [1])) == {1}:
        attrs = {key: value for key, value in attrs.items() if key != "dilations"}
    elif op == "MatMulNBits":
        domain = MICROSOFT
    w.add(op, inputs, outputs, attrs, domain)


# Quantized operators. Each writer returns False when this very node has no such form.

QOperator: TypeAlias = Callable[[Writer, Node], bool]


def _triple(w: Writer, name: str) -> list[str]:
    return [w.tensor(name), *w.parameters(name)]


def _finish(w: Writer, node: Node, op: str, inputs: list[str], attrs: dict[str, Any], domain: str) -> bool:
    """Adds the operator and, unless the type's range does it, clips its output in stored values."""
    out = node.outputs[0]
    kind = w.graph.types[out]
    limits = np.iinfo(kind.np_dtype)
    low, high = quantized_bounds(kind, *bounds(node))
    clips = (low, high) != (limits.min, limits.max)
    target = w.fresh(f"{out}_wide") if clips else out
    kept = {key: value for key, value in attrs.items() if key not in FUSED}
    w.add(op, inputs, [target], kept, domain)
    if clips:
        ends = [w.constant(f"{out}_{key}", np.array(v, kind.dtype)) for key, v in (("min", low), ("max", high))]
        w.add("Clip", [target, *ends], [out])
    return True


def _qconv(w: Writer, node: Node) -> bool:
    x, weights = node.inputs[:2]
    bias = [w.tensor(node.inputs[2])] if len(node.inputs) > 2 and node.inputs[2] else []
    inputs = [*_triple(w, x), *_triple(w, weights), *w.parameters(node.outputs[0]), *bias]
    return _finish(w, node, "QLinearConv", inputs, node.attrs, "")


def _qgemm(w: Writer, node: Node) -> bool:
    x, weights = node.inputs[:2]
    bias = w.tensor(node.inputs[2]) if len(node.inputs) > 2 and node.inputs[2] else ""
    inputs = [*_triple(w, x), *_triple(w, weights), bias, *w.parameters(node.outputs[0])]
    return _finish(w, node, "QGemm", inputs, {"transB": 1}, MICROSOFT)


def _qmatmul(w: Writer, node: Node) -> bool:
    inputs = [*_triple(w, node.inputs[0]), *_triple(w, node.inputs[1]), *w.parameters(node.outputs[0])]
    return _finish(w, node, "QLinearMatMul", inputs, {}, "")


def _qbinary(w: Writer, node: Node) -> bool:
    inputs = [*_triple(w, node.inputs[0]), *_triple(w, node.inputs[1]), *w.parameters(node.outputs[0])]
    return _finish(w, node, node.op, inputs, {}, MICROSOFT)


def _qconcat(w: Writer, node: Node) -> bool:
    inputs = [*w.parameters(node.outputs[0])]
    for name in node.inputs:
        inputs += _triple(w, name)
    return _finish(w, node, "QLinearConcat", inputs, node.attrs, MICROSOFT)


def _qpool(w: Writer, node: Node) -> bool:
    inputs = [*_triple(w, node.inputs[0]), *w.parameters(node.outputs[0])]
    return _finish(w, node, node.op, inputs, {**node.attrs, "channels_last": 0}, MICROSOFT)


def _qunary(w: Writer, node: Node) -> bool:
    op = node.attr_str("op", "")
    if op not in ("Sigmoid", "LeakyRelu"):
        return False
    inputs = [*_triple(w, node.inputs[0]), *w.parameters(node.outputs[0])]
    attrs = {key: value for key, value in node.attrs.items() if key != "op"}
    return _finish(w, node, f"QLinear{op}", inputs, attrs, MICROSOFT)


QOPERATORS: dict[str, QOperator] = {
    "QLinearConv": _qconv,
    "QLinearGemm": _qgemm,
    "QLinearMatMul": _qmatmul,
    "QLinearAdd": _qbinary,
    "QLinearMul": _qbinary,
    "QLinearConcat": _qconcat,
    "QLinearGlobalAveragePool": _qpool,
    "QLinearAveragePool": _qpool,
    "QLinearUnary": _qunary,
}
