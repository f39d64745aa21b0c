"""The steps of a GRU over float rows. Source: ONNX GRU-22; kernels_cpu/reference/recurrent.py is the meaning.

x has the products of the input with biases in them, gates z, r, h; w the recurrent weights of a direction, then the
bias that the reset gate meets with them where it comes after the product.
"""

from __future__ import annotations

from edgert.kernels_cpu.elementwise.functions import const, tanh
from edgert.kernels_cpu.elementwise.gates import sigmoid
from edgert.kernels_cpu.recurrent.steps import begin, bounded, clear, copy, length_of, state_product
from edgert.kernels_cpu.registry import record_fields
from edgert.kernels_cpu.simd import (
    LANES,
    fma,
    helper,
    load_f32,
    load_f32v,
    load_i32,
    load_i64,
    splat_f32,
    store_f32v,
    store_first_f32v,
    udiv,
)  # fmt: skip

F = record_fields("gru_f32_row")


@helper
def _reset(gates, pad, h, hidden, clip):  # type: ignore[no-untyped-def]
    """The reset gate times the state, into the place of the gate."""
    for i in range(0, hidden, LANES):
        gate = sigmoid(bounded(load_f32v(gates + pad + 4 * i), clip))
        store_f32v(gates + pad + 4 * i, gate * load_f32v(h + 4 * i))


@helper
def _recall(gates, pad, x, hidden, clip):  # type: ignore[no-untyped-def]
    """What the input brings plus the reset gate times the product, into the place of the product."""
    for i in range(0, hidden, LANES):
        gate = sigmoid(bounded(load_f32v(gates + pad + 4 * i), clip))
        recalled = fma(gate, load_f32v(gates + 2 * pad + 4 * i), load_f32v(x + 2 * pad + 4 * i))
        store_f32v(gates + 2 * pad + 4 * i, recalled)


@helper
def _state(gates, pad, h, made, y, hidden, clip):  # type: ignore[no-untyped-def]
    """(1 - z) g + z h, the new state."""
    for i in range(0, hidden, LANES):
        at = 4 * i
        z = sigmoid(bounded(load_f32v(gates + at), clip))
        fresh = tanh(bounded(load_f32v(gates + 2 * pad + at), clip))
        state = fma(z, load_f32v(h + at), (const(1.0) - z) * fresh)
        store_f32v(made + at, state)
        if y != 0:
            store_first_f32v(y + at, state, hidden - i)


def gru(record, chunk, scratch):  # type: ignore[no-untyped-def]
    """A chunk is one sequence of the batch in one direction."""
    batch, hidden, steps = load_i32(record + F.batch), load_i32(record + F.hidden), load_i32(record + F.steps)
    direction = udiv(chunk, batch)
    b = chunk - direction * batch
    blocks = udiv(hidden + 15, 16)
    pad = 64 * blocks
    h, gates = scratch, scratch + 2 * pad
    place = direction * load_i32(record + F.h_direction) + b * load_i32(record + F.h_row)
    h0 = load_i64(record + F.h0)
    begin(h0 + place if h0 != 0 else h0, h, hidden)
    x = load_i64(record + F.x) + direction * load_i32(record + F.x_direction) + b * load_i32(record + F.x_row)
    w = load_i64(record + F.w) + direction * load_i32(record + F.w_direction)
    y, y_step, x_step = load_i64(record + F.y), load_i32(record + F.y_step), load_i32(record + F.x_step)
    if y != 0:
        y += direction * load_i32(record + F.y_direction) + b * load_i32(record + F.y_row)
    clip, linear = splat_f32(load_f32(record + F.clip)), load_i32(record + F.linear)
    last, bias = w + 2 * pad * hidden, w + 3 * pad * hidden
    length = length_of(load_i64(record + F.lengths), b, steps)
    backward = load_i32(record + F.reverse) + direction
    for s in range(length):
        t = length - 1 - s if backward != 0 else s
        now, made, at = h + pad * (s & 1), h + pad * (1 - (s & 1)), x + t * x_step
        state_product(now, at, w, hidden, 2 * blocks, gates)
        if linear != 0:
            state_product(now, bias, last, hidden, blocks, gates + 2 * pad)
            _recall(gates, pad, at, hidden, clip)
        else:
            _reset(gates, pad, now, hidden, clip)
            state_product(gates + pad, at + 2 * pad, last, hidden, blocks, gates + 2 * pad)
        _state(gates, pad, now, made, y + t * y_step if y != 0 else y, hidden, clip)
    clear(y, length, steps, y_step, hidden)
    y_h = load_i64(record + F.y_h)
    if y_h != 0:
        copy(h + pad * (length & 1), y_h + place, hidden)
