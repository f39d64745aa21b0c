"""DequantizeLinear -> operator -> QuantizeLinear becomes one quantized operator on 8-bit tensors.
Operators that only move data work on the stored values; any pair nothing can absorb stays."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from edgert.converters.passes.fuse_activation import LIMIT
from edgert.converters.passes.quantized_weights import bias_values, weight_rows
from edgert.converters.passes.rewrite import Rewriter
from edgert.graph.ir import Attr, Graph, Node, Quantization, TensorType

UNARY = {
    "Relu", "LeakyRelu", "ThresholdedRelu", "Sigmoid", "HardSigmoid", "HardSwish", "Swish", "Mish", "Tanh",
    "Erf", "Gelu", "Softplus", "Softsign", "Elu", "Celu", "Selu", "Exp", "Log", "Sqrt", "Reciprocal", "Abs",
    "Neg", "Sin", "Cos", "Floor", "Ceil", "Round", "Sign",
}  # fmt: skip
"""Functions of one value without parameters in other inputs: a table of 256 entries on 8-bit tensors."""

MOVERS = {
    "MaxPool", "Reshape", "Flatten", "Transpose", "Pad", "Slice", "Split", "Squeeze", "Unsqueeze", "Resize",
    "Gather", "Expand", "Tile",
}  # fmt: skip
"""Operators whose outputs hold values of their first input only (Pad: and one constant)."""


def absorb_qdq(graph: Graph) -> Graph:
    """Makes quantized operators of everything that stands between DequantizeLinear and QuantizeLinear.

    Nodes are visited in order, and a DequantizeLinear sinks below the data-moving operators after it, so
    that what they feed sees it too.
    """
    rw = Rewriter(graph)
    for node in list(rw.graph.nodes):
        if node.outputs and rw.maker(node.outputs[0]) is not node:
            continue
        if node.op in MOVERS:
            sink_dequantize(rw, node)
        elif node.op == "QuantizeLinear":
            cancel(rw, node)
        elif node.op in UNARY:
            elementwise(rw, node, "QLinearUnary", {**node.attrs, "op": node.op})
        elif node.op in RULES:
            RULES[node.op](rw, node)
    return rw.finish()


# What stands around a node


def stored_input(rw: Rewriter, tensor: str) -> str | None:
    """The uint8 tensor, quantized as a whole, whose DequantizeLinear gives `tensor`; else None."""
    node = rw.maker(tensor)
    if node is None or node.op != "DequantizeLinear":
        return None
    kind = rw.type_of(node.inputs[0])
    whole = kind is not None and kind.dtype == "uint8" and kind.quant is not None and kind.quant.per_tensor
    return node.inputs[0] if whole else None


def stored_inputs(rw: Rewriter, tensors: Sequence[str]) -> list[str] | None:
    found = [stored_input(rw, name) for name in tensors]
    return [name for name in found if name is not None] if None not in found else None


def quantizer(rw: Rewriter, node: Node) -> Node | None:
    """The QuantizeLinear to uint8 that alone reads the one output of `node`, else None."""
    reader = rw.sole_reader(node.outputs[0])
    if reader is None or reader.op != "QuantizeLinear" or any(node.outputs[1:]):
        return None
    kind = rw.type_of(reader.outputs[0])
    whole = kind is not None and kind.dtype == "uint8" and kind.quant is not None and kind.quant.per_tensor
    return reader if whole else None


def quant(rw: Rewriter, tensor: str) -> Quantization:
    found = rw.graph.types[tensor].quant
    assert found is not None
    return found


def without_idle_activation(attrs: dict[str, Attr], out: Quantization) -> dict[str, Attr]:
    """`attrs` without a fused activation whose bounds the range of uint8 output holds anyway."""
    kind = attrs.get("activation", "")
    if not kind:
        return attrs
    low = 0.0 if kind == "Relu" else float(attrs.get("clip_min", -LIMIT))  # type: ignore[arg-type]
    high = LIMIT if kind == "Relu" else float(attrs.get("clip_max", LIMIT))  # type: ignore[arg-type]
    zero = float(out.zero_point)
    if np.rint(low / float(out.scale)) + zero <= 0 and np.rint(high / float(out.scale)) + zero >= 255:
        return {k: v for k, v in attrs.items() if k not in ("activation", "clip_min", "clip_max")}
    return attrs


# Rules


def conv(rw: Rewriter, node: Node) -> None:
    """x and the residual 8-bit, weights constant [N, C / group, ...]."""
    residual = node.attr_int("residual", 0)
    activations = [node.inputs[0], *(node.inputs[-1:] if residual else ())]
    bias = node.inputs[2] if len(node.inputs) > (3 if residual else 2) else ""
    product(rw, node, "QLinearConv", activations, bias, dict(node.attrs))


def gemm(rw: Rewriter, node: Node) -> None:
    """x 8-bit [M, K]; constant weights, transposed to [N, K] if need be."""
    if node.attr_int("transA", 0) or rw.rank(node.inputs[0]) != 2:
        return
    if node.attr_float("alpha", 1.0) != 1.0 or node.attr_float("beta", 1.0) != 1.0:
        return
    attrs = {key: value for key, value in node.attrs.items() if key not in ("alpha", "beta", "transA")}
    bias = node.inputs[2] if len(node.inputs) > 2 else ""
    axis = 0 if node.attr_int("transB", 0) else 1
    product(rw, node, "QLinearGemm", node.inputs[:1], bias, {**attrs, "transB": 1}, axis)


def matmul(rw: Rewriter, node: Node) -> None:
    """A constant right side [K, N] makes QLinearGemm, with the bias added after it; else QLinearMatMul."""
    weights = rw.rank(node.inputs[1]) == 2 and weight_rows(rw, node.inputs[1], 1) is not None
    if weights and (rw.rank(node.inputs[0]) or 0) >= 2:
        added, bias = bias_after(rw, node) or (node, "")
        attrs: dict[str, Attr] = {**node.attrs, **added.attrs, "transB": 1}
        product(rw, node, "QLinearGemm", node.inputs[:1], bias, attrs, 1, added)
    else:
        elementwise(rw, node, "QLinearMatMul", {})


def bias_after(rw: Rewriter, node: Node) -> tuple[Node, str] | None:
    """(the Add that alone reads `node`, its constant [N] on the other side), or None."""
    reader = rw.sole_reader(node.outputs[0])
    weight = rw.type_of(node.inputs[1])
    if reader is None or reader.op != "Add" or weight is None or node.attr_str("activation", ""):
        return None
    other = next(name for name in reader.inputs if name != node.outputs[0])
    value = rw.constant(other)
    return (reader, other) if value is not None and value.shape == (weight.shape[-1],) else None


def product(
    rw: Rewriter,
    node: Node,
    op: str,
    activations: Sequence[str],
    bias: str,
    attrs: dict[str, Attr],
    axis: int = 0,
    last: Node | None = None,
) -> None:
    """Replaces `node` to `last` and the quantizer after by `op`; activations: x, then a residual if any."""
    last = last or node
    stored, quantize = stored_inputs(rw, activations), quantizer(rw, last)
    rows = weight_rows(rw, node.inputs[1], axis)
    if stored is None or rows is None or quantize is None:
        return
    stem = node.name or node.outputs[0]
    inputs = [stored[0]]
    if bias:
        values = bias_values(rw, bias, float(quant(rw, stored[0]).scale), rows)
        if values is None:
            return
        scale = Quantization(quant(rw, stored[0]).scale * rows.scale, np.zeros(len(values), np.int32), 0)
        named = rw.add_constant(f"{stem}_bias_int32", values, scale)
    inputs.append(rw.add_constant(f"{stem}_weight_int8", rows.values, rows.quant))
    if bias or stored[1:]:
        inputs += [named if bias else "", *stored[1:]]
    attrs = without_idle_activation(attrs, quant(rw, quantize.outputs[0]))
    old = [node, quantize] if last is node else [node, last, quantize]
    rw.replace(old, [Node(op, tuple(inputs), quantize.outputs, attrs, node.name)])


def elementwise(rw: Rewriter, node: Node, op: str, attrs: dict[str, Attr]) -> None:
    """Replaces `node` and its quantizer by `op` when every input is 8-bit."""
    stored, quantize = stored_inputs(rw, node.inputs), quantizer(rw, node)
    if stored is not None and quantize is not None:
        attrs = without_idle_activation(attrs, quant(rw, quantize.outputs[0]))
        rw.replace([node, quantize], [Node(op, tuple(stored), quantize.outputs, attrs, node.name)])


def same_attrs(op: str) -> Callable[[Rewriter, Node], None]:
    return lambda rw, node: elementwise(rw, node, op, dict(node.attrs))


def concat(rw: Rewriter, node: Node) -> None:
    """Equal quantization everywhere: the stored values are concatenated; otherwise QLinearConcat."""
    stored, quantize = stored_inputs(rw, node.inputs), quantizer(rw, node)
    if stored is None or quantize is None:
        return
    kinds = [quant(rw, name) for name in (*stored, quantize.outputs[0])]
    op = "Concat" if all(kind == kinds[0] for kind in kinds) else "QLinearConcat"
    rw.replace([node, quantize], [Node(op, tuple(stored), quantize.outputs, dict(node.attrs), node.name)])


RULES: dict[str, Callable[[Rewriter, Node], None]] = {
    "Conv": conv,
    "Gemm": gemm,
    "MatMul": matmul,
    "Add": same_attrs("QLinearAdd"),
    "Mul": same_attrs("QLinearMul"),
    "GlobalAveragePool": same_attrs("QLinearGlobalAveragePool"),
    "AveragePool": same_attrs("QLinearAveragePool"),
    "Concat": concat,
}


def cancel(rw: Rewriter, node: Node) -> None:
    """QuantizeLinear(DequantizeLinear(x)) with one quantization is x."""
    stored = stored_input(rw, node.inputs[0])
    kind = rw.type_of(node.outputs[0])
    if stored is not None and kind is not None and kind.dtype == "uint8" and kind.quant == quant(rw, stored):
        rw.bypass(node, stored)


def sink_dequantize(rw: Rewriter, node: Node) -> None:
    """mover(DequantizeLinear(x)) becomes DequantizeLinear(mover(x)), also for constants under Transpose."""
    maker = rw.maker(node.inputs[0])
    if maker is None or maker.op != "DequantizeLinear":
        return
    stored = stored_input(rw, node.inputs[0])
    if node.op == "Transpose" and maker.inputs[0] in rw.graph.constants:
        transpose_constant(rw, node, maker)
        return
    if stored is None or stored in rw.graph.constants:
        return
    if node.op == "Resize" and node.attr_str("mode", "nearest") != "nearest":
        return
    inputs = [stored, *node.inputs[1:]]
    if node.op == "Pad":
        value = rw.scalar(node.inputs[2]) if len(node.inputs) > 2 and node.inputs[2] else 0.0
        if value is None or node.attr_str("mode", "constant") not in ("constant", "edge", "reflect", "wrap"):
            return
        q = quant(rw, stored)
        fill = np.clip(np.rint(value / float(q.scale)) + float(q.zero_point), 0, 255).astype(np.uint8)
        named = rw.add_constant(f"{node.outputs[0]}_fill", np.array(fill, np.uint8), q)
        inputs = [stored, node.inputs[1], named, *node.inputs[3:]]
    if node.op == "MaxPool" and any(node.outputs[1:]):
        return
    outputs, after = [], []
    for name in node.outputs:
        kind = rw.type_of(name)
        if kind is None:
            return
        moved = rw.add_tensor(f"{name}_uint8", TensorType("uint8", kind.shape, quant(rw, stored)))
        outputs.append(moved)
        after.append(Node("DequantizeLinear", (moved,), (name,), {}, f"{name}_dequantize"))
    rw.replace([node], [Node(node.op, tuple(inputs), tuple(outputs), dict(node.attrs), node.name), *after])


def transpose_constant(rw: Rewriter, node: Node, dequantize: Node) -> None:
    """Transposes stored weights, so that the products after them find them behind DequantizeLinear."""
    value, kind = rw.constant(dequantize.inputs[0]), rw.type_of(dequantize.inputs[0])
    if value is None or kind is None or kind.quant is None:
        return
    perm = node.attr_ints("perm", list(range(value.ndim))[::-1])
    old = kind.quant
    axis = None if old.axis is None else perm.index(old.axis % value.ndim)
    turned = Quantization(old.scale, old.zero_point, axis)
    name = rw.add_constant(f"{dequantize.inputs[0]}_transposed", value.transpose(perm), turned)
    rw.replace([node], [Node("DequantizeLinear", (name,), node.outputs, dict(dequantize.attrs), node.name)])
