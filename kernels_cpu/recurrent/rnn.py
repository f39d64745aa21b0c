"""The steps of a plain recurrent layer over float rows. Source: ONNX RNN-22; kernels_cpu/reference/recurrent.py is
the meaning. x has the products of the input with biases in them, w the recurrent weights.
"""

from __future__ import annotations

from edgert.kernels_cpu.elementwise.functions import const, tanh
from edgert.kernels_cpu.elementwise.gates import sigmoid
from edgert.kernels_cpu.recurrent import RNN_FUNCTIONS
from edgert.kernels_cpu.recurrent.steps import bounded, layer, offset, state_products
from edgert.kernels_cpu.registry import record_fields
from edgert.kernels_cpu.simd import (
    LANES,
    helper,
    load_f32,
    load_f32v,
    load_i32,
    maximum,
    splat_f32,
    store_f32v,
    store_first_f32v,
    udiv,
)  # fmt: skip

F = record_fields("rnn_f32_row")
TANH, RELU, SIGMOID = (RNN_FUNCTIONS.index(name) for name in ("tanh", "relu", "sigmoid"))


@helper
def _state(sums, made, y, hidden, clip, function):  # type: ignore[no-untyped-def]
    for i in range(0, hidden, LANES):
        state = bounded(load_f32v(sums + 4 * i), clip)
        if function == TANH:
            state = tanh(state)
        elif function == RELU:
            state = maximum(const(0.0), state)
        else:
            state = sigmoid(state)
        store_f32v(made + 4 * i, state)
        if y != 0:
            store_first_f32v(y + 4 * i, state, hidden - i)


@helper
def _own(record, place, count, work, stride, w):  # type: ignore[no-untyped-def]
    return splat_f32(load_f32(record + F.clip)), load_i32(record + F.function)


@helper
def _step(own, count, now, made, work, pad, stride, x, x_row, w, hidden, y, y_row):  # type: ignore[no-untyped-def]
    clip, function = own
    state_products(count, now, stride, x, x_row, w, hidden, udiv(pad, 64), work)
    for r in range(count):
        _state(work + r * stride, made + r * stride, offset(y, r * y_row), hidden, clip, function)


rnn = layer(F, 3, _own, _step)
