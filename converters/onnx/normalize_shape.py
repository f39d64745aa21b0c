"""Lifts of operators that move, choose or reshape values: what used to be attributes becomes inputs.
Arithmetic and networks' layers are in `normalize_nn.py`."""

from __future__ import annotations

import numpy as np

from edgert.converters.onnx.builder import Builder, Refused
from edgert.converters.onnx.normalize import arguments, as_is, attributes, lift, rename
from edgert.converters.onnx.reader import OnnxNode
from edgert.converters.onnx.tensors import ELEMENT_TYPES, NARROW_TYPES


@lift("Identity")
def identity(b: Builder, n: OnnxNode) -> None:
    if n.inputs[0] in b.sequences:
        b.sequences[n.outputs[0]] = b.sequences[n.inputs[0]]
    else:
        b.same(n)


@lift("Squeeze", "Unsqueeze", "ReduceSum")
def axes_input_13(b: Builder, n: OnnxNode) -> None:
    """Axes are an input since opset 13."""
    _axes(b, n, 13)


@lift("ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL1", "ReduceL2", "ReduceLogSum",
      "ReduceLogSumExp", "ReduceSumSquare")  # fmt: skip
def axes_input_18(b: Builder, n: OnnxNode) -> None:
    """Axes are an input since opset 18."""
    _axes(b, n, 18)


def _axes(b: Builder, n: OnnxNode, since: int) -> None:
    if n.opset >= since:
        as_is(b, n)
        return
    inputs = arguments(b, n, n.op)
    if "axes" in n.attrs:
        inputs.append(b.ints(n, "axes", n.attrs["axes"]))
    b.emit(n, n.op, inputs, attributes(n, drop=("axes",)))


@lift("Slice")
def slice_(b: Builder, n: OnnxNode) -> None:
    """Starts, ends and axes are inputs since opset 10."""
    if n.opset >= 10:
        as_is(b, n)
        return
    starts = n.attrs["starts"]
    axes = n.attrs.get("axes", list(range(len(starts))))
    inputs = [b.data(n.inputs[0]), b.ints(n, "starts", starts), b.ints(n, "ends", n.attrs["ends"])]
    b.emit(n, "Slice", [*inputs, b.ints(n, "axes", axes)])


@lift("Split")
def split(b: Builder, n: OnnxNode) -> None:
    """Sizes are an input since opset 13; `num_outputs` is explicit since 18."""
    inputs = arguments(b, n, "Split")
    attrs = attributes(n, drop=("split",))
    if "split" in n.attrs:
        inputs = [inputs[0], b.ints(n, "split", n.attrs["split"])]
    if len([name for name in inputs if name]) < 2:
        attrs.setdefault("num_outputs", len(n.outputs))
    # An output nobody reads still takes its share: keep its name.
    b.wanted.update(n.outputs)
    b.emit(n, "Split", inputs, attrs)


@lift("Pad")
def pad(b: Builder, n: OnnxNode) -> None:
    """Pads and value are inputs since opset 11."""
    if n.opset >= 11:
        as_is(b, n)
        return
    inputs = [b.data(n.inputs[0]), b.ints(n, "pads", n.attrs["pads"])]
    if n.attrs.get("value", 0.0) != 0.0:
        inputs.append(b.scalar(n, "value", n.attrs["value"], b.dtype(n.inputs[0])))
    b.emit(n, "Pad", inputs, attributes(n, drop=("pads", "value")))


@lift("TopK")
def top_k(b: Builder, n: OnnxNode) -> None:
    """k is an input since opset 10."""
    if n.opset >= 10:
        as_is(b, n)
        return
    inputs = [b.use(n.inputs[0]), b.ints(n, "k", [n.attrs["k"]])]
    b.emit(n, "TopK", inputs, attributes(n, drop=("k",)))


@lift("Scatter")
def scatter(b: Builder, n: OnnxNode) -> None:
    """Renamed in opset 11."""
    rename(b, n, "ScatterElements")


@lift("Cast")
def cast(b: Builder, n: OnnxNode) -> None:
    """`to` becomes the NumPy name of the type; narrow types have an operator of their own."""
    number = n.attrs["to"]
    if number not in ELEMENT_TYPES and number not in NARROW_TYPES:
        raise Refused("to", "cast to a numeric type")
    cast_to(b, n, ELEMENT_TYPES.get(number, ""), NARROW_TYPES.get(number, ""))


