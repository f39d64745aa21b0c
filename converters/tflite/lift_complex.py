"""Complex numbers, of which TFLite files have only what lies between a Fourier transform and its magnitudes.
In the graph they are pairs of floats (real, imaginary) in a last axis of their own, as ONNX DFT has them."""

from __future__ import annotations

from edgert.converters.tflite.builder import Builder, Refused
from edgert.converters.tflite.lifts import complex_lift
from edgert.converters.tflite.model import ABSENT, TfliteOperator
from edgert.graph.ir import Attr


@complex_lift("RFFT2D")
def rfft2d(b: Builder, op: TfliteOperator) -> None:
    """The transform of real x [..., H, W], cut or padded to the constant lengths, to [..., h, w / 2 + 1]."""
    x, lengths = op.inputs[:2]
    height, width = b.need_ints(lengths, "fft_length")
    if height < 1 or width < 1:
        raise Refused("fft_length", f"expected lengths >= 1, found {height} and {width}")
    rows = b.step("Unsqueeze", [b.use(x), b.ints("axes", [-1])])
    along_rows = [rows, b.scalar("length", width, "int64"), b.scalar("axis", -2, "int64")]
    attrs: dict[str, Attr] = {"onesided": 1}
    if b.shape(x)[-2] == height == 1:
        b.emit(op, "DFT", along_rows, attrs)
        return
    columns = b.step("DFT", along_rows, attrs)
    b.emit(op, "DFT", [columns, b.scalar("length", height, "int64"), b.scalar("axis", -3, "int64")])


@complex_lift("COMPLEX_ABS")
def complex_abs(b: Builder, op: TfliteOperator) -> None:
    b.emit(op, "ReduceL2", [b.use(op.inputs[0]), b.ints("axes", [-1])], {"keepdims": 0})


@complex_lift("REAL", "IMAG")
def part(b: Builder, op: TfliteOperator) -> None:
    at = b.scalar("part", 0 if op.op == "REAL" else 1, "int64")
    b.emit(op, "Gather", [b.use(op.inputs[0]), at], {"axis": -1})


@complex_lift("RESHAPE")
def reshape(b: Builder, op: TfliteOperator) -> None:
    """The pairs stay behind the new shape."""
    x, given = op.inputs[0], op.input(1)
    pair = b.ints("pair", [2])
    if given == ABSENT:
        target = b.ints("shape", [*(int(v) for v in op.options["new_shape"]), 2])
    else:
        target = b.step("Concat", [b.int64(given), pair], {"axis": 0})
    b.emit(op, "Reshape", [b.use(x), target])


@complex_lift("SQUEEZE")
def squeeze(b: Builder, op: TfliteOperator) -> None:
    x, given, rank = op.inputs[0], op.options.get("squeeze_dims"), b.rank(op.inputs[0])
    axes = [int(a) % rank for a in ([] if given is None else given)]
    axes = axes or [i for i, size in enumerate(b.shape(x)[:-1]) if size == 1]
    b.emit(op, "Squeeze", [b.use(x), b.ints("axes", axes)])


@complex_lift("EXPAND_DIMS")
def expand_dims(b: Builder, op: TfliteOperator) -> None:
    x = op.inputs[0]
    (axis,) = b.need_ints(op.inputs[1], "axis")
    b.emit(op, "Unsqueeze", [b.use(x), b.ints("axes", [axis % (b.rank(x) + 1)])])
