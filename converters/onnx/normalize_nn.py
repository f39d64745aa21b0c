"""Lifts of layers and arithmetic: old attribute forms, training leftovers and variadic operators.
Quantized operators are in `normalize_quant.py`."""

from __future__ import annotations

import numpy as np

from edgert.converters.onnx.builder import Builder, Refused
from edgert.converters.onnx.hints import Hint
from edgert.converters.onnx.normalize import as_is, attributes, lift, rename
from edgert.converters.onnx.reader import OnnxNode
from edgert.graph.ir import Attr, Dim

MAX_CHANNELS = 1 << 20
"""That constants are repeated for: a file of a few bytes may declare any number."""


@lift("Clip")
def clip(b: Builder, n: OnnxNode) -> None:
    """Bounds are inputs since opset 11."""
    if n.opset >= 11:
        as_is(b, n)
        return
    dtype = b.dtype(n.inputs[0])
    bounds = [b.scalar(n, key, n.attrs[key], dtype) if key in n.attrs else "" for key in ("min", "max")]
    b.emit(n, "Clip", [b.use(n.inputs[0]), *bounds])


@lift("Dropout")
def dropout(b: Builder, n: OnnxNode) -> None:
    """Nothing at inference, unless the mask is used: true (opset 10), or 1 of the input's type, everywhere. In
    training mode the ratio must turn out to be 0 when the model runs."""
    training, masks = b.value(n.input(2)), [name for name in n.outputs[1:] if name in b.wanted]
    trains = n.has(2) and (training is None or bool(training))
    if not masks and not trains:
        b.same(n)
        return
    inputs = [b.use(name) for name in (n.inputs if trains else n.inputs[:1])]
    if not masks or n.opset >= 10:
        b.emit(n, "Dropout", inputs, {}, n.outputs)
        return
    mask = b.between(n, "kept", Hint("bool"))
    b.emit(n, "Dropout", inputs, {}, [n.outputs[0], mask])
    b.emit(n, "Cast", [mask], {"to": b.dtype(n.inputs[0])}, masks)


@lift("BatchNormalization")
def batch_normalization(b: Builder, n: OnnxNode) -> None:
    """The inference form: momentum goes, running statistics must not be asked for."""
    if n.attrs.get("training_mode", 0):
        _batch_statistics(b, n)
        return
    if not n.attrs.get("spatial", 1):
        raise Refused("spatial", "statistics per activation are not supported; use spatial=1")
    if any(name in b.wanted for name in n.outputs[1:] if name):
        raise Refused("", "running statistics are used; export the model for inference")
    attrs = attributes(n, drop=("momentum", "spatial", "training_mode"))
    b.emit(n, "BatchNormalization", [b.use(name) for name in n.inputs], attrs, n.outputs[:1])


def _batch_statistics(b: Builder, n: OnnxNode) -> None:
    """Training mode, written out: normalized by the statistics of the batch, which the running ones approach.
    Source: ONNX BatchNormalization-15."""
    rank, dtype = b.rank(n.inputs[0]), b.dtype(n.inputs[0])
    if rank is None or dtype == "float16":
        raise Refused("training_mode", "export the model for inference, or with a known rank in float32")
    x, scale, bias, *running = (b.use(name) for name in n.inputs)
    over = b.ints(n, "axes", [0, *range(2, rank)])
    per_channel = b.ints(n, "per_channel", [-1, *(1,) * (rank - 2)])

    def step(what: str, op: str, *inputs: str, output: str | None = None) -> str:
        return b.emit(n, op, list(inputs), {}, [output or b.between(n, what, Hint(dtype))])

    mean = step("mean", "ReduceMean", x, over)
    centred = step("centred", "Sub", x, mean)
    variance = step("variance", "ReduceMean", step("squares", "Mul", centred, centred), over)
    epsilon = b.scalar(n, "epsilon", float(n.attrs.get("epsilon", 1e-5)), dtype)
    deviation = step("deviation", "Sqrt", step("shifted", "Add", variance, epsilon))
    factor = step("factor", "Div", step("scale", "Reshape", scale, per_channel), deviation)
    step("", "Add", step("scaled", "Mul", centred, factor), step("bias", "Reshape", bias, per_channel),
         output=n.outputs[0])  # fmt: skip
    momentum = float(n.attrs.get("momentum", 0.9))
    kept, taken = b.scalar(n, "momentum", momentum, dtype), b.scalar(n, "rest", 1 - momentum, dtype)
    flat = b.ints(n, "flat", [-1])
    for output, old, new in zip(n.outputs[1:], running, (mean, variance), strict=False):
        if output in b.wanted:
            share = step("share", "Mul", step("statistic", "Reshape", new, flat), taken)
            step("", "Add", step("history", "Mul", old, kept), share, output=output)


