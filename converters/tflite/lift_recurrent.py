"""LSTM and RNN over sequences, in one or both directions, and single steps of them, of floats.
Integer layers are in `lift_recurrent_quantized.py`, SVDF in `lift_svdf.py`.

States are variable tensors: their past is an input of the graph, what they become an output. Weights of 8 bits beside
float activations ("dynamic range") are dequantized. Source: TensorFlow Lite, kernels/unidirectional_sequence_lstm.cc,
lstm_eval.cc and neighbours.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgert.converters.tflite.builder import Builder, Refused
from edgert.converters.tflite.lift_state import assigned
from edgert.converters.tflite.lifts import lift
from edgert.converters.tflite.model import ABSENT, TfliteOperator
from edgert.graph.ir import Array, Attr

GATE_ORDER = (0, 3, 1, 2)
"""TensorFlow Lite has input, forget, cell and output gates; edgert, as ONNX, input, output, forget and cell."""
FUNCTIONS = {"TANH": "Tanh", "RELU": "Relu", "SIGMOID": "Sigmoid", "NONE": "Identity"}


@dataclass(frozen=True)
class LstmInputs:
    """Tensor indices of one direction; lists in the order i, f, c, o, peepholes i, f, o."""

    w: tuple[int, ...]
    r: tuple[int, ...]
    peepholes: tuple[int, ...]
    bias: tuple[int, ...]
    projection: int
    projection_bias: int
    h: int
    c: int
    norm: tuple[int, ...] = (ABSENT,) * 4

    @classmethod
    def forward(cls, op: TfliteOperator) -> LstmInputs:
        """Those of LSTM and UNIDIRECTIONAL_SEQUENCE_LSTM: 20 inputs, or 24 with normalized gates."""
        i = [op.input(at) for at in range(24)]
        return cls(
            tuple(i[1:5]), tuple(i[5:9]), tuple(i[9:12]), tuple(i[12:16]), i[16], i[17], i[18], i[19], tuple(i[20:])
        )

    @classmethod
    def of_two(cls, op: TfliteOperator, backward: bool) -> LstmInputs:
        """Those of one direction of BIDIRECTIONAL_SEQUENCE_LSTM."""
        first = 18 if backward else 1
        i = [op.input(at) for at in range(first, first + 17)]
        states = (op.input(37), op.input(38)) if backward else (op.input(35), op.input(36))
        return cls(tuple(i[:4]), tuple(i[4:8]), tuple(i[8:11]), tuple(i[11:15]), i[15], i[16], *states)

    @property
    def coupled(self) -> bool:
        """Whether the input gate is 1 - the forget gate (CIFG): it has no weights."""
        return self.w[0] == ABSENT

    def plain(self, op: TfliteOperator) -> bool:
        """Whether ONNX's LSTM says all there is."""
        clips = (op.options.get("cell_clip", 0.0), op.options.get("proj_clip", 0.0))
        return self.projection == ABSENT and all(i == ABSENT for i in self.norm) and not any(clips)


def floats(b: Builder, index: int, what: str) -> Array:
    """A constant as float32, dequantized where the file has 8-bit numbers."""
    value, quant = b.need_value(index, what), b.tensor(index).quant
    if value.dtype.kind != "i" or quant is None:
        return value.astype(np.float32)
    note = "8-bit weights of recurrent layers with float activations are kept as floats"
    if note not in b.notes:
        b.notes.append(note)
    if not quant.per_tensor and quant.axis != 0:
        raise Refused(what, f"expected a scale per tensor or per row, found one along axis {quant.axis}")
    rows = (-1, *(1,) * (value.ndim - 1))
    return np.asarray((value - quant.zero_point.reshape(rows)) * quant.scale.reshape(rows), np.float32)


def gates(b: Builder, indices: tuple[int, ...], what: str, absent: Array | None = None) -> Array:
    """Rows of four gates in edgert's order. An input gate that is not there is the forget gate negated: its sigmoid is
    then 1 minus that of the forget gate. absent: what to take for a gate's bias that is left out."""
    values = [absent if i == ABSENT else floats(b, i, what) for i in indices]
    if values[0] is None and values[1] is not None:
        values[0] = -values[1]
    found = [v for v in values if v is not None]
    if len(found) < len(values) or len({v.shape for v in found}) > 1:
        raise Refused(what, f"expected {len(values)} tensors of one shape, found {[v.shape for v in found]}")
    order = GATE_ORDER if len(found) == 4 else (0, 2, 1)
    return np.concatenate([found[i] for i in order])