def cast_to(b: Builder, n: OnnxNode, dtype: str, narrow: str) -> None:
    """The values of the first input in `dtype` or, if that is not '', in type `narrow`."""
    x = b.use(n.inputs[0])
    if not narrow:
        b.emit(n, "Cast", [x], {"to": dtype})
        return
    saturates = int(n.attrs.get("saturate", 1)) if "float8" in narrow else 0  # the attribute is for them alone
    mode = str(n.attrs.get("round_mode", "up"))
    b.emit(n, "RoundTo", [x], {"to": narrow, "saturate": saturates, "round_mode": mode})


@lift("CastLike")
def cast_like(b: Builder, n: OnnxNode) -> None:
    """A Cast to the type of the second input."""
    like = b.hint(n.inputs[1])
    if not like.dtype:
        raise Refused("", "the type of the second input is unknown; use Cast")
    cast_to(b, n, like.dtype, like.narrow)


@lift("ConstantOfShape")
def constant_of_shape(b: Builder, n: OnnxNode) -> None:
    """An Expand of the value: the IR has no tensor attributes."""
    value = np.asarray(n.attrs.get("value", np.zeros(1, np.float32)))
    if value.size != 1:
        raise Refused("value", f"expected one value, found {value.size}")
    b.emit(n, "Expand", [b.store(f"{n.name}_value", value.reshape(())), b.use(n.inputs[0])])


@lift("Range")
def range_(b: Builder, n: OnnxNode) -> None:
    """`stash_type` (opset 27) concerns 16-bit floats, which are computed wider in any case."""
    rename(b, n, "Range", drop=("stash_type",))


@lift("Upsample")
def upsample(b: Builder, n: OnnxNode) -> None:
    """Resize with the coordinates it always had. Scales are an attribute until opset 8."""
    scales = n.attrs["scales"] if n.opset < 9 else None
    _resize_10(b, n, scales)


@lift("Resize")
def resize(b: Builder, n: OnnxNode) -> None:
    """Opset 10 is Upsample under another name. Empty inputs stand for absent ones in opset 11 and 12."""
    if n.opset < 11:
        _resize_10(b, n, None)
        return
    attrs = attributes(n)
    coordinates = attrs.get("coordinate_transformation_mode", "half_pixel")
    if coordinates == "tf_half_pixel_for_nn":
        raise Refused("coordinate_transformation_mode", "export with opset 13 or newer, which dropped this mode")
    if attrs.get("mode", "nearest") == "nearest":
        attrs.pop("antialias", None)
    inputs = [n.input(0), n.input(1) if coordinates == "tf_crop_and_resize" else "", n.input(2), n.input(3)]
    for i in (2, 3):
        value = b.value(inputs[i])
        if value is not None and value.size == 0:
            inputs[i] = ""
    moves = str(attrs.get("mode", "nearest")) == "nearest"
    data = b.data(inputs[0]) if moves else b.use(inputs[0])
    b.emit(n, "Resize", [data, *(b.use(name) for name in inputs[1:])], attrs)


def _resize_10(b: Builder, n: OnnxNode, scales: list[float] | None) -> None:
    """Upsample-7, Upsample-9 and Resize-10: coordinates out / scale; nearest takes the value before the
    point when enlarging and the one after it when shrinking, as ONNX Runtime does."""
    mode = {"bilinear": "linear"}.get(str(n.attrs.get("mode", "nearest")), str(n.attrs.get("mode", "nearest")))
    known = np.array(scales, np.float32) if scales is not None else b.value(n.inputs[1])
    nearest = "floor"
    if mode == "nearest":
        if known is None and n.op == "Resize":
            raise Refused("", "expected constant scales; export with opset 11 or newer")
        shrinks = np.zeros(1, bool) if known is None else known < 1  # Upsample only enlarges
        if known is not None and shrinks.any() and (known > 1).any():
            raise Refused("", "nearest scales above and below 1 in one node; use two")
        nearest = "ceil" if shrinks.any() else "floor"
    source = b.store(f"{n.name}_scales", known) if scales is not None and known is not None else b.use(n.inputs[1])
    data = b.data(n.inputs[0]) if mode == "nearest" else b.use(n.inputs[0])
    b.emit(
        n, "Resize", [data, "", source],
        {"mode": mode, "coordinate_transformation_mode": "asymmetric", "nearest_mode": nearest},
    )  # fmt: skip
