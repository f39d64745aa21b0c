"""Convolutions: CONV_2D, DEPTHWISE_CONV_2D, TRANSPOSE_CONV, their three-dimensional forms and a custom one.
Weights become ONNX's [N, C / group, *K] once, when they are constant; activations move between two Transposes."""

from __future__ import annotations

import struct
from collections.abc import Sequence

import numpy as np

from edgert.converters.tflite.builder import Builder, Refused
from edgert.converters.tflite.lifts import lift
from edgert.converters.tflite.model import ABSENT, TfliteOperator
from edgert.graph.ir import Attr


def weights(b: Builder, index: int, perm: Sequence[int], shape: Sequence[int] | None = None) -> str:
    """Weight tensor `index` as float32, axes in the order `perm`, then in `shape`.

    int8 weights of a layer on floats (dynamic-range quantization) become floats; constants are moved at once.
    """
    value = b.value(index)
    if value is None:
        moved = b.moved(b.use(index), perm)
        return moved if shape is None else b.step("Reshape", [moved, b.ints("shape", shape)])
    if b.is_quantized(index):
        b.notes.append(f"weights {b.tensor(index).name!r} are dequantized: their layer computes on floats")
    value = dequantized(b, index)
    name = f"{b.tensor(index).name}/{''.join(map(str, perm))}"
    return b.constant_of(index, name, value.transpose(perm) if shape is None else value.transpose(perm).reshape(shape))


def dequantized(b: Builder, index: int) -> np.typing.NDArray[np.float32]:
    """The real values of constant `index`: scale * (stored - zero point) where it is quantized.
    Source: TensorFlow Lite quantization specification."""
    value, quant = b.need_value(index, "weights"), b.tensor(index).quant
    if quant is None or value.dtype.kind == "f":
        return np.asarray(value, np.float32)
    shape = [1] * value.ndim
    if not quant.per_tensor:
        shape[quant.axis] = -1
    zero = quant.zero_point.reshape(shape).astype(np.int32)
    return (value.astype(np.int32) - zero).astype(np.float32) * quant.scale.reshape(shape)


def bias(b: Builder, index: int) -> str:
    """A bias as float32, '' when absent. Zeros are as good as none."""
    if index == ABSENT:
        return ""
    value = b.value(index)
    if value is None:
        return b.use(index)
    real = dequantized(b, index)
    return b.constant(b.tensor(index).name, real) if real.any() else ""


def window_attrs(op: TfliteOperator) -> dict[str, Attr]:
    """Strides, dilations and padding of a two-dimensional window, as ONNX says them."""
    attrs: dict[str, Attr] = {
        "strides": [int(op.options["stride_h"]), int(op.options["stride_w"])],
        "auto_pad": padding(op),
    }
    dilations = [int(op.options.get("dilation_h_factor", 1)), int(op.options.get("dilation_w_factor", 1))]
    if dilations != [1, 1]:
        attrs["dilations"] = list(dilations)
    return attrs


def padding(op: TfliteOperator) -> str:
    """auto_pad: TensorFlow's SAME puts the odd one at the end."""
    kind = str(op.options["padding"])
    if kind not in ("SAME", "VALID"):
        raise Refused("padding", f"expected SAME or VALID, found {kind}")
    return "SAME_UPPER" if kind == "SAME" else "VALID"


