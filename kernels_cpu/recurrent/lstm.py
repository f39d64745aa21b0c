"""The steps of an LSTM over float rows. Source: ONNX LSTM-22; kernels_cpu/reference/recurrent.py is the meaning.

x has the products of the input with biases in them, gates i, o, f, c; w the recurrent weights of a direction, then its
peepholes. The state of a sequence stays in scratch.
"""

from __future__ import annotations

from edgert.kernels_cpu.elementwise.functions import tanh
from edgert.kernels_cpu.elementwise.gates import sigmoid
from edgert.kernels_cpu.recurrent.steps import begin, bounded, by_chunks, clear, copy, state_products
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
def _sequences(record, direction, b, count, length, scratch):  # type: ignore[no-untyped-def]
    """All steps of `count` sequences from b on, each of `length` steps."""
    hidden, steps = load_i32(record + F.hidden), load_i32(record + F.steps)
    blocks = udiv(hidden + 15, 16)
    pad = 64 * blocks
    stride = 7 * pad
    h, c, gates = scratch, scratch + 2 * pad, scratch + 3 * pad
    h_row, x_row, y_row = load_i32(record + F.h_row), load_i32(record + F.x_row), load_i32(record + F.y_row)
    place = direction * load_i32(record + F.h_direction) + b * h_row
    h0, c0 = load_i64(record + F.h0), load_i64(record + F.c0)
    for r in range(count):
        begin(h0 + place + r * h_row if h0 != 0 else h0, h + r * stride, hidden)
        begin(c0 + place + r * h_row if c0 != 0 else c0, c + r * stride, hidden)
    x = load_i64(record + F.x) + direction * load_i32(record + F.x_direction) + b * x_row
    w = load_i64(record + F.w) + direction * load_i32(record + F.w_direction)
    y, y_step, x_step = load_i64(record + F.y), load_i32(record + F.y_step), load_i32(record + F.x_step)
    if y != 0:
        y += direction * load_i32(record + F.y_direction) + b * y_row
    clip = splat_f32(load_f32(record + F.clip))
    peepholes = w + 4 * pad * hidden if load_i32(record + F.peepholes) != 0 else 0
    backward = load_i32(record + F.reverse) + direction
    for s in range(length):
        t = length - 1 - s if backward != 0 else s
        now, made = h + pad * (s & 1), h + pad * (1 - (s & 1))
        state_products(count, now, stride, x + t * x_step, x_row, w, hidden, 4 * blocks, gates)
        for r in range(count):
            own, out = r * stride, y + t * y_step + r * y_row if y != 0 else y
            _cell(gates + own, pad, peepholes, c + own, made + own, out, hidden, clip)
    y_h, y_c = load_i64(record + F.y_h), load_i64(record + F.y_c)
    for r in range(count):
        if y != 0:
            clear(y + r * y_row, length, steps, y_step, hidden)
        if y_h != 0:
            copy(h + pad * (length & 1) + r * stride, y_h + place + r * h_row, hidden)
        if y_c != 0:
            copy(c + r * stride, y_c + place + r * h_row, hidden)


lstm = by_chunks(_sequences, F)
