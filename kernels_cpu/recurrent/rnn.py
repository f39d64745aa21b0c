"""The steps of a plain recurrent layer over float rows. Source: ONNX RNN-22; kernels_cpu/reference/recurrent.py is
the meaning. x has the products of the input with biases in them, w the recurrent weights.
"""

from __future__ import annotations

from edgert.kernels_cpu.elementwise.functions import const, tanh
from edgert.kernels_cpu.elementwise.gates import sigmoid
from edgert.kernels_cpu.recurrent import RNN_FUNCTIONS
from edgert.kernels_cpu.recurrent.steps import begin, bounded, clear, copy, length_of, state_product
from edgert.kernels_cpu.registry import record_fields
from edgert.kernels_cpu.simd import (
    LANES,
    helper,
    load_f32,
    load_f32v,
    load_i32,
    load_i64,
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


def rnn(record, chunk, scratch):  # type: ignore[no-untyped-def]
    """A chunk is one sequence of the batch in one direction."""
    batch, hidden, steps = load_i32(record + F.batch), load_i32(record + F.hidden), load_i32(record + F.steps)
    direction = udiv(chunk, batch)
    b = chunk - direction * batch
    blocks = udiv(hidden + 15, 16)
    pad = 64 * blocks
    h, sums = scratch, scratch + 2 * pad
    place = direction * load_i32(record + F.h_direction) + b * load_i32(record + F.h_row)
    h0 = load_i64(record + F.h0)
    begin(h0 + place if h0 != 0 else h0, h, hidden)
    x = load_i64(record + F.x) + direction * load_i32(record + F.x_direction) + b * load_i32(record + F.x_row)
    w = load_i64(record + F.w) + direction * load_i32(record + F.w_direction)
    y, y_step, x_step = load_i64(record + F.y), load_i32(record + F.y_step), load_i32(record + F.x_step)
    if y != 0:
        y += direction * load_i32(record + F.y_direction) + b * load_i32(record + F.y_row)
    clip, function = splat_f32(load_f32(record + F.clip)), load_i32(record + F.function)
    length = length_of(load_i64(record + F.lengths), b, steps)
    backward = load_i32(record + F.reverse) + direction
    for s in range(length):
        t = length - 1 - s if backward != 0 else s
        state_product(h + pad * (s & 1), x + t * x_step, w, hidden, blocks, sums)
        _state(sums, h + pad * (1 - (s & 1)), y + t * y_step if y != 0 else y, hidden, clip, function)
    clear(y, length, steps, y_step, hidden)
    y_h = load_i64(record + F.y_h)
    if y_h != 0:
        copy(h + pad * (length & 1), y_h + place, hidden)
