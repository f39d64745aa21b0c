"""Sums of products on bytes: CONV_2D, DEPTHWISE_CONV_2D, FULLY_CONNECTED.
Weights become symmetric int8 with a scale per filter, biases int32 in units of input scale * weight scale."""

from __future__ import annotations

from edgert.converters.tflite.builder import Builder, Refused
from edgert.converters.tflite.lift_conv import window_attrs
from edgert.converters.tflite.model import TfliteOperator
from edgert.converters.tflite.quantized import (
    bounds_attrs,
    int32_bias,
    on_bytes,
    product_scale,
    symmetric_weights,
    unfused,
)
from edgert.graph.ir import Attr

UNFIT = "its weights are not constant, or do not fit in int8 without their zero point"


def stored_weights(b: Builder, op: TfliteOperator, axis: int, perm: list[int]) -> list[str] | None:
    """IR names of weights and bias of `op`, or None when they are not the integers that kernels take."""
    x, w = op.inputs[:2]
    scale = product_scale(b, x, w)
    if scale is None or b.value(w) is None:
        return None
    filters = b.tensor(w).shape[axis]
    bias = int32_bias(b, op.input(2), scale, filters)
    weights = symmetric_weights(b, w, axis, perm) if bias is not None else None
    return None if weights is None or bias is None else [weights, bias]


@on_bytes("CONV_2D")
def conv_2d(b: Builder, op: TfliteOperator) -> str | None:
    """x [B, H, W, C], weights [N, kh, kw, C / groups], bias [N]."""
    channels, weights = b.need_size(op.inputs[0], 3, "number of channels"), b.tensor(op.inputs[1]).shape
    if weights[3] < 1 or channels % weights[3] or not channels or weights[0] % (channels // weights[3]):
        raise Refused("weights", f"expected weights of a divisor of {channels} channels, found {list(weights)}")
    group = channels // weights[3]
    return _convolution(b, op, {**window_attrs(op), "group": group}, 0, [0, 3, 1, 2])


@on_bytes("DEPTHWISE_CONV_2D")
def depthwise_conv_2d(b: Builder, op: TfliteOperator) -> str | None:
    """x [B, H, W, C], weights [1, kh, kw, C * multiplier], bias [C * multiplier]."""
    group, weights = b.need_size(op.inputs[0], 3, "number of channels"), b.tensor(op.inputs[1]).shape
    if weights[0] != 1 or group < 1 or weights[3] % group:
        raise Refused("weights", f"expected weights of a multiple of {group} channels, found {list(weights)}")
    return _convolution(b, op, {**window_attrs(op), "group": group}, 3, [3, 0, 1, 2])


def _convolution(b: Builder, op: TfliteOperator, attrs: dict[str, Attr], axis: int, perm: list[int]) -> str | None:
    constants = stored_weights(b, op, axis, perm)
    if constants is None:
        return UNFIT
    b.emit_nchw(unfused(op), "QLinearConv", [b.nchw(op.inputs[0]), *constants], {**attrs, **bounds_attrs(op)})
    return None


@on_bytes("FULLY_CONNECTED")
def fully_connected(b: Builder, op: TfliteOperator) -> str | None:
    """x of any shape as [rows, K], weights [N, K], bias [N]."""
    if str(op.options.get("weights_format", "DEFAULT")) != "DEFAULT":
        return "its weights are shuffled"
    x, w = op.inputs[:2]
    constants = stored_weights(b, op, 0, [0, 1]) if len(b.tensor(w).shape) == 2 else None
    if constants is None:
        return UNFIT
    depth, attrs, rows = b.tensor(w).shape[1], {"transB": 1, **bounds_attrs(op)}, b.data(x)
    shape, out = b.tensor(x).shape, b.rank(op.outputs[0])
    if not shape or shape[-1] != depth or (len(shape) != out and out == 2):
        rows = b.step("Reshape", [rows, b.ints("rows", [-1, depth])], None, rows)
        shape = (1, depth)
    if len(shape) == out:
        b.emit(op, "QLinearGemm", [rows, *constants], attrs)
        return None
    flat = b.between(op, "flat", b.type(op.outputs[0]).with_shape(("rows", b.tensor(w).shape[0])))
    b.append("QLinearGemm", [rows, *constants], [flat], attrs, op)
    target = b.ints("shape", [d if isinstance(d, int) else -1 for d in b.shape(op.outputs[0])])
    b.append("Reshape", [flat, target], [b.declare(op.outputs[0])])
    return None
