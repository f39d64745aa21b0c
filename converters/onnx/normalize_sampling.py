"""Lifts of sampling, pooled regions and reinterpretation, and why random operators are refused.
Resize and Upsample are in `normalize_shape.py`."""

from __future__ import annotations

from edgert.converters.onnx.builder import Builder, Refused
from edgert.converters.onnx.normalize import lift, rename
from edgert.converters.onnx.reader import OnnxNode
from edgert.converters.onnx.tensors import ELEMENT_TYPES


@lift("GridSample")
def grid_sample(b: Builder, n: OnnxNode) -> None:
    """Modes were called bilinear and bicubic before opset 20."""
    mode = str(n.attrs.get("mode", "linear"))
    n.attrs["mode"] = {"bilinear": "linear", "bicubic": "cubic"}.get(mode, mode)
    rename(b, n, "GridSample")


@lift("RoiAlign")
def roi_align(b: Builder, n: OnnxNode) -> None:
    """Before opset 16 regions were not moved by half a value."""
    if n.opset < 16:
        n.attrs["coordinate_transformation_mode"] = "output_half_pixel"
    rename(b, n, "RoiAlign")


@lift("BitCast")
def bit_cast(b: Builder, n: OnnxNode) -> None:
    """`to` becomes the NumPy name of the type."""
    dtype = ELEMENT_TYPES.get(n.attrs["to"])
    if dtype is None:
        raise Refused("to", "expected a numeric type of 8 to 64 bits")
    b.emit(n, "BitCast", [b.use(n.inputs[0])], {"to": dtype})


@lift("RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Multinomial", "Bernoulli")
def random(b: Builder, n: OnnxNode) -> None:
    """ONNX leaves the generator open: no two runtimes give the same numbers."""
    raise Refused("", "its numbers differ between runtimes; make them in the application and pass them as an input")


@lift("ImageDecoder")
def image_decoder(b: Builder, n: OnnxNode) -> None:
    raise Refused("", "decode the image in the application and pass its pixels as an input")
