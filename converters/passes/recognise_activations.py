"""Activations that exporters write out in pieces become one operator: Gelu, HardSwish, HardSigmoid, Swish.
Hendrycks and Gimpel 2016 (Gelu); Howard et al. 2019 (HardSwish); Ramachandran et al. 2017 (Swish)."""

from __future__ import annotations

import math

from edgert.converters.passes.fuse_activation import clip_bounds
from edgert.converters.passes.rewrite import Rewriter
from edgert.graph.ir import Attr, Graph, Node


def recognise_activations(graph: Graph) -> Graph:
    """Replaces the written-out forms of four activations. Constants may differ by the rounding of float32."""
    rw = Rewriter(graph)
    for node in list(rw.graph.nodes):
        if rw.maker(node.outputs[0]) is not node:
            continue
        if node.op == "Clip":
            hard_sigmoid(rw, node)
        elif node.op == "Erf":
            gelu(rw, node, "none")
        elif node.op == "Tanh":
            gelu(rw, node, "tanh")
    for node in list(rw.graph.nodes):
        if node.op == "Mul" and rw.maker(node.outputs[0]) is node:
            gated(rw, node)
    return rw.finish()


def near(value: float | None, wanted: float) -> bool:
    return value is not None and math.isclose(value, wanted, rel_tol=1e-5)


def constant_operand(rw: Rewriter, node: Node | None, op: str, value: float) -> str | None:
    """The other input of `node` when it is `op` with the constant `value` (on the right for Div)."""
    if node is None or node.op != op or node.attr_str("activation", ""):
        return None
    left, right = node.inputs
    if near(rw.scalar(right), value):
        return left
    return right if op != "Div" and near(rw.scalar(left), value) else None


def scaled_by(rw: Rewriter, node: Node | None, factor: float) -> str | None:
    """x when `node` is x * factor or x / (1 / factor), else None."""
    return constant_operand(rw, node, "Mul", factor) or constant_operand(rw, node, "Div", 1 / factor)


def hard_sigmoid(rw: Rewriter, clip: Node) -> None:
    """Clip(x + 3, 0, 6) / 6 becomes HardSigmoid(x); the form times x becomes HardSwish later."""
    x = constant_operand(rw, rw.maker(clip.inputs[0]), "Add", 3.0)
    if x is None or clip_bounds(rw, clip) != (0.0, 6.0):
        return
    reader = rw.sole_reader(clip.outputs[0])
    attrs: dict[str, Attr] = {"alpha": 1 / 6, "beta": 0.5}
    if reader is not None and scaled_by(rw, reader, 1 / 6) == clip.outputs[0]:
        rw.replace([reader], [Node("HardSigmoid", (x,), reader.outputs, attrs, reader.name)])
    elif reader is not None and reader.op == "Mul" and x in reader.inputs:
        # x * Clip(x + 3, 0, 6), divided by 6 afterwards.
        last = rw.sole_reader(reader.outputs[0])
        if last is not None and scaled_by(rw, last, 1 / 6) == reader.outputs[0]:
            rw.replace([reader, last], [Node("HardSwish", (x,), last.outputs, {}, last.name)])


def gated(rw: Rewriter, node: Node) -> None:
    """x * Sigmoid(x) becomes Swish, x * HardSigmoid(x; 1/6, 1/2) HardSwish."""
    for x, gate in (node.inputs, node.inputs[::-1]):
        maker = rw.maker(gate)
        if maker is None or not maker.inputs or maker.inputs[0] != x or rw.sole_reader(gate) is not node:
            continue
        if maker.op == "Sigmoid":
            rw.replace([maker, node], [Node("Swish", (x,), node.outputs, {}, node.name)])
        elif maker.op == "HardSigmoid" and near(maker.attr_float("alpha", 0.2), 1 / 6):
            if near(maker.attr_float("beta", 0.5), 0.5):
                rw.replace([maker, node], [Node("HardSwish", (x,), node.outputs, {}, node.name)])
        else:
            continue
        return


def gelu(rw: Rewriter, node: Node, approximate: str) -> None:
    """0.5 * x * (1 + erf(x / sqrt 2)), or with tanh of a cubic, in any order of its factors."""
    inner = rw.maker(node.inputs[0])
    x = scaled_by(rw, inner, math.sqrt(0.5)) if approximate == "none" else cubic(rw, inner)
    plus_one = rw.sole_reader(node.outputs[0])
    if x is None or plus_one is None or constant_operand(rw, plus_one, "Add", 1.0) != node.outputs[0]:
        return
    tensor, missing, chain = plus_one.outputs[0], {"x", "half"}, [plus_one]
    while missing:
        product = rw.sole_reader(tensor)
        if product is None or product.op != "Mul":
            return
        other = product.inputs[1] if product.inputs[0] == tensor else product.inputs[0]
        if other == x:
            found = {"x"}
        elif near(rw.scalar(other), 0.5):
            found = {"half"}
        elif scaled_by(rw, rw.maker(other), 0.5) == x:
            found = {"x", "half"}
        else:
            return
        if not found <= missing:
            return
        missing -= found
        chain.append(product)
        tensor = product.outputs[0]
    last = chain[-1]
    attrs: dict[str, Attr] = {"approximate": approximate}
    rw.replace([node, *chain], [Node("Gelu", (x,), last.outputs, attrs, last.name)])


def cubic(rw: Rewriter, node: Node | None) -> str | None:
    """x when `node` computes sqrt(2 / pi) * (x + 0.044715 * x^3), else None."""
    total = scaled_by(rw, node, math.sqrt(2 / math.pi))
    addition = rw.maker(total) if total is not None else None
    if addition is None or addition.op != "Add":
        return None
    for x, term in (addition.inputs, addition.inputs[::-1]):
        cube = scaled_by(rw, rw.maker(term), 0.044715)
        power = rw.maker(cube) if cube is not None else None
        if power is not None and power.op == "Pow" and power.inputs[0] == x:
            if near(rw.scalar(power.inputs[1]), 3.0):
                return x
        elif power is not None and power.op == "Mul":
            square = next((name for name in power.inputs if name != x), "")
            maker = rw.maker(square)
            if x in power.inputs and maker is not None and maker.op == "Mul" and set(maker.inputs) == {x}:
                return x
    return None
