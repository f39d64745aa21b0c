"""The steps of a GRU over float rows. Source: ONNX GRU-22; kernels_cpu/reference/recurrent.py is the meaning.

x has the products of the input with biases in them, gates z, r, h; w the recurrent weights of a direction, then the
bias that the reset gate meets with them where it comes after the product.
"""

from __future__ import annotations

from edgert.kernels_cpu.elementwise.functions import const, tanh
from edgert.kernels_cpu.elementwise.gates import sigmoid
from edgert.kernels_cpu.recurrent.steps import bounded, layer, offset, state_products
from edgert.kernels_cpu.registry import record_fields
from edgert.kernels_cpu.simd import (
    LANES,
    fma,
    helper,
    load_f32,
    load_f32v,
    load_i32,
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
def _own(record, place, count, work, stride, w):  # type: ignore[no-untyped-def]
    return splat_f32(load_f32(record + F.clip)), load_i32(record + F.linear)


@helper
def _step(own, count, now, made, work, pad, stride, x, x_row, w, hidden, y, y_row):  # type: ignore[no-untyped-def]
    clip, linear = own
    blocks, last, bias = udiv(pad, 64), w + 2 * pad * hidden, w + 3 * pad * hidden
    fresh = work + 2 * pad
    state_products(count, now, stride, x, x_row, w, hidden, 2 * blocks, work)
    if linear != 0:
        state_products(count, now, stride, bias, 0, last, hidden, blocks, fresh)
        for r in range(count):
            _recall(work + r * stride, pad, x + r * x_row, hidden, clip)
    else:
        for r in range(count):
            _reset(work + r * stride, pad, now + r * stride, hidden, clip)
        state_products(count, work + pad, stride, x + 2 * pad, x_row, last, hidden, blocks, fresh)
    for r in range(count):
        at = r * stride
        _state(work + at, pad, now + at, made + at, offset(y, r * y_row), hidden, clip)


gru = layer(F, 5, _own, _step)
