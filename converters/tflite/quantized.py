"""What lifts of quantized operators share: stored operands, fused bounds, symmetric weights, the way over real values.
The operators themselves are in the `lift_quantized_*` modules.

Source: TensorFlow Lite 8-bit quantization specification (Jacob et al. 2018).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from edgert.converters.tflite.builder import ACTIVATIONS, Builder, Refused
from edgert.converters.tflite.lifts import LIFTS, quantized_lift
from edgert.converters.tflite.model import ABSENT, TfliteOperator, TfliteTensor
from edgert.graph.ir import Array, Attr, Quantization

BYTES = ("int8", "uint8")
ACTIVATION = "fused_activation_function"
WIDE = "its activations are not 8-bit, or have a scale per channel"

ByteLift = Callable[[Builder, TfliteOperator], "str | None"]
"""Writes an operator on stored bytes. Returns the reason why it did not, having written nothing, else None."""


def on_bytes(*ops: str) -> Callable[[ByteLift], ByteLift]:
    """Registers the decorated function as the quantized lift of `ops`, for 8-bit activations with one scale each.
    Whatever it declines, and wider activations, go over real values, with a note."""

    def register(function: ByteLift) -> ByteLift:
        def lifted(b: Builder, op: TfliteOperator) -> None:
            why = function(b, op) if bytes_alone(b, op) else WIDE
            if why is not None:
                in_real_numbers(b, op, why)

        quantized_lift(*ops)(lifted)
        return function

    return register


def bytes_alone(b: Builder, op: TfliteOperator) -> bool:
    """Whether everything the operator computes from and makes, constants aside, is 8-bit with one scale."""
    computed = [i for i in (*op.inputs, *op.outputs) if i != ABSENT and b.value(i) is None and b.is_quantized(i)]
    whole = all(b.tensor(i).dtype in BYTES and has_one_scale(b, i) for i in computed)
    return whole and all(b.is_quantized(i) for i in op.outputs)


def has_one_scale(b: Builder, index: int) -> bool:
    quant = b.tensor(index).quant
    return quant is not None and quant.per_tensor


def alike(b: Builder, op: TfliteOperator) -> bool:
    """Whether all tensors have one scale and zero point, the same."""
    if not all(has_one_scale(b, i) for i in (*op.inputs, *op.outputs)):
        return False
    quants = [b.tensor(i).quant for i in (*op.inputs, *op.outputs)]
    pairs = {(float(q.scale[0]), int(q.zero_point[0]), b.tensor(op.inputs[0]).dtype) for q in quants if q is not None}
    return len(pairs) == 1


def bounds_attrs(op: TfliteOperator) -> dict[str, Attr]:
    """The fused activation as attributes of a quantized operator: bounds on its stored values."""
    return clip_attrs(fused_bounds(op))


def fused_bounds(op: TfliteOperator) -> tuple[float, float] | None:
    """(lowest, highest) real value the fused activation lets through; None for no activation."""
    kind = str(op.options.get(ACTIVATION, "NONE"))
    if kind not in ACTIVATIONS:
        raise Refused(ACTIVATION, f"expected one of {', '.join(ACTIVATIONS)}, found {kind}")
    return ACTIVATIONS[kind]


def clip_attrs(bounds: tuple[float, float] | None) -> dict[str, Attr]:
    if bounds is None:
        return {}
    if bounds == (0.0, np.inf):
        return {"activation": "Relu"}
    return {"activation": "Clip", "clip_min": bounds[0], "clip_max": bounds[1]}


def unfused(op: TfliteOperator) -> TfliteOperator:
    """The operator without its fused activation, for a node that has it as an attribute."""
    return replace(op, options={**op.options, ACTIVATION: "NONE"})


# ---- weights


def symmetric_weights(b: Builder, index: int, axis: int, perm: Sequence[int]) -> str | None:
    """Constant weights as int8 with zero point 0 and a scale for each of the filters, which are TFLite's `axis` and
    come first in `perm`. None when they do not fit: uint8 weights whose zero point is far from 128."""
    value, quant = b.value(index), b.tensor(index).quant
    if value is None or quant is None or value.dtype not in (np.int8, np.uint8):
        return None
    if not quant.per_tensor and quant.axis != axis:
        return None
    centred = value.astype(np.int32) - _along(quant.zero_point, quant.axis, value.ndim)
    if centred.size and (centred.min() < -128 or centred.max() > 127):
        return None
    filters = value.shape[axis]
    scale = np.broadcast_to(quant.scale, filters).astype(np.float32)
    stored = centred.astype(np.int8).transpose(perm)
    return b.constant(b.tensor(index).name, stored, Quantization(scale, np.zeros(filters, np.int32), 0))


def _along(values: npt.NDArray[np.generic], axis: int, rank: int) -> Array:
    shape = [1] * rank
    if values.size > 1:
        shape[axis] = -1
    return np.asarray(values).reshape(shape)


def product_scale(b: Builder, x: int, w: int) -> npt.NDArray[np.float32] | None:
    """The scale of the sums of a product, one or one per filter: that of its int32 or int64 bias."""
    left, right = b.tensor(x).quant, b.tensor(w).quant
    return None if left is None or right is None else np.asarray(left.scale * right.scale, np.float32)


def int32_bias(b: Builder, index: int, scale: npt.NDArray[np.float32], filters: int) -> str | None:
    """The bias as int32 [filters] in units of `scale`; '' for none, None where it is no such constant."""
    if index == ABSENT:
        return ""
    value = b.value(index)
    if value is None or value.dtype not in (np.int32, np.int64) or value.size != filters:
        return None
    if value.size and (value.min() < -(2**31) or value.max() >= 2**31):
        return None
    quant = Quantization(np.broadcast_to(scale, filters), np.zeros(filters, np.int32), 0)
    return b.constant(b.tensor(index).name, value.astype(np.int32).reshape(filters), quant)


# ---- over real values


def in_real_numbers(b: Builder, op: TfliteOperator, why: str) -> None:
    """DequantizeLinear, the operator on floats with its fused activation, QuantizeLinear; a note says why.

    Rounding keeps order, so that bounds on the real value are bounds on the stored one. Raises Refused for an
    operator that edgert lacks on floats.
    """
    lift = LIFTS.get(op.op)
    if lift is None:
        raise Refused("quantization", f"edgert has no {op.op} of quantized tensors; convert the model to floats")
    bias_scale = product_scale(b, *op.inputs[:2]) if len(op.inputs) > 2 and op.op in BIASED else None
    inputs = tuple(real_input(b, i, bias_scale if at == 2 else None) for at, i in enumerate(op.inputs))
    twins = {i: _append(b, i, None) for i in op.outputs if b.is_quantized(i)}
    lift(b, replace(op, inputs=inputs, outputs=tuple(twins.get(i, i) for i in op.outputs)))
    for index, twin in twins.items():
        b.append("QuantizeLinear", [b.use(twin)], [b.declare(index)])
    b.notes.append(f"{op.op} number {op.index} is computed in float: {why}")


BIASED = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "CONV_3D")
"""Operators whose third input is a bias, in units of the product of the scales of the first two."""


def real_input(b: Builder, index: int, bias_scale: npt.NDArray[np.float32] | None = None) -> int:
    """The number of a float32 tensor with the real values of tensor `index`, or `index` if it is not quantized.
    bias_scale: what the units of an integer bias are, whatever the file says of them."""
    if index == ABSENT or (b.tensor(index).dtype not in (*BYTES, "int16", "uint16", "int32", "int64", "int4")):
        return index
    value, quant = b.value(index), b.tensor(index).quant
    if value is not None and bias_scale is not None:
        return _append(b, index, np.asarray(value * bias_scale, np.float32))
    if quant is None:
        return index
    if value is not None:
        scale, zero = (_along(v, quant.axis, value.ndim) for v in (quant.scale, quant.zero_point))
        return _append(b, index, np.asarray((value.astype(np.int64) - zero) * scale, np.float32))
    twin = _append(b, index, None)
    b.append("DequantizeLinear", [b.use(index)], [b.declare(twin)])
    return twin


def _append(b: Builder, index: int, data: npt.NDArray[np.float32] | None) -> int:
    """Adds the float32 twin of tensor `index` to the tensors of the file. Returns its number."""
    like = b.tensor(index)
    number = len(b.source.tensors)
    b.source.tensors.append(
        TfliteTensor(number, f"{like.name}/real", "float32", like.shape, like.signature, None, data)
    )
    return number


def requantized(b: Builder, source: str, out: str, attrs: dict[str, Attr] | None = None) -> str:
    """`out`, uint8: the real values of uint8 `source` at the scale declared for `out`, within bounds if `attrs` has
    a fused activation: through a table."""
    b.append("QLinearUnary", [source], [out], {"op": "Identity", **(attrs or {})})
    return out
