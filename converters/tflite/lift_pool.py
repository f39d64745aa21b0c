"""Pooling over windows, and MediaPipe's pair that pools with positions and puts values back.
Pooling over whole images written as MEAN is in `lift_reduce.py`."""

from __future__ import annotations

from edgert.converters.tflite.builder import Builder
from edgert.converters.tflite.lift_conv import window_attrs
from edgert.converters.tflite.lifts import lift
from edgert.converters.tflite.model import TfliteOperator
from edgert.graph.ir import Attr


def pool_attrs(op: TfliteOperator) -> dict[str, Attr]:
    """The window of a pooling. Averages leave pads out of the count, as ONNX does by default."""
    kernel = [int(op.options["filter_height"]), int(op.options["filter_width"])]
    return {**window_attrs(op), "kernel_shape": kernel}


def is_global(b: Builder, op: TfliteOperator, x: int) -> bool:
    """Whether the window is the whole image."""
    kernel = (op.options["filter_height"], op.options["filter_width"])
    return b.shape(x)[1:3] == kernel and op.options["padding"] == "VALID"


@lift("AVERAGE_POOL_2D", "MAX_POOL_2D")
def pool_2d(b: Builder, op: TfliteOperator) -> None:
    """x [B, H, W, C] to [B, h, w, C]; padding counts neither for a mean nor for a maximum."""
    x = op.inputs[0]
    kind = "AveragePool" if op.op == "AVERAGE_POOL_2D" else "MaxPool"
    if is_global(b, op, x):
        b.emit_nchw(op, f"Global{kind}", [b.nchw(x)])
    else:
        b.emit_nchw(op, kind, [b.nchw(x)], pool_attrs(op))


@lift("L2_POOL_2D")
def l2_pool_2d(b: Builder, op: TfliteOperator) -> None:
    """The root of the mean of squares in each window. Source: TensorFlow Lite, reference_ops::L2Pool."""
    x = b.nchw(op.inputs[0])
    means = b.step("AveragePool", [b.step("Mul", [x, x])], pool_attrs(op))
    b.emit_nchw(op, "Sqrt", [means])
