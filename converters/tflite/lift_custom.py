"""Custom operators of MediaPipe's models: crops by landmarks, and pooling that remembers places.
Its Convolution2DTransposeBias is in `lift_conv.py`."""

from __future__ import annotations

import struct

from edgert.converters.tflite.builder import Builder, Refused
from edgert.converters.tflite.custom_options import integers_of, numbers_of
from edgert.converters.tflite.lifts import lift
from edgert.converters.tflite.model import TfliteOperator
from edgert.graph.ir import Attr


def second_version(op: TfliteOperator) -> None:
    """Raises Refused for the first version of an operator, which had other options."""
    if op.version != 2:
        raise Refused("version", f"expected version 2, found {op.version}; convert the model anew")


@lift("Landmarks2TransformMatrix")
def landmarks_to_transform_matrix(b: Builder, op: TfliteOperator) -> None:
    """The matrix of a crop around a subset of the landmarks."""
    second_version(op)
    given, subset = numbers_of(op), integers_of(op, "subset_idxs")
    whole = ("left_rotation_idx", "right_rotation_idx", "output_height", "output_width")
    attrs: dict[str, Attr] = {key: int(given[key]) for key in whole}
    attrs |= {key: float(given[key]) for key in ("scale_x", "scale_y", "target_rotation_radians")}
    attrs["subset_idxs"] = subset
    b.emit(op, "Landmarks2TransformMatrix", [b.use(op.inputs[0])], attrs)


@lift("TransformTensorBilinear")
def transform_tensor_bilinear(b: Builder, op: TfliteOperator) -> None:
    second_version(op)
    given = numbers_of(op)
    attrs: dict[str, Attr] = {key: int(given[key]) for key in ("output_height", "output_width")}
    b.emit(op, "TransformTensorBilinear", [b.use(i) for i in op.inputs[:2]], attrs)


@lift("TransformLandmarks")
def transform_landmarks(b: Builder, op: TfliteOperator) -> None:
    """landmarks [1, n, 2 or 3] and a matrix [1, 4, 4]: x and y through its first two rows, z stays."""
    second_version(op)
    x, matrix = op.inputs[:2]
    if b.shape(x)[2:] not in ((2,), (3,)):
        raise Refused("landmarks", f"expected landmarks [1, n, 2 or 3], found {b.shape(x)}")
    landmarks, axes = b.use(x), b.ints("axes", [1, 2])
    zeros, two = b.ints("from", [0, 0]), b.ints("to", [2, 2])
    linear = b.step("Slice", [b.use(matrix), zeros, two, axes])
    shift = b.step("Slice", [b.use(matrix), b.ints("from", [0, 3]), b.ints("to", [2, 4]), axes])
    flat = landmarks
    if b.shape(x)[2] == 3:
        flat = b.step("Slice", [landmarks, b.ints("from", [0]), b.ints("to", [2]), b.ints("axes", [2])])
    turned = b.step("MatMul", [flat, b.step("Transpose", [linear], {"perm": [0, 2, 1]})])
    moved = [turned, b.step("Transpose", [shift], {"perm": [0, 2, 1]})]
    if flat == landmarks:
        b.emit(op, "Add", moved)
        return
    depth = b.step("Slice", [landmarks, b.ints("from", [2]), b.ints("to", [3]), b.ints("axes", [2])])
    b.emit(op, "Concat", [b.step("Add", moved), depth], {"axis": 2})


def pool_params(op: TfliteOperator) -> dict[str, Attr]:
    """The window in the options: the C struct TfLitePoolParams, int32: padding (1 SAME, 2 VALID), stride width and
    height, filter width and height, activation (0 none)."""
    if len(op.custom_options) < 24:
        raise Refused("custom_options", f"expected at least 24 bytes, found {len(op.custom_options)}")
    padding, stride_w, stride_h, width, height, activation = struct.unpack_from("<6i", op.custom_options)
    if padding not in (1, 2) or activation != 0:
        raise Refused("custom_options", f"expected padding 1 or 2 and no activation, found {padding} and {activation}")
    return {
        "kernel_shape": [height, width],
        "strides": [stride_h, stride_w],
        "auto_pad": "SAME_UPPER" if padding == 1 else "VALID",
    }


@lift("MaxPoolingWithArgmax2D", "MaxUnpooling2D")
def pooling_with_places(b: Builder, op: TfliteOperator) -> None:
    attrs = pool_params(op)
    if op.op == "MaxUnpooling2D":
        attrs.pop("auto_pad")
    b.emit(op, op.op, [b.use(i) for i in op.inputs], attrs)
