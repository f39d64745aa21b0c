"""The steps of an LSTM over float rows. Source: ONNX LSTM-22; kernels_cpu/reference/recurrent.py is the meaning.

x has the products of the input with biases in them, gates i, o, f, c; w the recurrent weights of a direction, then its
peepholes. The cells of a sequence are the first of its work in scratch.
"""

from __future__ import annotations

from edgert.kernels_cpu.elementwise.functions import tanh
from edgert.kernels_cpu.elementwise.gates import sigmoid
from edgert.kernels_cpu.recurrent.steps import begin_states, bounded, copy_states, layer, offset, state_products
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

F = record_fields("lstm_f32_row")


@helper
def _cell(gates, pad, peepholes, c, h, y, hidden, clip):  # type: ignore[no-untyped-def]
    """The new cell and hidden state of all units, from sums of gates `pad` bytes apart."""
    for i in range(0, hidden, LANES):
        at = 4 * i
        cell = load_f32v(c + at)
        opened, kept = load_f32v(gates + at), load_f32v(gates + 2 * pad + at)
        shown, fresh = load_f32v(gates + pad + at), load_f32v(gates + 3 * pad + at)
        if peepholes != 0:
            opened = fma(load_f32v(peepholes + at), cell, opened)
            kept = fma(load_f32v(peepholes + 2 * pad + at), cell, kept)
        opened, kept = sigmoid(bounded(opened, clip)), sigmoid(bounded(kept, clip))
        cell = fma(kept, cell, opened * tanh(bounded(fresh, clip)))
        if peepholes != 0:
            shown = fma(load_f32v(peepholes + pad + at), cell, shown)
        state = sigmoid(bounded(shown, clip)) * tanh(cell)
        store_f32v(c + at, cell)
        store_f32v(h + at, state)
        if y != 0:
            store_first_f32v(y + at, state, hidden - i)


@helper
def _own(record, place, count, work, stride, w):  # type: ignore[no-untyped-def]
    hidden = load_i32(record + F.hidden)
    c0 = offset(load_i64(record + F.c0), place)
    begin_states(c0, count, load_i32(record + F.h_row), work, stride, hidden)
    peepholes = w + 256 * udiv(hidden + 15, 16) * hidden if load_i32(record + F.peepholes) != 0 else 0
    return splat_f32(load_f32(record + F.clip)), peepholes


@helper
def _step(own, count, now, made, work, pad, stride, x, x_row, w, hidden, y, y_row):  # type: ignore[no-untyped-def]
    clip, peepholes = own
    gates = work + pad
    state_products(count, now, stride, x, x_row, w, hidden, 4 * udiv(pad, 64), gates)
    for r in range(count):
        at = r * stride
        _cell(gates + at, pad, peepholes, work + at, made + at, offset(y, r * y_row), hidden, clip)


@helper
def _end(record, place, count, work, stride):  # type: ignore[no-untyped-def]
    y_c = offset(load_i64(record + F.y_c), place)
    copy_states(work, stride, count, load_i32(record + F.h_row), y_c, load_i32(record + F.hidden))


lstm = layer(F, 7, _own, _step, _end)
