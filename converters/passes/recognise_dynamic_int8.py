"""Products of integers whose activations are quantized as the model runs become float products with int8 weights.
That is what ONNX Runtime's dynamic quantization writes; how such weights are stored is in `int8_weights.py`."""

from __future__ import annotations

import numpy as np

from edgert.converters.passes.rewrite import Rewriter
from edgert.graph.ir import Array, Graph, Node, Quantization, TensorType

PRODUCTS = {"MatMulInteger": "MatMul", "ConvInteger": "Conv"}


def recognise_dynamic_int8(graph: Graph) -> Graph:
    """Rewrites DynamicQuantizeLinear -> MatMulInteger or ConvInteger -> Cast -> Mul by both scales.

    The result is x (not rounded to 8 bits) times the weights that the constant integers stand for, behind a
    DequantizeLinear. Source: onnxruntime.quantization.quantize_dynamic.
    """
    rw = Rewriter(graph)
    for node in list(rw.graph.nodes):
        if node.op in PRODUCTS:
            rewrite(rw, node)
    return rw.finish()


def rewrite(rw: Rewriter, node: Node) -> None:
    quantize = rw.maker(node.inputs[0])
    weight = rw.constant(node.inputs[1])
    if quantize is None or quantize.op != "DynamicQuantizeLinear" or weight is None or weight.ndim < 2:
        return
    if len(node.inputs) < 3 or len(quantize.outputs) < 3 or node.inputs[2] != quantize.outputs[2]:
        return
    cast = rw.sole_reader(node.outputs[0])
    if cast is None or cast.op != "Cast":
        return
    found = scaled(rw, cast, quantize.outputs[1])
    if found is None:
        return
    chain, scale = found
    axis = 0 if node.op == "ConvInteger" else weight.ndim - 1
    quant = quantization(rw, node, weight, scale, axis)
    if quant is None:
        return
    stem = node.name or node.outputs[0]
    stored = rw.add_constant(f"{node.inputs[1]}_int8", weight, quant)
    real = rw.add_tensor(f"{node.inputs[1]}_real", TensorType("float32", weight.shape))
    product = Node(PRODUCTS[node.op], (quantize.inputs[0], real), chain[-1].outputs, dict(node.attrs), stem)
    new = [Node("DequantizeLinear", (stored,), (real,), {}, f"{stem}_weights"), product]
    rw.replace([node, cast, *chain], new)


def scaled(rw: Rewriter, cast: Node, scale: str) -> tuple[list[Node], Array] | None:
    """(the Muls after `cast`, the product of their constants) where they multiply by `scale`, once; else None."""
    kind = rw.type_of(cast.outputs[0])
    if kind is not None and kind.dtype != "float32":
        return None
    chain: list[Node] = []
    last, seen, constants = cast, 0, list[Array]()
    while seen == 0 or not constants:
        reader = rw.sole_reader(last.outputs[0])
        if reader is None or reader.op != "Mul" or reader.attr_str("activation", ""):
            break
        leaves = factors(rw, next(name for name in reader.inputs if name != last.outputs[0]), scale)
        if leaves is None:
            break
        chain.append(reader)
        last = reader
        seen += sum(leaf is None for leaf in leaves)
        constants += [value for value in leaves if value is not None]
    if seen != 1:
        return None
    product = np.ones((), np.float32)
    for value in constants:
        product = np.asarray(product * value, np.float32)
    return chain, product


def factors(rw: Rewriter, name: str, scale: str) -> list[Array | None] | None:
    """What `name` is the product of: constants, and None for the tensor `scale`. None if there is anything else."""
    if name == scale:
        return [None]
    value = rw.constant(name)
    if value is not None:
        return [value]
    node = rw.maker(name)
    if node is None or node.op != "Mul":
        return None
    parts = [factors(rw, part, scale) for part in node.inputs]
    return (
        None if any(part is None for part in parts) else [leaf for part in parts if part is not None for leaf in part]
    )


def quantization(rw: Rewriter, node: Node, weight: Array, scale: Array, axis: int) -> Quantization | None:
    """What makes the weights of their integers: one scale, or one per index of `axis`."""
    zero: Array = np.zeros((), np.int32)
    if len(node.inputs) > 3 and node.inputs[3]:
        given = rw.constant(node.inputs[3])
        if given is None:
            return None
        zero = given.astype(np.int32)
    count = weight.shape[axis]
    # Of a convolution's output [N, C, ...], a scale per channel has axes of size 1 behind it.
    if any(value.size not in (1, count) for value in (scale, zero)):
        return None
    place = scale.ndim - (weight.ndim - 1 if axis == 0 else 1)
    if scale.size > 1 and (place < 0 or scale.shape[place] != count):
        return None
    if not np.isfinite(scale).all() or not (scale > 0).all():
        return None
    if scale.size == 1 and zero.size == 1:
        return Quantization(scale.reshape(()), zero.reshape(()))
    spread = [np.array(np.broadcast_to(value.reshape(-1), (count,))) for value in (scale, zero)]
    return Quantization(spread[0].astype(np.float32), spread[1].astype(np.int32), axis)