@lift("LayerNormalization", "RMSNormalization")
def layer_normalization(b: Builder, n: OnnxNode) -> None:
    """Statistics are always computed in float32 or wider."""
    if n.attrs.get("stash_type", 1) != 1:
        raise Refused("stash_type", "expected 1 (float32)")
    rename(b, n, n.op, drop=("stash_type",))


@lift("GroupNormalization")
def group_normalization(b: Builder, n: OnnxNode) -> None:
    """Scale and bias have one value per channel since opset 21, one per group before."""
    inputs = [b.use(n.inputs[0])]
    for name in n.inputs[1:3]:
        value = b.value(name)
        if n.opset >= 21:
            inputs.append(b.use(name))
            continue
        channels: Dim | None = (b.hint(n.inputs[0]).shape or ("?", "?"))[1]
        if not isinstance(channels, int) or channels > MAX_CHANNELS:
            channels = None
        if value is None or channels is None or channels % max(value.size, 1):
            raise Refused("", "expected constant scale and bias, one per group; export with opset 21")
        inputs.append(b.store(f"{name}_per_channel", np.repeat(value, channels // value.size)))
    b.emit(n, "GroupNormalization", inputs, attributes(n, drop=("stash_type",)))


@lift("MaxPool")
def max_pool(b: Builder, n: OnnxNode) -> None:
    """The order that indices count in goes where nobody reads them."""
    read = len(n.outputs) > 1 and n.outputs[1] in b.wanted
    rename(b, n, "MaxPool", drop=() if read else ("storage_order",))


@lift("Softmax", "LogSoftmax", "Hardmax")
def softmax(b: Builder, n: OnnxNode) -> None:
    """Before opset 13 the input is seen as a matrix, split at `axis` (default 1), and rows are normalized."""
    if n.opset >= 13:
        as_is(b, n)
        return
    softmax_matrix(b, n, n.op, n.inputs[0], int(n.attrs.get("axis", 1)))


def softmax_matrix(b: Builder, n: OnnxNode, op: str, source: str, axis: int) -> None:
    """Writes the flattening form; when only one dimension is behind `axis`, it is the plain one."""
    x, rank = b.use(source), b.rank(source)
    if rank is not None and axis in (rank - 1, -1):
        b.emit(n, op, [x], {"axis": -1})
        return
    dtype = b.dtype(source)
    shape = b.emit(n, "Shape", [x], {}, [b.between(n, "shape", Hint("int64", (rank,) if rank else None))])
    flat = b.emit(n, "Flatten", [x], {"axis": axis}, [b.between(n, "matrix", Hint(dtype))])
    rows = b.emit(n, op, [flat], {"axis": 1}, [b.between(n, "rows", Hint(dtype))])
    b.emit(n, "Reshape", [rows, shape])


@lift("Sum", "Min", "Max", "Mean")
def variadic(b: Builder, n: OnnxNode) -> None:
    """A chain of binary operators."""
    op = {"Sum": "Add", "Mean": "Add"}.get(n.op, n.op)
    terms = [b.use(name) for name in n.inputs]
    dtype = b.dtype(n.outputs[0], b.dtype(n.inputs[0]))
    total = terms[0]
    last = len(terms) - 1
    for i, term in enumerate(terms[1:], 1):
        final = i == last and n.op != "Mean"
        total = b.emit(n, op, [total, term], {}, None if final else [b.between(n, f"part{i}", Hint(dtype))])
    if n.op == "Mean" and last:
        b.emit(n, "Div", [total, b.scalar(n, "count", len(terms), dtype)])
    elif not last:
        b.same(n)


def activation(
    b: Builder, n: OnnxNode, source: str, kind: str, params: list[float], outputs: list[str] | None = None
) -> None:
    """The activation of a fused ONNX Runtime operator. Source: onnxruntime ContribOperators.md, FusedConv."""
    attrs: dict[str, Attr] = {}
    names = {"LeakyRelu": ["alpha"], "HardSigmoid": ["alpha", "beta"], "Elu": ["alpha"]}.get(kind, [])
    if kind == "Clip":
        bounds = [b.scalar(n, what, v, "float32") for what, v in zip(("min", "max"), params, strict=False)]
        b.emit(n, "Clip", [source, *bounds], {}, outputs)
        return
    if kind not in ("Relu", "Tanh", "Sigmoid", "LeakyRelu", "HardSigmoid", "Elu"):
        raise Refused("activation", f"{kind} is not supported here; export the model without fusion")
    attrs.update(zip(names, params, strict=False))
    b.emit(n, kind, [source], attrs, outputs)