def function_of(op: TfliteOperator) -> str:
    """The activation by its ONNX name. Raises Refused."""
    kind = str(op.options.get("fused_activation_function", "TANH"))
    if kind not in FUNCTIONS:
        raise Refused("fused_activation_function", f"expected one of {', '.join(FUNCTIONS)}, found {kind}")
    return FUNCTIONS[kind]


def lstm_layer(b: Builder, op: TfliteOperator, x: str, parts: LstmInputs, layout: int, backward: bool) -> str:
    """Writes one direction of an LSTM over x [T, B, I] (layout 0) or [B, T, I]; its output [T, B, O] or [B, T, O]."""
    if parts.plain(op):
        return _onnx_lstm(b, op, x, parts, layout, backward)
    if backward:
        raise Refused("projection", "expected a plain LSTM backwards, found one with a projection or bounds")
    hidden = b.need_size(parts.c, -1, "size of the cell state")
    weights = {"w": parts.w, "r": parts.r}
    inputs = [x, *(b.constant(f"{x}/{k}", gates(b, v, k)) for k, v in weights.items())]
    bias = gates(b, parts.bias, "bias", None if parts.coupled else np.zeros(hidden, np.float32))
    inputs += [b.constant(f"{x}/b", bias), b.use(parts.h), b.use(parts.c)]
    inputs.append(b.constant(f"{x}/p", gates(b, parts.peepholes, "peepholes")) if parts.peepholes[2] != ABSENT else "")
    inputs.append(b.constant(f"{x}/norm", gates(b, parts.norm, "norm")) if parts.norm[1] != ABSENT else "")
    for index, what in ((parts.projection, "projection"), (parts.projection_bias, "projection bias")):
        inputs.append("" if index == ABSENT else b.constant(f"{x}/{what}", floats(b, index, what)))
    attrs: dict[str, Attr] = {
        "activation": function_of(op), "layout": layout, "coupled": int(parts.coupled),
        "cell_clip": float(op.options.get("cell_clip", 0.0)),
        "projection_clip": float(op.options.get("proj_clip", 0.0)),
    }  # fmt: skip
    y, h, c = (b.fresh(f"{b.named(op.outputs[0])}/{what}") for what in ("y", "h", "c"))
    b.append("ProjectedLSTM", inputs, [y, h, c], attrs, op)
    assigned(b, parts.h, h)
    assigned(b, parts.c, c)
    return y


def _onnx_lstm(b: Builder, op: TfliteOperator, x: str, parts: LstmInputs, layout: int, backward: bool) -> str:
    w, r = gates(b, parts.w, "w"), gates(b, parts.r, "r")
    bias = gates(b, parts.bias, "bias")
    inputs = [x, b.constant(f"{x}/w", w[None]), b.constant(f"{x}/r", r[None])]
    inputs += [b.constant(f"{x}/b", np.concatenate([bias, np.zeros_like(bias)])[None]), ""]
    inputs += [_unsqueezed(b, b.use(i), layout) for i in (parts.h, parts.c)]
    if parts.peepholes[2] != ABSENT:
        inputs.append(b.constant(f"{x}/p", gates(b, parts.peepholes, "peepholes")[None]))
    function = function_of(op)
    attrs: dict[str, Attr] = {
        "hidden_size": r.shape[1], "layout": layout, "direction": "reverse" if backward else "forward",
    }  # fmt: skip
    if function != "Tanh":
        attrs["activations"] = ["Sigmoid", *["Affine" if function == "Identity" else function] * 2]
    y, h, c = (b.fresh(f"{b.named(op.outputs[0])}/{what}") for what in ("y", "h", "c"))
    b.append("LSTM", inputs, [y, h, c], attrs, op)
    assigned(b, parts.h, _squeezed(b, h, layout))
    assigned(b, parts.c, _squeezed(b, c, layout))
    return _squeezed(b, y, 1 + layout)


def _unsqueezed(b: Builder, name: str, axis: int) -> str:
    return b.step("Unsqueeze", [name, b.ints("axis", [axis])], of=name)


def _squeezed(b: Builder, name: str, axis: int) -> str:
    return b.step("Squeeze", [name, b.ints("axis", [axis])], of=name)


def give(b: Builder, op: TfliteOperator, name: str, at: int = 0) -> None:
    """Output `at` of `op` is the tensor `name`."""
    b.append("Identity", [name], [b.declare(op.outputs[at])])


def sequence_layout(op: TfliteOperator) -> int:
    """0 for [T, B, ...], 1 for [B, T, ...]."""
    return 0 if op.options.get("time_major", False) else 1


