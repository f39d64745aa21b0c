"""RESIZE_BILINEAR and RESIZE_NEAREST_NEIGHBOR with TensorFlow's three ways to place pixels.
Moves of whole blocks of pixels are in `lift_shape.py`."""

from __future__ import annotations

from edgert.converters.tflite.builder import Builder, Refused
from edgert.converters.tflite.lifts import lift
from edgert.converters.tflite.model import TfliteOperator
from edgert.graph.ir import Attr


@lift("RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR")
def resize(b: Builder, op: TfliteOperator) -> None:
    """x [B, H, W, C] and size [h, w] to [B, h, w, C].

    Source: TensorFlow Lite, reference_ops::ResizeBilinear and GetNearestNeighbor: nearest takes the pixel at
    floor(i * scale), at floor((i + 0.5) * scale) with half_pixel_centers, at round(i * scale) with align_corners.
    """
    align, half = bool(op.options["align_corners"]), bool(op.options["half_pixel_centers"])
    if align and half:
        raise Refused("align_corners", "expected align_corners or half_pixel_centers, found both")
    place = "align_corners" if align else "half_pixel" if half else "asymmetric"
    attrs: dict[str, Attr] = {"coordinate_transformation_mode": place, "mode": "linear"}
    if op.op == "RESIZE_NEAREST_NEIGHBOR":
        attrs |= {"mode": "nearest", "nearest_mode": "round_prefer_ceil" if align or half else "floor"}
    x, size = op.inputs[:2]
    shape = b.shape(x)
    if b.value(size) is not None and all(isinstance(d, int) for d in (shape[0], shape[3])):
        sizes = b.ints("sizes", [int(shape[0]), int(shape[3]), *b.need_ints(size, "size")])
    else:
        attrs["axes"] = [2, 3]
        sizes = b.int64(size)
    b.emit_nchw(op, "Resize", [b.nchw(x), "", "", sizes], attrs)
