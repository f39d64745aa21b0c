"""Arithmetic, elementary functions, activations, comparisons, logic and casts, value by value.
Axes stay as they are: nothing here knows of images."""

from __future__ import annotations

import math

import numpy as np

from edgert.converters.tflite.builder import Builder, Refused
from edgert.converters.tflite.lifts import lift
from edgert.converters.tflite.model import TfliteOperator
from edgert.graph.ir import DTYPES

UNARY = {
    "ABS": "Abs", "NEG": "Neg", "EXP": "Exp", "LOG": "Log", "SQRT": "Sqrt", "SIN": "Sin", "COS": "Cos",
    "CEIL": "Ceil", "FLOOR": "Floor", "ROUND": "Round", "SIGN": "Sign", "LOGICAL_NOT": "Not", "TANH": "Tanh",
    "LOGISTIC": "Sigmoid", "RELU": "Relu", "ELU": "Elu",
}  # fmt: skip
"""Operators of one input and no options that ONNX has too."""

FUSED = {"ADD": "Add", "SUB": "Sub", "MUL": "Mul", "DIV": "Div"}
"""Operators of two inputs with a fused activation."""

BINARY = {
    "POW": "Pow", "MAXIMUM": "Max", "MINIMUM": "Min", "LOGICAL_AND": "And", "LOGICAL_OR": "Or",
    "BITWISE_XOR": "BitwiseXor",
}  # fmt: skip

COMPARE = {"EQUAL": "Equal", "GREATER": "Greater", "GREATER_EQUAL": "GreaterOrEqual", "LESS": "Less",
           "LESS_EQUAL": "LessOrEqual"}  # fmt: skip

CLIPS = {"RELU6": (0.0, 6.0), "RELU_N1_TO_1": (-1.0, 1.0), "RELU_0_TO_1": (0.0, 1.0)}


@lift(*UNARY)
def unary(b: Builder, op: TfliteOperator) -> None:
    """The ONNX operator of the same meaning."""
    b.emit(op, UNARY[op.op], [b.use(op.inputs[0])])


@lift(*FUSED)
def fused_binary(b: Builder, op: TfliteOperator) -> None:
    """Two inputs that broadcast, then the fused activation. Integers divide toward zero."""
    b.emit_fused(op, FUSED[op.op], [b.use(op.inputs[0]), b.use(op.inputs[1])])


@lift(*BINARY)
def binary(b: Builder, op: TfliteOperator) -> None:
    """Two inputs that broadcast."""
    kind = BINARY[op.op]
    moves = kind in ("Max", "Min")
    b.emit(op, kind, [b.data(i) if moves else b.use(i) for i in op.inputs[:2]])


@lift(*COMPARE)
def compare(b: Builder, op: TfliteOperator) -> None:
    """bool of two inputs that broadcast; quantized ones are compared as real numbers."""
    b.emit(op, COMPARE[op.op], [b.real(op.inputs[0]), b.real(op.inputs[1])])


@lift("NOT_EQUAL")
def not_equal(b: Builder, op: TfliteOperator) -> None:
    b.emit(op, "Not", [b.step("Equal", [b.real(op.inputs[0]), b.real(op.inputs[1])])])


@lift("RSQRT")
def rsqrt(b: Builder, op: TfliteOperator) -> None:
    b.emit(op, "Reciprocal", [b.step("Sqrt", [b.use(op.inputs[0])])])


@lift("SQUARE")
def square(b: Builder, op: TfliteOperator) -> None:
    x = b.use(op.inputs[0])
    b.emit(op, "Mul", [x, x])


@lift("SQUARED_DIFFERENCE")
def squared_difference(b: Builder, op: TfliteOperator) -> None:
    difference = b.step("Sub", [b.use(op.inputs[0]), b.use(op.inputs[1])])
    b.emit(op, "Mul", [difference, difference])


@lift("ADD_N")
def add_n(b: Builder, op: TfliteOperator) -> None:
    """The sum of all inputs, in their order."""
    first, *others = [b.use(i) for i in op.inputs]
    if not others:
        b.emit(op, "Identity", [first])
        return
    for other in others[:-1]:
        first = b.step("Add", [first, other])
    b.emit(op, "Add", [first, others[-1]])


@lift("FLOOR_DIV")
def floor_div(b: Builder, op: TfliteOperator) -> None:
    """The quotient rounded down. Of integers it is what is left without the remainder, which divides evenly."""
    x, y = b.use(op.inputs[0]), b.use(op.inputs[1])
    if DTYPES[b.dtype(op.inputs[0])].kind == "f":
        b.emit(op, "Floor", [b.step("Div", [x, y])])
    else:
        b.emit(op, "Div", [b.step("Sub", [x, b.step("Mod", [x, y])]), y])


@lift("FLOOR_MOD")
def floor_mod(b: Builder, op: TfliteOperator) -> None:
    """The remainder with the sign of the divisor."""
    b.emit(op, "Mod", [b.use(op.inputs[0]), b.use(op.inputs[1])])


@lift("ATAN2")
def atan2(b: Builder, op: TfliteOperator) -> None:
    """The angle of (x, y): atan(y / x), turned by half a circle to the side of y where x < 0; 0 at the origin."""
    y, x = b.use(op.inputs[0]), b.use(op.inputs[1])
    dtype = b.dtype(op.inputs[0])
    zero, pi = b.scalar("zero", 0, dtype), b.scalar("pi", math.pi, dtype)
    turn = b.step("Where", [b.step("Less", [y, zero]), b.step("Neg", [pi]), pi])
    angle = b.step("Atan", [b.step("Div", [y, x])])
    turned = b.step("Where", [b.step("Less", [x, zero]), b.step("Add", [angle, turn]), angle])
    origin = b.step("And", [b.step("Equal", [x, zero]), b.step("Equal", [y, zero])])
    b.emit(op, "Where", [origin, zero, turned])


