"""Elementwise operators on bytes: sums, products, functions of one value through tables, changes of scale.
Every table has what TensorFlow Lite's has: the function of the dequantized value, rounded once."""

from __future__ import annotations

import numpy as np

from edgert.converters.tflite.builder import Builder
from edgert.converters.tflite.lifts import LIFTS, quantized_lift
from edgert.converters.tflite.model import TfliteOperator
from edgert.converters.tflite.quantized import (
    alike,
    bounds_attrs,
    bytes_alone,
    clip_attrs,
    fused_bounds,
    has_one_scale,
    on_bytes,
    requantized,
)
from edgert.graph.ir import Attr, Quantization, TensorType

TABLES: dict[str, str] = {
    "LOGISTIC": "Sigmoid", "TANH": "Tanh", "HARD_SWISH": "HardSwish", "ELU": "Elu", "ABS": "Abs", "NEG": "Neg",
    "EXP": "Exp", "LOG": "Log", "SQRT": "Sqrt", "SIN": "Sin", "COS": "Cos", "FLOOR": "Floor", "CEIL": "Ceil",
    "ROUND": "Round", "SIGN": "Sign",
}  # fmt: skip
"""Functions of one value, by the operator whose table QLinearUnary makes."""

CLIPS = {
    "RELU": (0.0, np.inf), "RELU6": (0.0, 6.0), "RELU_N1_TO_1": (-1.0, 1.0), "RELU_0_TO_1": (0.0, 1.0),
}  # fmt: skip


@on_bytes(*TABLES)
def table(b: Builder, op: TfliteOperator) -> str | None:
    b.emit(op, "QLinearUnary", [b.data(op.inputs[0])], {"op": TABLES[op.op]})
    return None


@on_bytes("GELU")
def gelu(b: Builder, op: TfliteOperator) -> str | None:
    attrs: dict[str, Attr] = {"op": "Gelu", "approximate": "tanh" if op.options.get("approximate") else "none"}
    b.emit(op, "QLinearUnary", [b.data(op.inputs[0])], attrs)
    return None


@on_bytes("LEAKY_RELU")
def leaky_relu(b: Builder, op: TfliteOperator) -> str | None:
    attrs: dict[str, Attr] = {"op": "LeakyRelu", "alpha": float(op.options["alpha"])}
    b.emit(op, "QLinearUnary", [b.data(op.inputs[0])], attrs)
    return None


@on_bytes(*CLIPS)
def clip(b: Builder, op: TfliteOperator) -> str | None:
    """Bounds on stored values, at another scale if the output has one."""
    requantized(b, b.data(op.inputs[0]), b.declare(op.outputs[0]), clip_attrs(CLIPS[op.op]))
    return None


PER_CHANNEL = "a constant operand has a scale per channel"


def sum_attrs(b: Builder, op: TfliteOperator) -> dict[str, Attr]:
    """Fixed-point, as LiteRT's default kernels, unless scales are so far apart that these are not used."""
    *scales, out = (quant.scale for i in (*op.inputs, *op.outputs) if (quant := b.tensor(i).quant) is not None)
    return {"fixed_point": 1} if 2.0**-10 <= max(float((s / out)[0]) for s in scales) < 2.0**8 else {}


@on_bytes("ADD", "MUL", "SUB", "SQUARE")
def arithmetic(b: Builder, op: TfliteOperator) -> str | None:
    """QLinearAdd and QLinearMul. The difference is a + -b, and the stored values of -b are 255 - those of b."""
    if not all(has_one_scale(b, i) for i in op.inputs):
        return PER_CHANNEL
    inputs = [b.data(i) for i in op.inputs]
    if op.op == "SQUARE":
        inputs = [inputs[0], inputs[0]]
    if op.op == "SUB":
        quant = b.graph.types[inputs[1]].quant
        assert quant is not None
        negative = Quantization(quant.scale, 255 - quant.zero_point)
        made = b.between(op, "negative", TensorType("uint8", b.shape(op.inputs[1]), negative))
        b.append("QLinearUnary", [inputs[1]], [made], {"op": "Neg"})
        inputs[1] = made
    if op.op in ("ADD", "SUB"):
        b.emit(op, "QLinearAdd", inputs, {**sum_attrs(b, op), **bounds_attrs(op)})
        return None
    if fused_bounds(op) is None:
        b.emit(op, "QLinearMul", inputs)
        return None
    out = op.outputs[0]
    product = b.between(op, "product", b.type(out))
    b.append("QLinearMul", inputs, [product], {}, op)
    requantized(b, product, b.declare(out), bounds_attrs(op))
    return None


@on_bytes("MAXIMUM", "MINIMUM")
def extreme(b: Builder, op: TfliteOperator) -> str | None:
    """Order survives quantization: the extreme of the stored values."""
    if not alike(b, op):
        return "its tensors have different scales"
    b.emit(op, "Max" if op.op == "MAXIMUM" else "Min", [b.data(i) for i in op.inputs])
    return None


@quantized_lift("QUANTIZE")
def quantize(b: Builder, op: TfliteOperator) -> None:
    """Bytes to bytes of another scale or sign: a table, or nothing where the IR keeps both alike. Others round real
    values."""
    x, out = op.inputs[0], op.outputs[0]
    if b.value(x) is not None or not b.is_quantized(x) or not bytes_alone(b, op):
        LIFTS["QUANTIZE"](b, op)
    elif b.quant(x) == b.quant(out):
        b.emit(op, "Identity", [b.use(x)])
    else:
        requantized(b, b.use(x), b.declare(out))
