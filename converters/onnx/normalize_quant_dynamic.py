"""Quantization that types cannot say: scales computed when the model runs, per block, or of 16, 4 and 2 bits and
float8. It is written in plain arithmetic; where constants allow better, `normalize_quant.py` does it.

Source: ONNX QuantizeLinear-25, DequantizeLinear-25, QLinearMatMul-21, QLinearConv-10.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgert.converters.onnx.builder import Builder, Refused
from edgert.converters.onnx.hints import Hint
from edgert.converters.onnx.normalize import attributes
from edgert.converters.onnx.reader import OnnxNode
from edgert.converters.onnx.tensors import ELEMENT_TYPES, NARROW_TYPES, type_name
from edgert.graph.ir import Attr
from edgert.kernels_cpu.reference.narrow import INTEGERS

MAX_BLOCKED = 1 << 22
"""Sizes of a blocked axis: its index is a constant, and a file can declare an axis of any size."""


def all_constant(b: Builder, names: Sequence[str]) -> bool:
    """Whether every ONNX tensor among `names` that is given is a constant."""
    return all(not name or b.value(name) is not None for name in names)


def quantized_type(b: Builder, n: OnnxNode) -> tuple[str, str]:
    """(dtype, narrow type or '') of what QuantizeLinear makes: its zero point's, or `output_dtype`, or uint8."""
    if n.has(2):
        hint = b.hint(n.inputs[2])
        return hint.dtype or "uint8", hint.narrow
    number = n.attrs.get("output_dtype", 0)
    return (type_name(number), NARROW_TYPES.get(number, "")) if number else ("uint8", "")


def quantize_plain(b: Builder, n: OnnxNode) -> None:
    """saturate(round(x / scale) + zero_point); narrow floats are rounded as a Cast does."""
    dtype, narrow = quantized_type(b, n)
    real = b.dtype(n.inputs[1])
    if n.attrs.get("precision", 0):
        real = type_name(n.attrs["precision"])
    scale, zero = _spread(b, n, 1), _spread(b, n, 2) if n.has(2) else ""
    steps = _step(b, n, "steps", "Div", [_cast(b, n, b.use(n.inputs[0]), b.dtype(n.inputs[0]), real),
                                         _cast(b, n, scale, b.dtype(n.inputs[1]), real)], real)  # fmt: skip
    if narrow and narrow not in INTEGERS:
        if zero:
            steps = _step(b, n, "moved", "Add", [steps, _cast(b, n, zero, "float32", real)], real)
        saturates = int(n.attrs.get("saturate", 1))
        b.emit(n, "RoundTo", [steps], {"to": narrow, "saturate": saturates})
        return
    steps = _cast(b, n, _step(b, n, "rounded", "Round", [steps], real), real, "float32")
    store(b, n, steps, zero, dtype, narrow)


def store(b: Builder, n: OnnxNode, steps: str, zero: str, dtype: str, narrow: str = "") -> None:
    """Makes the output of `n`: whole float32 `steps` plus the zero point, saturated, as integers of `dtype`."""
    if dtype not in ("uint8", "int8", "uint16", "int16"):
        raise Refused("", f"expected integers of at most 16 bits, found {dtype}")
    if zero:
        steps = _step(b, n, "moved", "Add", [steps, _cast(b, n, zero, dtype, "float32")], "float32")
    low, high = INTEGERS.get(narrow, (int(np.iinfo(dtype).min), int(np.iinfo(dtype).max)))
    bounds = [b.scalar(n, what, value, "float32") for what, value in (("min", low), ("max", high))]
    b.emit(n, "Cast", [_step(b, n, "bounded", "Clip", [steps, *bounds], "float32")], {"to": dtype})


def dequantize_plain(b: Builder, n: OnnxNode) -> None:
    """(x - zero_point) * scale, in the type of the output."""
    x, dtype, real = b.use(n.inputs[0]), b.dtype(n.inputs[0], "uint8"), b.dtype(n.inputs[1])
    number = n.attrs.get("output_dtype", 0)
    out = ELEMENT_TYPES.get(number, "float32") if number else real
    scale = _cast(b, n, _spread(b, n, 1), real, out)
    if n.has(2):
        wide = "float32" if dtype == "float32" else "int32"  # float32: what holds narrow floats
        sides = [_cast(b, n, x, dtype, wide), _cast(b, n, _spread(b, n, 2), dtype, wide)]
        x, dtype = _step(b, n, "centred", "Sub", sides, wide), wide
    b.emit(n, "Mul", [_cast(b, n, x, dtype, out), scale])


def qlinear_matmul_plain(b: Builder, n: OnnxNode) -> None:
    """MatMulInteger, whose sums are exact, then one multiplication. a may have a scale per row, b per column."""
    a, a_scale, a_zero, w, w_scale, w_zero, y_scale, y_zero = n.inputs
    total = b.emit(
        n, "MatMulInteger", [b.use(a), b.use(w), b.use(a_zero), b.use(w_zero)], {},
        [b.between(n, "sums", Hint("int32", b.hint(n.outputs[0]).shape))],
    )  # fmt: skip
    rows = _real(b, n, a_scale)
    if b.rank(a_scale) == 1 and b.hint(a_scale).shape != (1,):
        rows = _step(b, n, "rows", "Unsqueeze", [rows, b.ints(n, "axes", [1])], "float32", None)
    _requantize(b, n, total, rows, _real(b, n, w_scale), y_scale, y_zero)


