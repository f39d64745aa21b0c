"""Normalizations along an axis: softmax and its logarithm, L2 and local response normalization.
Activations that know no axis are in `lift_elementwise.py`."""

from __future__ import annotations

from edgert.converters.tflite.builder import Builder
from edgert.converters.tflite.lifts import lift
from edgert.converters.tflite.model import TfliteOperator

L2_EPSILON = 1e-6
"""The least norm that is divided by. Source: TensorFlow Lite, reference_ops::L2Normalization."""


@lift("SOFTMAX")
def softmax(b: Builder, op: TfliteOperator) -> None:
    """exp(beta * x) / sum over the last axis."""
    x, beta = b.use(op.inputs[0]), float(op.options["beta"])
    if beta != 1.0:
        x = b.step("Mul", [x, b.scalar("beta", beta, b.dtype(op.inputs[0]))])
    b.emit(op, "Softmax", [x], {"axis": -1})


@lift("LOG_SOFTMAX")
def log_softmax(b: Builder, op: TfliteOperator) -> None:
    b.emit(op, "LogSoftmax", [b.use(op.inputs[0])], {"axis": -1})


@lift("L2_NORMALIZATION")
def l2_normalization(b: Builder, op: TfliteOperator) -> None:
    """x / max(norm of the last axis, epsilon)."""
    x = b.use(op.inputs[0])
    norm = b.step("ReduceL2", [x, b.ints("axes", [-1])], {"keepdims": 1})
    norm = b.step("Max", [norm, b.scalar("epsilon", L2_EPSILON, b.dtype(op.inputs[0]))])
    b.emit_fused(op, "Div", [x, norm])


@lift("LOCAL_RESPONSE_NORMALIZATION")
def local_response_normalization(b: Builder, op: TfliteOperator) -> None:
    """x * (bias + alpha * sum of squares of 2 * radius + 1 channels) ** -beta; ONNX divides alpha by their number."""
    size = 2 * int(op.options["radius"]) + 1
    alpha, beta, bias = (float(op.options[key]) for key in ("alpha", "beta", "bias"))
    b.emit_nchw(op, "LRN", [b.nchw(op.inputs[0])], {"size": size, "alpha": alpha * size, "beta": beta, "bias": bias})
