"""The steps of a GRU over float rows. Source: ONNX GRU-22; kernels_cpu/reference/recurrent.py is the meaning.

x has the products of the input with biases in them, gates z, r, h; w the recurrent weights of a direction, then the
bias that the reset gate meets with them where it comes after the product.
"""

from __future__ import annotations

from edgert.kernels_cpu.elementwise.functions import const, tanh
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


@helper
def _sequences(record, direction, b, count, length, scratch):  # type: ignore[no-untyped-def]
    """All steps of `count` sequences from b on, each of `length` steps."""
    hidden, steps = load_i32(record + F.hidden), load_i32(record + F.steps)
    blocks = udiv(hidden + 15, 16)
    pad = 64 * blocks
    stride = 5 * pad
    h, gates = scratch, scratch + 2 * pad
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
    clip, linear = splat_f32(load_f32(record + F.clip)), load_i32(record + F.linear)
    last, bias = w + 2 * pad * hidden, w + 3 * pad * hidden
    backward = load_i32(record + F.reverse) + direction
    for s in range(length):
        t = length - 1 - s if backward != 0 else s
        now, made = h + pad * (s & 1), h + pad * (1 - (s & 1))
        at, fresh = x + t * x_step, gates + 2 * pad
        state_products(count, now, stride, at, x_row, w, hidden, 2 * blocks, gates)
        if linear != 0:
            state_products(count, now, stride, bias, 0, last, hidden, blocks, fresh)
            for r in range(count):
                _recall(gates + r * stride, pad, at + r * x_row, hidden, clip)
        else:
            for r in range(count):
                _reset(gates + r * stride, pad, now + r * stride, hidden, clip)
            state_products(count, gates + pad, stride, at + 2 * pad, x_row, last, hidden, blocks, fresh)
        for r in range(count):
            own, out = r * stride, y + t * y_step + r * y_row if y != 0 else y
            _state(gates + own, pad, now + own, made + own, out, hidden, clip)
    y_h = load_i64(record + F.y_h)
    for r in range(count):
        if y != 0:
            clear(y + r * y_row, length, steps, y_step, hidden)
        if y_h != 0:
            copy(h + pad * (length & 1) + r * stride, y_h + place + r * h_row, hidden)


gru = by_chunks(_sequences, F)
