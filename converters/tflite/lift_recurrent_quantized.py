"""UNIDIRECTIONAL_SEQUENCE_LSTM and SVDF in integers: 8-bit activations, 16-bit cells and histories.
Float layers are in `lift_recurrent.py` and `lift_svdf.py`.

Source: TensorFlow Lite, 8-bit quantization specification and kernels/lstm_eval.cc; kernels/internal/reference/svdf.h.
"""

from __future__ import annotations

import numpy as np

from edgert.converters.tflite.builder import Builder, Refused
from edgert.converters.tflite.lift_recurrent import GATE_ORDER, LstmInputs, function_of, give, sequence_layout
from edgert.converters.tflite.lift_state import assigned
from edgert.converters.tflite.lifts import quantized_lift
from edgert.converters.tflite.model import ABSENT, TfliteOperator
from edgert.graph.ir import Attr, Quantization

HIDDEN = 4
"""Which intermediate tensor is what goes into the projection, or out of the layer without one."""


def _rows(b: Builder, indices: tuple[int, ...], what: str) -> str:
    """Gates one below the other in edgert's order as one constant, with a scale per row; of an input gate that is not
    there, zeros."""
    given = [i for i in indices if i != ABSENT]
    values = {i: b.need_value(i, what) for i in given}
    shapes = {v.shape for v in values.values()}
    if len(given) < len(indices) - 1 or len(shapes) != 1:
        raise Refused(what, f"expected {len(indices)} tensors of one shape, found {sorted(shapes)}")
    first = values[given[0]]
    parts, scales = [], []
    for index in (indices[i] for i in (GATE_ORDER if len(indices) == 4 else (0, 2, 1))):
        quant = None if index == ABSENT else b.tensor(index).quant
        if index != ABSENT and (quant is None or not quant.per_tensor or quant.zero_point.any()):
            raise Refused(what, "expected one scale for each gate, and zero points of 0")
        parts.append(values[index] if index in values else np.zeros_like(first))
        scales.append(np.full(len(first), 1.0 if quant is None else quant.scale[0], np.float32))
    scale = np.concatenate(scales)
    quantization = Quantization(scale, np.zeros(len(scale), np.int32), 0)
    return b.constant(what, np.concatenate(parts), quantization)


def _biases(b: Builder, indices: tuple[int, ...], hidden: int) -> str:
    values = [
        np.zeros(hidden, np.int32) if indices[i] == ABSENT else b.need_value(indices[i], "bias") for i in GATE_ORDER
    ]
    if any(v.shape != (hidden,) or v.dtype != np.int32 for v in values):
        raise Refused("bias", f"expected int32 biases of {hidden} units")
    return b.constant("bias", np.concatenate(values))


@quantized_lift("UNIDIRECTIONAL_SEQUENCE_LSTM")
def sequence_lstm(b: Builder, op: TfliteOperator) -> None:
    """int8 in and out, int16 cell state."""
    parts = LstmInputs.forward(op)
    if b.tensor(op.outputs[0]).dtype != "int8" or b.tensor(parts.c).dtype != "int16":
        raise Refused("type", "expected int8 activations with an int16 cell state")
    if any(i != ABSENT for i in parts.norm):
        raise Refused("layer norm", "expected an integer LSTM without layer normalization; convert it with floats")
    if function_of(op) != "Tanh":
        raise Refused("fused_activation_function", "expected TANH")
    if parts.projection != ABSENT and parts.peepholes[2] != ABSENT:
        # TensorFlow Lite then reads as many peepholes as the projection has outputs, of neighbours' units.
        raise Refused("peepholes", "expected peepholes or a projection, found both; convert it with floats")
    if len(op.intermediates) <= HIDDEN:
        raise Refused("intermediates", f"expected {HIDDEN + 1} intermediate tensors, found {len(op.intermediates)}")
    hidden = b.tensor(op.intermediates[HIDDEN]).quant
    if hidden is None or not hidden.per_tensor:
        raise Refused("intermediates", "expected a scale of what the layer makes")
    units = b.need_size(parts.c, -1, "size of the cell state")
    inputs = [b.data(op.inputs[0]), _rows(b, parts.w, "w"), _rows(b, parts.r, "r"), _biases(b, parts.bias, units)]
    inputs += [b.use(parts.h), b.use(parts.c)]
    inputs.append(_rows(b, parts.peepholes, "peepholes") if parts.peepholes[2] != ABSENT else "")
    inputs += [b.use(parts.projection), b.use(parts.projection_bias)]
    attrs: dict[str, Attr] = {
        "layout": sequence_layout(op), "coupled": int(parts.coupled), "hidden_scale": float(hidden.scale[0]),
        "hidden_zero_point": int(hidden.zero_point[0]), "cell_clip": float(op.options.get("cell_clip", 0.0)),
        "projection_clip": float(op.options.get("proj_clip", 0.0)),
    }  # fmt: skip
    if b.quant(op.outputs[0]) != b.quant(parts.h):
        raise Refused("output", "expected an output with the scale and zero point of the state")
    y, h, c = (b.fresh(f"{b.named(op.outputs[0])}/{what}") for what in ("y", "h", "c"))
    b.append("QLinearLSTM", inputs, [y, h, c], attrs, op)
    assigned(b, parts.h, h)
    assigned(b, parts.c, c)
    give(b, op, y)


@quantized_lift("SVDF")
def svdf(b: Builder, op: TfliteOperator) -> None:
    """int8 in and out, int16 time weights and history."""
    x, features, times, bias, state = (op.input(at) for at in range(5))
    if b.tensor(times).dtype != "int16" or b.tensor(state).dtype != "int16":
        raise Refused("type", "expected int16 time weights and state")
    if function_of(op) != "Relu":
        raise Refused("fused_activation_function", "expected RELU, the only one an integer SVDF has")
    made = b.fresh(f"{b.named(op.outputs[0])}/state")
    b.graph.types[made] = b.type(state)
    inputs = [b.data(x), b.use(features), b.use(times), b.use(bias), b.use(state)]
    attrs: dict[str, Attr] = {"rank": int(op.options.get("rank", 1))}
    b.append("QLinearSVDF", inputs, [b.declare(op.outputs[0]), made], attrs, op)
    assigned(b, state, made)
