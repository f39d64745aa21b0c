"""Quantized operators on places and shapes: pooling, means, concatenation, padding.
What only moves stored values needs no lift of its own; the rest of the operators go over real values.
"""

from __future__ import annotations

from edgert.converters.tflite.builder import TO_NCHW, Builder
from edgert.converters.tflite.lift_pool import is_global, pool_attrs
from edgert.converters.tflite.lift_reduce import axes_of
from edgert.converters.tflite.lifts import quantized_lift
from edgert.converters.tflite.model import TfliteOperator
from edgert.converters.tflite.quantized import (
    alike,
    bounds_attrs,
    fused_bounds,
    has_one_scale,
    in_real_numbers,
    on_bytes,
    requantized,
    unfused,
)
from edgert.graph.ir import Attr

OTHER_SCALE = "its input and output have different scales"


@on_bytes("AVERAGE_POOL_2D")
def average_pool(b: Builder, op: TfliteOperator) -> str | None:
    """The mean of the stored values in each window, halves away from the stored value 0.
    Source: TensorFlow Lite, reference_integer_ops::AveragePool."""
    x = op.inputs[0]
    if not alike(b, op):
        return OTHER_SCALE
    centre = 128 if b.tensor(x).dtype == "int8" else 0
    attrs: dict[str, Attr] = {"half_away_from": centre, **bounds_attrs(op)}
    if is_global(b, op, x):
        b.emit_nchw(unfused(op), "QLinearGlobalAveragePool", [b.nchw(x)], attrs)
    else:
        b.emit_nchw(unfused(op), "QLinearAveragePool", [b.nchw(x)], {**pool_attrs(op), **attrs})
    return None


@on_bytes("MAX_POOL_2D")
def max_pool(b: Builder, op: TfliteOperator) -> str | None:
    """The maximum of the stored values; a fused activation is a table after it."""
    x = op.inputs[0]
    if not alike(b, op):
        return OTHER_SCALE
    source = b.use(x)
    if fused_bounds(op) is not None:
        source = requantized(b, source, b.between(op, "bounded", b.type(x)), bounds_attrs(op))
    b.emit_nchw(unfused(op), "MaxPool", [b.moved(source, TO_NCHW)], pool_attrs(op))
    return None


@on_bytes("MEAN")
def mean(b: Builder, op: TfliteOperator) -> str | None:
    """Over all places of an image [B, H, W, C]."""
    x = op.inputs[0]
    if b.rank(x) != 4 or axes_of(b, op.inputs[1], 4) != [1, 2]:
        return "its axes are not the places of an image"
    if op.options["keep_dims"]:
        b.emit_nchw(op, "QLinearGlobalAveragePool", [b.nchw(x)])
        return None
    kind = b.type(op.outputs[0])
    pooled = b.between(op, "pooled", kind.with_shape((*kind.shape, 1, 1)))
    b.append("QLinearGlobalAveragePool", [b.nchw(x)], [pooled], {}, op)
    b.append("Squeeze", [pooled, b.ints("axes", [2, 3])], [b.declare(op.outputs[0])])
    return None


@on_bytes("CONCATENATION")
def concatenation(b: Builder, op: TfliteOperator) -> str | None:
    """Stored values side by side, at the scale of the output; a fused activation is a table after it."""
    if not all(has_one_scale(b, i) for i in op.inputs):
        return "a constant operand has a scale per channel"
    kind, out = "Concat" if alike(b, op) else "QLinearConcat", op.outputs[0]
    fused = fused_bounds(op) is not None
    joined = b.between(op, "joined", b.type(out)) if fused else b.declare(out)
    b.append(kind, [b.data(i) for i in op.inputs], [joined], {"axis": int(op.options["axis"])}, op)
    if fused:
        requantized(b, joined, b.declare(out), bounds_attrs(op))
    return None


REAL = (
    "DIV", "PRELU", "RSQRT", "SQUARED_DIFFERENCE", "POW", "FLOOR_DIV", "FLOOR_MOD", "ATAN2", "ADD_N",
    "L2_NORMALIZATION", "LOCAL_RESPONSE_NORMALIZATION", "SOFTMAX", "LOG_SOFTMAX", "L2_POOL_2D",
    "BATCH_MATMUL", "TRANSPOSE_CONV", "CONV_3D", "CONV_3D_TRANSPOSE", "RESIZE_BILINEAR",
    "SUM", "REDUCE_PROD", "CUMSUM", "SEGMENT_SUM", "EMBEDDING_LOOKUP",
)  # fmt: skip
"""Operators computed on the real values of their inputs and rounded once: within a step of integer arithmetic."""


@quantized_lift(*REAL)
def real(b: Builder, op: TfliteOperator) -> None:
    in_real_numbers(b, op, "it has no form on stored values")
