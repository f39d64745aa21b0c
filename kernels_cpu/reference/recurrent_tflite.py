"""LSTM as TensorFlow Lite has it beyond ONNX: with a projection, normalized gates or a bounded cell, and in integers.
What ONNX's LSTM can say is lifted to that one, in `recurrent.py`."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from edgert.errors import UnsupportedError
from edgert.kernels_cpu.reference.activation import sigmoid
from edgert.kernels_cpu.reference.fixed_point import (
    HIGH16,
    Int,
    divide_by_power,
    logistic,
    multiplier_of,
    multiply,
    saturate16,
    tanh,
)
from edgert.kernels_cpu.reference.quantization import need_quant
from edgert.kernels_cpu.reference.registry import Array, Call, Quant, reference

NORM_EPSILON = 1e-8
FUNCTIONS: dict[str, Callable[[Array], Array]] = {
    "Tanh": np.tanh, "Relu": lambda x: np.maximum(x, 0), "Sigmoid": sigmoid, "Identity": lambda x: x,
}  # fmt: skip
"""Activations of the cell and of the output."""


def each_step(
    call: Call, x: Array, h: Array, c: Array, step: Callable[[Array, Array, Array], tuple[Array, Array]]
) -> tuple[Array, Array, Array]:
    """(Y, h, c) of step(x_t, h, c) -> (h, c) over x [T, B, I], or [B, T, I] where `layout` is 1."""
    batchwise = bool(call.attr_int("layout", 0))
    sequence = x.swapaxes(0, 1) if batchwise else x
    y = np.zeros((*sequence.shape[:2], h.shape[1]), h.dtype)
    for t, x_t in enumerate(sequence):
        h, c = step(x_t, h, c)
        y[t] = h
    return y.swapaxes(0, 1) if batchwise else y, h, c


def _normalized(gate: Array, weights: Array) -> Array:
    centred = gate - np.mean(gate, axis=1, keepdims=True)
    variance = np.mean(centred * centred, axis=1, keepdims=True)
    return np.asarray(centred / np.sqrt(variance + np.asarray(NORM_EPSILON, gate.dtype)) * weights)


@reference("ProjectedLSTM")
def projected_lstm(
    call: Call, x: Array, w: Array, r: Array, b: Array, h: Array, c: Array, p: Array | None = None,
    norm: Array | None = None, projection: Array | None = None, projection_bias: Array | None = None,
) -> tuple[Array, ...]:  # fmt: skip
    """x [T, B, I], w [4H, I], r [4H, O], b [4H], states h [B, O] and c [B, H], peepholes p [3H], norm [4H], projection
    [O, H] and its bias [O]: Y [T, B, O], h and c. Gates are in the order i, o, f, c. The cell is bounded by
    `cell_clip`, the output by `projection_clip`, where these are above 0. Source: TensorFlow Lite
    UNIDIRECTIONAL_SEQUENCE_LSTM; Sak et al. 2014, equations 7 to 13."""
    name = call.attr_str("activation", "Tanh")
    if name not in FUNCTIONS:
        raise UnsupportedError(f"expected an activation among {', '.join(FUNCTIONS)}, found {name!r}")
    function, hidden = FUNCTIONS[name], c.shape[1]
    bias = np.split(b, 4)
    p_i, p_o, p_f = np.zeros((3, hidden), x.dtype) if p is None else np.split(p, 3)
    weights = None if norm is None else np.split(norm, 4)

    def gate(index: int, total: Array) -> Array:
        return bias[index] + (total if weights is None else _normalized(total, weights[index]))

    def step(x_t: Array, h: Array, c: Array) -> tuple[Array, Array]:
        i, o, f, fresh = np.split(x_t @ w.T + h @ r.T, 4, axis=1)
        kept = sigmoid(gate(2, f + p_f * c))
        opened = 1 - kept if call.attr_int("coupled", 0) else sigmoid(gate(0, i + p_i * c))
        c = kept * c + opened * function(gate(3, fresh))
        clip = call.attr_float("cell_clip", 0.0)
        c = np.clip(c, -clip, clip) if clip > 0 else c
        h = sigmoid(gate(1, o + p_o * c)) * function(c)
        if projection is not None:
            h = h @ projection.T + (0 if projection_bias is None else projection_bias)
            clip = call.attr_float("projection_clip", 0.0)
            h = np.clip(h, -clip, clip) if clip > 0 else h
        return h.astype(x.dtype), c.astype(x.dtype)

    return each_step(call, x, h, c, step)


def _gate_scales(quant: Quant | None, what: str) -> list[np.float32]:
    """The scale of each gate, whose rows share one."""
    found = need_quant(quant, what).scale.reshape(-1)
    return [np.float32(v) for v in found[:: max(len(found) // 4, 1)]]


def _signed(stored: Array) -> Int:
    """Activations of the file: int8, which the graph holds as uint8, 128 more."""
    return stored.astype(np.int64) - (128 if stored.dtype == np.uint8 else 0)


@reference("QLinearLSTM")
def qlinear_lstm(
    call: Call, x: Array, w: Array, r: Array, b: Array, h: Array, c: Array, p: Array | None = None,
    projection: Array | None = None, projection_bias: Array | None = None,
) -> tuple[Array, ...]:  # fmt: skip
    """As ProjectedLSTM without normalized gates: x and h uint8, w, r and the projection int8, p int16, each gate with a
    scale of its own; biases int32; c int16, whose scale is a power of two. Gates are 16-bit with 3 integer bits, their
    sigmoid and tanh fixed-point. `hidden_scale` and `hidden_zero_point` are of what goes into the projection.

    Source: TensorFlow Lite, 8-bit quantization specification and kernels/lstm_eval.cc (8x8 to 16)."""
    units = np.float32(2**-12)
    x_quant, h_quant, c_quant = (need_quant(call.quant_in[i], what) for i, what in ((0, "x"), (4, "h"), (5, "c")))
    power = round(math.log2(float(c_quant.scale)))
    zeros = [int(q.zero_point) - (128 if v.dtype == np.uint8 else 0) for q, v in ((x_quant, x), (h_quant, h))]
    w_scales, r_scales = (_gate_scales(call.quant_in[i], what) for i, what in ((1, "w"), (2, "r")))
    from_x, from_h = (
        [multiplier_of(float(s * np.float32(q.scale) / units)) for s in scales]
        for scales, q in ((w_scales, x_quant), (r_scales, h_quant))
    )
    products = [np.split(v.astype(np.int64).T, 4, axis=1) for v in (w, r)]
    offsets = [[-zero * m.sum(axis=0) for m in gates] for zero, gates in zip(zeros, products, strict=True)]
    bias = np.split(b.astype(np.int64), 4)
    peepholes: list[tuple[Int, tuple[int, int]]] = []
    if p is not None:
        scales = need_quant(call.quant_in[6], "p").scale.reshape(3, -1)[:, 0]
        peepholes = [
            (rows, multiplier_of(float(np.float32(2.0**power * scale / units))))
            for rows, scale in zip(np.split(p.astype(np.int64), 3), scales, strict=True)
        ]
    hidden_scale = np.float32(call.attr_float("hidden_scale", 1.0))
    hidden = multiplier_of(float(np.float32(2.0**-30 / float(hidden_scale))))
    hidden_zero = call.attr_int("hidden_zero_point", 0)
    clips = [call.attr_float(key, 0.0) for key in ("cell_clip", "projection_clip")]
    cell_clip = min(int(clips[0] / float(c_quant.scale)), HIGH16)
    projection_clip = min(int(clips[1] / float(h_quant.scale)), 127)

    def gate(index: int, x_t: Int, h: Int, c: Int) -> Int:
        """Sum of a gate; `index` in the order i, o, f, c."""
        total = saturate16(multiply(x_t @ products[0][index] + offsets[0][index] + bias[index], from_x[index]))
        total = saturate16(total + multiply(h @ products[1][index] + offsets[1][index], from_h[index]))
        if peepholes and index < 3:
            rows, scale = peepholes[index]
            total = saturate16(total + multiply(rows * c, scale))
        return total

    def step(x_t: Array, stored: Array, state: Array) -> tuple[Array, Array]:
        x_t, h, c = _signed(x_t), _signed(stored), state.astype(np.int64)
        kept, fresh = logistic(gate(2, x_t, h, c)), tanh(gate(3, x_t, h, c), 3)
        coupled = call.attr_int("coupled", 0)
        opened = HIGH16 - kept if coupled else logistic(gate(0, x_t, h, c))
        c = saturate16(divide_by_power(kept * c, 15) + divide_by_power(opened * fresh, 30 + power))
        c = np.clip(c, -cell_clip, cell_clip) if cell_clip > 0 else c
        shown = logistic(gate(1, x_t, h, c)) * tanh(c, 15 + power)
        if projection is None:
            h = np.clip(multiply(shown, hidden) + hidden_zero, -128, 127)
        else:
            h = _projected(np.clip(multiply(shown, hidden) - hidden_zero, -128, 127))
        return (h + (128 if stored.dtype == np.uint8 else 0)).astype(stored.dtype), c.astype(state.dtype)

    def _projected(values: Int) -> Int:
        assert projection is not None
        scale = np.float32(need_quant(call.quant_in[7], "projection").scale)
        factor = multiplier_of(float(scale * hidden_scale / np.float32(h_quant.scale)))
        rows = projection.astype(np.int64)
        added = hidden_zero * rows.sum(axis=1) + (0 if projection_bias is None else projection_bias)
        made = np.clip(multiply(values @ rows.T + added, factor) + zeros[1], -128, 127)
        return np.clip(made, -projection_clip, projection_clip) if projection_clip > 0 else made

    return each_step(call, x, h, c, step)


@reference("QLinearSVDF")
def qlinear_svdf(
    call: Call, x: Array, features: Array, times: Array, bias: Array | None = None, state: Array | None = None
) -> tuple[Array, ...]:
    """x uint8 [B, I], features int8 [F, I], times int16 [F, M], bias int32 [U], state int16 [B, F*M]: uint8 [B, U] and
    the new state, in which every filter has lost its oldest value and gained one. F = U * rank. Source: TensorFlow
    Lite SVDF, kernels/internal/reference/svdf.h; Nakkiran et al. 2015, section 3."""
    assert state is not None
    x_quant, f_quant, t_quant, s_quant = (
        need_quant(call.quant_in[i], what) for i, what in ((0, "x"), (1, "features"), (2, "times"), (4, "state"))
    )
    y_quant = need_quant(call.quant_out[0], "output")
    filters, memory = times.shape
    scale_in = multiplier_of(float(np.float32(x_quant.scale) * np.float32(f_quant.scale) / np.float32(s_quant.scale)))
    scale_out = multiplier_of(float(np.float32(s_quant.scale) * np.float32(t_quant.scale) / np.float32(y_quant.scale)))
    found = (x.astype(np.int64) - int(x_quant.zero_point)) @ features.astype(np.int64).T
    history = state.reshape(len(x), filters, memory).astype(np.int64)
    history = np.concatenate([history[:, :, 1:], saturate16(multiply(found, scale_in))[:, :, None]], axis=2)
    sums = (history * times).sum(axis=2).reshape(len(x), filters // call.attr_int("rank", 1), -1).sum(axis=2)
    steps = multiply(sums if bias is None else sums + bias, scale_out) + int(y_quant.zero_point)
    dtype = np.dtype(call.dtype_out[0])
    bounds = np.iinfo(dtype)
    return np.clip(steps, bounds.min, bounds.max).astype(dtype), history.reshape(state.shape).astype(state.dtype)