def qlinear_conv_plain(b: Builder, n: OnnxNode) -> None:
    """ConvInteger, whose sums are exact, plus the bias, then one multiplication. w may have a scale per filter."""
    x, x_scale, x_zero, w, w_scale, w_zero, y_scale, y_zero = n.inputs[:8]
    rank = b.rank(w)
    if rank is None:
        raise Refused("", "the rank of the weights is unknown; run shape inference on the model first")
    shape = b.hint(n.outputs[0]).shape
    inputs = [b.use(name) for name in (x, w, x_zero, w_zero)]
    total = b.emit(n, "ConvInteger", inputs, attributes(n), [b.between(n, "sums", Hint("int32", shape))])
    axes = b.ints(n, "axes", range(1, rank - 1))
    if n.has(8):
        bias = _step(b, n, "bias", "Unsqueeze", [b.use(n.inputs[8]), axes], "int32", None)
        total = _step(b, n, "biased", "Add", [total, bias], "int32")
    filters = _real(b, n, w_scale)
    if b.rank(w_scale) == 1 and b.hint(w_scale).shape != (1,):
        filters = _step(b, n, "filters", "Unsqueeze", [filters, axes], "float32", None)
    _requantize(b, n, total, _real(b, n, x_scale), filters, y_scale, y_zero)


def _requantize(b: Builder, n: OnnxNode, total: str, left: str, right: str, y_scale: str, y_zero: str) -> None:
    """Makes the output of `n` of int32 `total` and the float32 scales of both sides."""
    product = _step(b, n, "scales", "Mul", [left, right], "float32", None)
    ratio = _step(b, n, "ratio", "Div", [product, _real(b, n, y_scale)], "float32", None)
    steps = _step(b, n, "steps", "Mul", [_cast(b, n, total, "int32", "float32"), ratio], "float32")
    rounded = _step(b, n, "rounded", "Round", [steps], "float32")
    store(b, n, rounded, b.use(y_zero), b.dtype(y_zero, "uint8"))


def _real(b: Builder, n: OnnxNode, scale: str) -> str:
    return _cast(b, n, b.use(scale), b.dtype(scale), "float32")


def _cast(b: Builder, n: OnnxNode, tensor: str, dtype: str, to: str) -> str:
    """IR tensor `tensor` of `dtype` as `to`."""
    return tensor if dtype == to else _step(b, n, to, "Cast", [tensor], to, None, {"to": to})


def _step(
    b: Builder,
    n: OnnxNode,
    what: str,
    op: str,
    inputs: list[str],
    dtype: str,
    like: str | None = "",
    attrs: dict[str, Attr] | None = None,
) -> str:
    """A fresh tensor made by `op`, of the shape of the output of `n` unless `like` is None."""
    shape = None if like is None else b.hint(n.outputs[0]).shape
    return b.emit(n, op, inputs, attrs, [b.between(n, what, Hint(dtype, shape))])


def _spread(b: Builder, n: OnnxNode, index: int) -> str:
    """Scale or zero point number `index` in a shape that broadcasts with the first input of `n`."""
    name, shape = n.inputs[index], b.hint(n.inputs[index]).shape
    tensor = b.use(name)
    if shape is None:
        raise Refused("", f"the rank of {name!r} is unknown; run shape inference on the model first")
    if shape in ((), (1,)):
        return tensor
    data = b.hint(n.inputs[0]).shape
    if data is None:
        raise Refused("", f"the rank of {n.inputs[0]!r} is unknown; run shape inference on the model first")
    axis, block = int(n.attrs.get("axis", 1)), int(n.attrs.get("block_size", 0))
    if not -len(data) <= axis < len(data):
        raise Refused("axis", f"expected an axis of {len(data)} dimensions, found {axis}")
    axis %= len(data)
    dtype = b.dtype(name)
    if len(shape) == 1 and not block:
        if axis == len(data) - 1:
            return tensor
        axes = b.ints(n, "axes", range(1, len(data) - axis))
        return _step(b, n, "per_axis", "Unsqueeze", [tensor, axes], dtype, None)
    size = data[axis]
    if not isinstance(size, int) or len(shape) != len(data) or block < 1:
        raise Refused("block_size", f"expected a scale for each block of a known size of axis {axis}")
    if size > MAX_BLOCKED:
        raise Refused("block_size", f"expected at most {MAX_BLOCKED} values along axis {axis}, found {size}")
    if shape[axis] != -(-size // block):
        raise Refused("block_size", f"expected {-(-size // block)} scales along axis {axis}, found {shape[axis]}")
    where = b.ints(n, "blocks", (np.arange(size) // block).tolist())
    return _step(b, n, "per_block", "Gather", [tensor, where], dtype, None, {"axis": axis})
