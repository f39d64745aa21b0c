"""Float graph to a graph with QuantizeLinear and DequantizeLinear around everything that can work on 8 bits.
`quantize.py` then lets `absorb_qdq` make quantized operators of it: one definition serves imports as well."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from edgert.converters.calibrate.observers import Range
from edgert.converters.passes.absorb_qdq import MOVERS, UNARY, bias_after
from edgert.converters.passes.rewrite import Rewriter
from edgert.graph.ir import Array, Graph, Node, Quantization, TensorType

QUANTIZED = "_quantized"
"""Suffix of the 8-bit tensor that stands for a float one."""

WEIGHT_LIMIT = 127
"""Symmetric int8 without -128."""

PRODUCTS = {"Conv", "Gemm", "MatMul"}
LIGHT = {"Add", "Mul", "Concat", "GlobalAveragePool", "AveragePool"}
"""With the functions of one value: operators that follow the products around them."""

BIAS_ROOM = 2**24
"""Steps of the bias that a scale must leave room for; keeps int32 sums far from overflow."""


def insert_qdq(graph: Graph, ranges: Mapping[str, Range], grids: Mapping[str, Array] | None = None) -> Graph:
    """`graph` with quantized activations and int8 weights, everything still computed in float between.

    grids: output tensor of a product -> float32 [N], the scales that its weights were made for.

    Activations of the operators below are quantized where `ranges` has them; data-moving operators hand
    the quantization of their input on. Softmax stays float, and so does arithmetic between float operators.
    """
    rw = Rewriter(graph)
    nodes = chosen(rw, ranges)
    wanted = quantized_tensors(rw, nodes)
    quants = {name: ranges[source(rw, name)].quantization() for name in wanted}
    made = {around(rw, node)[-1] for node in nodes}
    exact = {name for name in wanted if source(rw, name) == name and name not in made}
    taken = {id(node) for node in nodes}
    unrounded = {id(node) for node in rw.graph.nodes if id(node) not in taken and not moves(rw, node)}
    for node in nodes:
        if has_weights(rw, node):
            quantize_weights(rw, node, quants, (grids or {}).get(node.outputs[0]))
    for name in wanted:
        surround(rw, name, quants[name], unrounded if name in exact else set())
    return rw.finish()


def has_weights(rw: Rewriter, node: Node) -> bool:
    """Whether the second input of `node` is weights: of Conv and Gemm, and of MatMul when constant."""
    return node.op in ("Conv", "Gemm") or (node.op == "MatMul" and node.inputs[1] in rw.graph.constants)


def around(rw: Rewriter, node: Node) -> list[str]:
    """The activations that a quantizable node reads and makes. A MatMul takes the bias after it along."""
    last = node
    reads = list(node.inputs)
    if has_weights(rw, node):
        reads = [node.inputs[0], *(node.inputs[-1:] if node.attr_int("residual", 0) else ())]
        if node.op == "MatMul":
            last = (bias_after(rw, node) or (node, ""))[0]
    return [*reads, last.outputs[0]]


def chosen(rw: Rewriter, ranges: Mapping[str, Range]) -> list[Node]:
    """The nodes to quantize: products, and light operators whose results reach a product through such.

    Elsewhere 8 bits would cost accuracy and conversions and save nothing: the sums between the
    normalizations of a transformer, the function at the end of a network.
    """
    found: list[Node] = []
    reaches: set[str] = set()
    for node in reversed(rw.graph.nodes):
        if moves(rw, node):
            if any(name in reaches for name in node.outputs):
                reaches.add(node.inputs[0])
        elif quantizable(rw, node, ranges):
            reads = around(rw, node)
            if node.op in PRODUCTS or reads[-1] in reaches:
                found.append(node)
                reaches.update(reads[:-1])
    return found[::-1]


def quantizable(rw: Rewriter, node: Node, ranges: Mapping[str, Range]) -> bool:
    """Whether `node` has a quantized form and every activation around it is float32 of known range."""
    if has_weights(rw, node):
        weight = rw.constant(node.inputs[1])
        bias = node.inputs[2] if len(node.inputs) > 2 else ""
        if weight is None or (bias and rw.constant(bias) is None):
            return False
        if node.op != "Conv" and weight.ndim != 2:
            return False
        if node.op == "Gemm" and not node.attr_int("transB", 0):
            return False
    elif node.op not in UNARY and node.op not in PRODUCTS | LIGHT:
        return False
    return not any(node.outputs[1:]) and all(
        name not in rw.graph.constants
        and (kind := rw.type_of(name)) is not None
        and kind.dtype == "float32"
        and source(rw, name) in ranges
        for name in around(rw, node)
    )


def moves(rw: Rewriter, node: Node | None) -> bool:
    """Whether the outputs of `node` hold values of its first input, which is an activation."""
    if node is None or node.op not in MOVERS or node.inputs[0] in rw.graph.constants:
        return False
    if node.op == "Resize":
        return node.attr_str("mode", "nearest") == "nearest"
    if node.op == "MaxPool":
        return not any(node.outputs[1:])
    if node.op == "Pad" and len(node.inputs) > 2 and node.inputs[2]:
        return rw.scalar(node.inputs[2]) is not None
    return rw.is_float(node.inputs[0])


def source(rw: Rewriter, tensor: str) -> str:
    """The tensor whose values `tensor` holds: itself, or what the data-moving operators before it read."""
    maker = rw.maker(tensor)
    while maker is not None and moves(rw, maker):
        tensor = maker.inputs[0]
        maker = rw.maker(tensor)
    return tensor


def reached(rw: Rewriter, tensor: str) -> list[str]:
    """`tensor` and what data-moving operators make of it."""
    found = [tensor]
    for name in found:
        for node in rw.readers(name):
            if moves(rw, node) and node.inputs[0] == name:
                found += [out for out in node.outputs if out]
    return found


def quantized_tensors(rw: Rewriter, nodes: list[Node]) -> list[str]:
    """The tensors around `nodes`, with those that share their values through data-moving operators."""
    roots = dict.fromkeys(source(rw, name) for node in nodes for name in around(rw, node))
    return list(dict.fromkeys(name for root in roots for name in reached(rw, root)))


def weight_scale(weight: Array, bias: Array | None, x_scale: float) -> Array:
    """float32 [N]: the largest magnitude of each row of `weight` [N, ...] becomes 127.

    A row whose bias is huge beside its weights (a dead channel) gets a larger scale, for the bias has the
    scale x_scale * scale and must fit into int32.
    """
    scale = np.abs(weight).reshape(len(weight), -1).max(1, initial=0.0).astype(np.float64) / WEIGHT_LIMIT
    if bias is not None:
        magnitude = np.abs(np.broadcast_to(bias.reshape(-1), scale.shape)).astype(np.float64)
        scale = np.maximum(scale, magnitude / (x_scale * BIAS_ROOM))
    scale = np.where(scale > 0, scale, 1.0)
    return np.maximum(scale, float(np.finfo(np.float32).tiny)).astype(np.float32)


def quantize_weights(rw: Rewriter, node: Node, quants: Mapping[str, Quantization], grid: Array | None = None) -> None:
    """Puts int8 weights behind a DequantizeLinear in front of `node`; the bias stays float.

    grid: float32 [N], scales to take where the bias leaves room for them.
    """
    axis = 1 if node.op == "MatMul" else 0
    weight = np.moveaxis(rw.graph.constants[node.inputs[1]], axis, 0)
    bias = rw.constant(node.inputs[2]) if len(node.inputs) > 2 and node.inputs[2] else None
    scale = weight_scale(weight, bias, float(quants[node.inputs[0]].scale))
    if grid is not None:
        scale = np.maximum(scale, grid)
    rows = scale.reshape(-1, *(1,) * (weight.ndim - 1))
    values = np.clip(np.rint(weight / rows), -WEIGHT_LIMIT, WEIGHT_LIMIT).astype(np.int8)
    values = np.moveaxis(values, 0, axis)
    quant = Quantization(scale, np.zeros(len(scale), np.int32), axis)
    stored = rw.add_constant(f"{node.inputs[1]}_int8", values, quant)
    restored = rw.add_tensor(f"{node.inputs[1]}_restored", TensorType("float32", values.shape))
    dequantize = Node("DequantizeLinear", (stored,), (restored,), {"axis": axis}, restored)
    renewed = Node(node.op, (node.inputs[0], restored, *node.inputs[2:]), node.outputs, dict(node.attrs), node.name)
    rw.replace([node], [dequantize, renewed])


def surround(rw: Rewriter, name: str, quant: Quantization, unrounded: set[int]) -> None:
    """What reads float `name` reads it rounded to 8 bits, but for the nodes whose id is in `unrounded`,
    which are given for values that float operators make. Outputs of the graph keep their names."""
    kind = rw.graph.types[name]
    stored = rw.add_tensor(f"{name}{QUANTIZED}", TensorType("uint8", kind.shape, quant))
    maker = rw.maker(name)
    readers = [node for node in rw.readers(name) if id(node) not in unrounded]
    exact, rounded = name, rw.add_tensor(f"{name}_rounded", kind)
    if name in rw.graph.outputs and maker is not None and not unrounded:
        exact, rounded = rounded, name
        rw.set_outputs(maker, [exact if out == name else out for out in maker.outputs])
    pair = [
        Node("QuantizeLinear", (exact,), (stored,), {}, f"{name}_quantize"),
        Node("DequantizeLinear", (stored,), (rounded,), {}, f"{name}_dequantize"),
    ]
    rw.insert_after(maker, pair)
    for reader in readers:
        rw.set_inputs(reader, [rounded if x == name else x for x in reader.inputs])