@lift("RIGHT_SHIFT")
def right_shift(b: Builder, op: TfliteOperator) -> None:
    """x >> n, which keeps the sign: the quotient by 2 ** n rounded down, n at most the bits of x less one."""
    dtype = b.dtype(op.inputs[0])
    most = DTYPES[dtype].itemsize * 8 - 1
    wide = [b.step("Cast", [b.use(i)], {"to": "int64"}) for i in op.inputs[:2]]
    shift = b.step("Max", [wide[1], b.scalar("zero", 0, "int64")])
    power = b.step("Pow", [b.scalar("two", 2, "int64"), b.step("Min", [shift, b.scalar("most", most, "int64")])])
    rest = b.step("Mod", [wide[0], power])
    b.emit(op, "Cast", [b.step("Div", [b.step("Sub", [wide[0], rest]), power])], {"to": dtype})


@lift(*CLIPS)
def clip(b: Builder, op: TfliteOperator) -> None:
    low, high = CLIPS[op.op]
    dtype = b.dtype(op.inputs[0])
    b.emit(op, "Clip", [b.use(op.inputs[0]), b.scalar("low", low, dtype), b.scalar("high", high, dtype)])


@lift("HARD_SWISH")
def hard_swish(b: Builder, op: TfliteOperator) -> None:
    """x * clip(x + 3, 0, 6) / 6."""
    b.emit(op, "HardSwish", [b.use(op.inputs[0])])


@lift("LEAKY_RELU")
def leaky_relu(b: Builder, op: TfliteOperator) -> None:
    b.emit(op, "LeakyRelu", [b.use(op.inputs[0])], {"alpha": float(op.options["alpha"])})


@lift("PRELU")
def prelu(b: Builder, op: TfliteOperator) -> None:
    """alpha broadcasts to x; on an image [B, H, W, C] it is mostly [1, 1, C]."""
    b.emit(op, "PRelu", [b.use(op.inputs[0]), b.use(op.inputs[1])])


@lift("GELU")
def gelu(b: Builder, op: TfliteOperator) -> None:
    kind = "tanh" if op.options["approximate"] else "none"
    b.emit(op, "Gelu", [b.use(op.inputs[0])], {"approximate": kind})


@lift("CAST")
def cast(b: Builder, op: TfliteOperator) -> None:
    """Floats to integers toward zero. Of a quantized tensor the stored values are cast."""
    x, out = op.inputs[0], op.outputs[0]
    if b.is_quantized(x) or b.is_quantized(out):
        raise Refused("quantization", "expected numbers to cast, found a quantized tensor; dequantize it first")
    b.emit(op, "Cast", [b.use(x)], {"to": b.dtype(out)})


@lift("DEQUANTIZE")
def dequantize(b: Builder, op: TfliteOperator) -> None:
    """Constants become float32 at once: float16 weights are stored so. Others are scale * (stored - zero point)."""
    x, out = op.inputs[0], op.outputs[0]
    value, quant = b.value(x), b.tensor(x).quant
    if value is not None and value.dtype.kind == "f":
        b.fold(out, value.astype(np.float32))
    elif b.dtype(x) in ("float16", "float32"):
        b.emit(op, "Cast", [b.use(x)], {"to": "float32"})
    elif quant is None:
        raise Refused("quantization", "expected a scale and zero point, found none")
    else:
        b.emit(op, "DequantizeLinear", [b.use(x)])


@lift("DENSIFY")
def densify(b: Builder, op: TfliteOperator) -> None:
    """A sparse constant with its zeros filled in, which the reader does."""
    b.fold(op.outputs[0], b.need_value(op.inputs[0], "sparse tensor"))


@lift("QUANTIZE")
def quantize(b: Builder, op: TfliteOperator) -> None:
    """Real numbers to stored ones, halves as ONNX rounds them; a quantized tensor goes through its real values."""
    b.emit(op, "QuantizeLinear", [b.real(op.inputs[0])])


@lift("SELECT", "SELECT_V2")
def select(b: Builder, op: TfliteOperator) -> None:
    """x where the condition holds, else y. SELECT with a vector condition chooses whole rows."""
    condition, x, y = op.inputs[:3]
    chosen = b.use(condition)
    rank = b.rank(x)
    if op.op == "SELECT" and b.rank(condition) == 1 and rank > 1:
        chosen = b.step("Unsqueeze", [chosen, b.ints("axes", range(1, rank))])
    b.emit(op, "Where", [chosen, b.data(x), b.data(y)])


@lift("BUCKETIZE")
def bucketize(b: Builder, op: TfliteOperator) -> None:
    """How many of the rising boundaries are at most x, int32."""
    bounds = [float(v) for v in op.options["boundaries"]]
    x = op.inputs[0]
    wide = b.step("Unsqueeze", [b.step("Cast", [b.use(x)], {"to": "float32"}), b.ints("axes", [-1])])
    reached = b.step("GreaterOrEqual", [wide, b.constant("boundaries", np.array(bounds, np.float32))])
    counted = b.step("Cast", [reached], {"to": "int32"})
    b.emit(op, "ReduceSum", [counted, b.ints("axes", [-1])], {"keepdims": 0})