@lift("CONV_2D")
def conv_2d(b: Builder, op: TfliteOperator) -> None:
    """x [B, H, W, C], weights [N, kh, kw, C / groups], bias [N] to [B, h, w, N]."""
    x, w = op.inputs[:2]
    channels, per_group = b.need_size(x, 3, "number of channels"), b.need_size(w, 3, "number of channels")
    if per_group < 1 or channels % per_group:
        raise Refused("weights", f"expected weights of a divisor of {channels} channels, found {per_group}")
    attrs = {**window_attrs(op), "group": channels // per_group}
    b.emit_nchw(op, "Conv", [b.nchw(x), weights(b, w, [0, 3, 1, 2]), bias(b, op.input(2))], attrs)


@lift("DEPTHWISE_CONV_2D")
def depthwise_conv_2d(b: Builder, op: TfliteOperator) -> None:
    """x [B, H, W, C], weights [1, kh, kw, C * multiplier], bias to [B, h, w, C * multiplier]."""
    x, w = op.inputs[:2]
    channels, count = b.need_size(x, 3, "number of channels"), b.need_size(w, 3, "number of channels")
    if channels < 1 or count % channels:
        raise Refused("weights", f"expected weights of a multiple of {channels} channels, found {count}")
    attrs = {**window_attrs(op), "group": channels}
    b.emit_nchw(op, "Conv", [b.nchw(x), weights(b, w, [3, 0, 1, 2]), bias(b, op.input(2))], attrs)


def transposed_pads(size: int, out: int, kernel: int, stride: int, same: bool) -> tuple[int, int, int]:
    """(before, after, output padding) of one axis of a transposed convolution that makes `out` of `size`.
    Source: TensorFlow Lite, transpose_conv.cc (the padding of the convolution it inverts)."""
    forward = -(-out // stride) if same else (out - kernel) // stride + 1
    before = max((forward - 1) * stride + kernel - out, 0) // 2 if same else 0
    after = stride * (size - 1) + kernel - before - out
    return before, max(after, 0), max(-after, 0)


def conv_transpose(
    b: Builder, op: TfliteOperator, x: int, w: str, bias_name: str, kernel: Sequence[int], out: Sequence[int]
) -> None:
    """A transposed convolution of x [B, H, W, C] to [B, *out, N]; w is [C, N, kh, kw]."""
    sizes = [b.need_size(x, axis, "image size") for axis in (1, 2)]
    strides = [int(op.options["stride_h"]), int(op.options["stride_w"])]
    same = padding(op) == "SAME_UPPER"
    if min(strides) < 1:
        raise Refused("strides", f"expected strides >= 1, found {strides}")
    pads = [transposed_pads(*axis, same) for axis in zip(sizes, out, kernel, strides, strict=True)]
    attrs: dict[str, Attr] = {"strides": strides, "pads": [p[0] for p in pads] + [p[1] for p in pads]}
    if any(p[2] for p in pads):
        attrs["output_padding"] = [p[2] for p in pads]
    b.emit_nchw(op, "ConvTranspose", [b.nchw(x), w, bias_name], attrs)


@lift("TRANSPOSE_CONV")
def transpose_conv(b: Builder, op: TfliteOperator) -> None:
    """output_shape [4], weights [N, kh, kw, C], x [B, H, W, C], bias [N] to output_shape."""
    target, w, x = op.inputs[:3]
    given, kernel = b.value(target), b.tensor(w).shape[1:3]
    out = (
        [int(v) for v in given.ravel()[1:3]]
        if given is not None
        else [b.need_size(op.outputs[0], axis, "output_shape") for axis in (1, 2)]
    )
    conv_transpose(b, op, x, weights(b, w, [3, 0, 1, 2]), bias(b, op.input(3)), kernel, out)


@lift("Convolution2DTransposeBias")
def convolution_2d_transpose_bias(b: Builder, op: TfliteOperator) -> None:
    """x [B, H, W, C], weights [N, kh, kw, C], bias [N] to the declared output. The options are the C struct
    TfLiteTransposeConvParams: padding (1 SAME, 2 VALID), stride width, stride height, int32.
    Source: MediaPipe, util/tflite/operations/transpose_conv_bias.cc."""
    if len(op.custom_options) < 12:
        raise Refused("custom_options", f"expected at least 12 bytes, found {len(op.custom_options)}")
    pad, width, height = struct.unpack_from("<3i", op.custom_options)
    if pad not in (1, 2):
        raise Refused("custom_options", f"expected padding 1 or 2, found {pad}")
    op.options = {**op.options, "padding": "SAME" if pad == 1 else "VALID", "stride_w": width, "stride_h": height}
    x, w = op.inputs[:2]
    out = [b.need_size(op.outputs[0], axis, "image size") for axis in (1, 2)]
    kernel = b.tensor(w).shape[1:3]
    conv_transpose(b, op, x, weights(b, w, [3, 0, 1, 2]), bias(b, op.input(2)), kernel, out)


TO_NCDHW, TO_NDHWC = [0, 4, 1, 2, 3], [0, 2, 3, 4, 1]


@lift("CONV_3D")
def conv_3d(b: Builder, op: TfliteOperator) -> None:
    """x [B, D, H, W, C], weights [kd, kh, kw, C / groups, N], bias [N] to [B, d, h, w, N]."""
    x, w = op.inputs[:2]
    channels, per_group = b.need_size(x, 4, "number of channels"), b.need_size(w, 3, "number of channels")
    if per_group < 1 or channels % per_group:
        raise Refused("weights", f"expected weights of a divisor of {channels} channels, found {per_group}")
    attrs: dict[str, Attr] = {
        "strides": [int(op.options[f"stride_{axis}"]) for axis in "dhw"],
        "dilations": [int(op.options[f"dilation_{axis}_factor"]) for axis in "dhw"],
        "auto_pad": padding(op),
        "group": channels // per_group,
    }
    inputs = [b.moved(b.use(x), TO_NCDHW), weights(b, w, [4, 3, 0, 1, 2]), bias(b, op.input(2))]
    b.emit_moved(op, "Conv", inputs, attrs, TO_NDHWC)


@lift("CONV_3D_TRANSPOSE")
def conv_3d_transpose(b: Builder, op: TfliteOperator) -> None:
    """output_shape [5], weights [kd, kh, kw, N, C], x [B, D, H, W, C], bias [N] to output_shape."""
    target, w, x = op.inputs[:3]
    given = b.value(target)
    out = (
        [int(v) for v in given.ravel()[1:4]]
        if given is not None
        else [b.need_size(op.outputs[0], axis, "output_shape") for axis in (1, 2, 3)]
    )
    if any(int(op.options[f"dilation_{axis}_factor"]) != 1 for axis in "dhw"):
        raise Refused("dilation", "expected no dilation of a transposed convolution")
    sizes = [b.need_size(x, axis, "image size") for axis in (1, 2, 3)]
    strides = [int(op.options[f"stride_{axis}"]) for axis in "dhw"]
    same, kernel = padding(op) == "SAME_UPPER", b.tensor(w).shape[:3]
    pads = [transposed_pads(*axis, same) for axis in zip(sizes, out, kernel, strides, strict=True)]
    attrs: dict[str, Attr] = {
        "strides": strides,
        "pads": [p[0] for p in pads] + [p[1] for p in pads],
        "output_padding": [p[2] for p in pads],
    }
    inputs = [b.moved(b.use(x), TO_NCDHW), weights(b, w, [4, 3, 0, 1, 2]), bias(b, op.input(3))]
    b.emit_moved(op, "ConvTranspose", inputs, attrs, TO_NDHWC)