@lift("UNIDIRECTIONAL_SEQUENCE_LSTM")
def sequence_lstm(b: Builder, op: TfliteOperator) -> None:
    """Floats, 20 or 24 inputs."""
    if op.options.get("diagonal_recurrent_tensors", False):
        raise Refused("diagonal_recurrent_tensors", "expected full recurrent weights; convert the model without it")
    y = lstm_layer(b, op, b.use(op.inputs[0]), LstmInputs.forward(op), sequence_layout(op), False)
    give(b, op, y)


@lift("LSTM")
def single_lstm(b: Builder, op: TfliteOperator) -> None:
    """One step of an LSTM on [B, I], in its full form of 20 or 24 inputs."""
    if str(op.options.get("kernel_type", "FULL")) != "FULL":
        raise Refused("kernel_type", "expected FULL, found BASIC; convert the model with a recent converter")
    x = _unsqueezed(b, b.use(op.inputs[0]), 0)
    give(b, op, _squeezed(b, lstm_layer(b, op, x, LstmInputs.forward(op), 0, False), 0))


@lift("BIDIRECTIONAL_SEQUENCE_LSTM")
def bidirectional_lstm(b: Builder, op: TfliteOperator) -> None:
    """Two layers, one backwards; their outputs side by side where `merge_outputs` says so."""
    if any(op.input(at) != ABSENT for at in range(39, 48)):
        raise Refused("aux_input", "expected no auxiliary input; convert the model without it")
    x, layout = b.use(op.inputs[0]), sequence_layout(op)
    made = [lstm_layer(b, op, x, LstmInputs.of_two(op, backward), layout, backward) for backward in (False, True)]
    _give_both(b, op, made)


def _give_both(b: Builder, op: TfliteOperator, made: list[str]) -> None:
    if op.options.get("merge_outputs", False):
        b.append("Concat", made, [b.declare(op.outputs[0])], {"axis": -1}, op)
    else:
        for at, name in enumerate(made):
            give(b, op, name, at)


def rnn_layer(
    b: Builder, op: TfliteOperator, x: str, parts: tuple[int, int, int, int], layout: int, backward: bool
) -> str:
    """Writes one direction of a plain layer with the tensors w, r, bias and state `parts`; its output, as of x."""
    w, r, bias = (floats(b, i, what) for i, what in zip(parts, ("w", "r", "bias"), strict=False))
    inputs = [x, b.constant(f"{x}/w", w[None]), b.constant(f"{x}/r", r[None])]
    inputs += [b.constant(f"{x}/b", np.concatenate([bias, np.zeros_like(bias)])[None]), ""]
    inputs.append(_unsqueezed(b, b.use(parts[3]), layout))
    function = function_of(op)
    attrs: dict[str, Attr] = {
        "hidden_size": len(bias), "layout": layout, "direction": "reverse" if backward else "forward",
        "activations": ["Affine" if function == "Identity" else function],
    }  # fmt: skip
    y, h = (b.fresh(f"{b.named(op.outputs[0])}/{what}") for what in ("y", "h"))
    b.append("RNN", inputs, [y, h], attrs, op)
    assigned(b, parts[3], _squeezed(b, h, layout))
    return _squeezed(b, y, 1 + layout)


@lift("UNIDIRECTIONAL_SEQUENCE_RNN", "RNN")
def sequence_rnn(b: Builder, op: TfliteOperator) -> None:
    """Inputs x, w [H, I], r [H, H], bias and the state; RNN is one step on [B, I]."""
    single, x = op.op == "RNN", b.use(op.inputs[0])
    x = _unsqueezed(b, x, 0) if single else x
    w, r, bias, state = (op.input(at) for at in range(1, 5))
    y = rnn_layer(b, op, x, (w, r, bias, state), 0 if single else sequence_layout(op), False)
    give(b, op, _squeezed(b, y, 0) if single else y)


@lift("BIDIRECTIONAL_SEQUENCE_RNN")
def bidirectional_rnn(b: Builder, op: TfliteOperator) -> None:
    """Inputs x, then w, r, bias and state forwards and backwards."""
    if any(op.input(at) != ABSENT for at in range(9, 12)):
        raise Refused("aux_input", "expected no auxiliary input; convert the model without it")
    x, layout = b.use(op.inputs[0]), sequence_layout(op)
    made = [
        rnn_layer(b, op, x, (op.input(at), op.input(at + 1), op.input(at + 2), op.input(at + 3)), layout, at == 5)
        for at in (1, 5)
    ]
    _give_both(b, op, made)
