"""The steps of a plain recurrent layer over float rows. Source: ONNX RNN-22; kernels_cpu/reference/recurrent.py is
the meaning. x has the products of the input with biases in them, w the recurrent weights.
"""

from __future__ import annotations

from edgert.kernels_cpu.elementwise.functions import const, tanh
from edgert.kernels_cpu.elementwise.gates import sigmoid
from edgert.kernels_cpu.recurrent import RNN_FUNCTIONS
from edgert.kernels_cpu.recurrent.steps import begin, bounded, by_chunks, clear, copy, state_products
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


@helper
def _sequences(record, direction, b, count, length, scratch):  # type: ignore[no-untyped-def]
    """All steps of `count` sequences from b on, each of `length` steps."""
    hidden, steps = load_i32(record + F.hidden), load_i32(record + F.steps)
    blocks = udiv(hidden + 15, 16)
    pad = 64 * blocks
    stride = 3 * pad
    h, sums = scratch, scratch + 2 * pad
    h_row, x_row, y_row = load_i32(record + F.h_row), load_i32(record + F.x_row), load_i32(record + F.y_row)
    place = direction * load_i32(record + F.h_direction) + b * h_row
    h0 = load_i64(record + F.h0)
    for r in range(count):
        begin(h0 + place + r * h_row if h0 != 0 else h0, h + r * stride, hidden)
    x = load_i64(record + F.x) + direction * load_i32(record + F.x_direction) + b * x_row
    w = load_i64(record + F.w) + direction * load_i32(record + F.w_direction)
    y, y_step, x_step = load_i64(record + F.y), load_i32(record + F.y_step), load_i32(record + F.x_step)
    if y != 0:
        y += direction * load_i32(record + F.y_direction) + b * y_row
    clip, function = splat_f32(load_f32(record + F.clip)), load_i32(record + F.function)
    backward = load_i32(record + F.reverse) + direction
    for s in range(length):
        t = length - 1 - s if backward != 0 else s
        now, made = h + pad * (s & 1), h + pad * (1 - (s & 1))
        state_products(count, now, stride, x + t * x_step, x_row, w, hidden, blocks, sums)
        for r in range(count):
            own, out = r * stride, y + t * y_step + r * y_row if y != 0 else y
            _state(sums + own, made + own, out, hidden, clip, function)
    y_h = load_i64(record + F.y_h)
    for r in range(count):
        if y != 0:
            clear(y + r * y_row, length, steps, y_step, hidden)
        if y_h != 0:
            copy(h + pad * (length & 1) + r * stride, y_h + place + r * h_row, hidden)


rnn = by_chunks(_sequences, F)
