"""Recurrent layers over sequences: LSTM, GRU and RNN, in one or both directions.
Their integer and projected relatives from TFLite are in `recurrent_tflite.py`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from edgert.errors import UnsupportedError
from edgert.kernels_cpu.reference.activation import sigmoid, softplus, widened
from edgert.kernels_cpu.reference.registry import Array, Call, reference

Function = Callable[[Array], Array]

WITH_ALPHA: dict[str, tuple[float, float]] = {
    "affine": (1.0, 0.0), "leakyrelu": (0.01, 0.0), "thresholdedrelu": (1.0, 0.0), "scaledtanh": (1.0, 1.0),
    "hardsigmoid": (0.2, 0.5), "elu": (1.0, 0.0),
}  # fmt: skip
"""Activations with parameters, by lower-case name: default (alpha, beta)."""
WITH_BETA = ("affine", "scaledtanh", "hardsigmoid")


FUNCTIONS: dict[str, Callable[[Array, Any, Any], Array]] = {
    "relu": lambda x, a, b: np.maximum(x, 0),
    "tanh": lambda x, a, b: np.tanh(x),
    "sigmoid": lambda x, a, b: sigmoid(x),
    "affine": lambda x, a, b: a * x + b,
    "leakyrelu": lambda x, a, b: np.where(x < 0, a * x, x),
    "thresholdedrelu": lambda x, a, b: np.where(x > a, x, 0),
    "scaledtanh": lambda x, a, b: a * np.tanh(b * x),
    "hardsigmoid": lambda x, a, b: np.clip(a * x + b, 0, 1),
    "elu": lambda x, a, b: np.where(x < 0, a * np.expm1(np.minimum(x, 0)), x),
    "softsign": lambda x, a, b: x / (1 + np.abs(x)),
    "softplus": lambda x, a, b: softplus(x),
}


def activations(call: Call, default: list[str], directions: int) -> list[list[Function]]:
    """The activations of each direction, in order; `clip` bounds the sums they take. Parameters are given out in turn
    to the functions that have them. Raises UnsupportedError for an unknown name. Source: ONNX LSTM-22."""
    names = [str(n) for n in call.attrs.get("activations") or default * directions]
    if len(names) != len(default) * directions:
        raise UnsupportedError(f"expected {len(default) * directions} activations, found {names}")
    alphas, betas = (iter(call.attrs.get(f"activation_{key}") or ()) for key in ("alpha", "beta"))
    # The cell state goes into its activation as it is: only sums are bounded.
    clips = [0.0 if i % len(default) == 2 else call.attr_float("clip", 0.0) for i in range(len(names))]
    made = [_activation(name.lower(), alphas, betas, clip) for name, clip in zip(names, clips, strict=True)]
    return [made[i : i + len(default)] for i in range(0, len(made), len(default))]


def _activation(name: str, alphas: Iterator[Any], betas: Iterator[Any], clip: float) -> Function:
    if name not in FUNCTIONS:
        raise UnsupportedError(f"expected an activation among {', '.join(FUNCTIONS)}, found {name!r}")
    alpha, beta = WITH_ALPHA.get(name, (0.0, 0.0))
    alpha = float(next(alphas, alpha)) if name in WITH_ALPHA else alpha
    beta = float(next(betas, beta)) if name in WITH_BETA else beta

    def apply(x: Array) -> Array:
        a, b = np.asarray(alpha, x.dtype), np.asarray(beta, x.dtype)
        return np.asarray(FUNCTIONS[name](np.clip(x, -clip, clip) if clip > 0 else x, a, b), x.dtype)

    return apply


def backwards(call: Call) -> list[bool]:
    """For each direction, whether it runs from the end. Raises UnsupportedError for an unknown one."""
    known = {"forward": [False], "reverse": [True], "bidirectional": [False, True]}
    direction = call.attr_str("direction", "forward")
    if direction not in known:
        raise UnsupportedError(f"expected direction forward, reverse or bidirectional, found {direction!r}")
    return known[direction]


def unroll(
    call: Call, x: Array, hidden: int, lengths: Array | None, initial: list[Array | None],
    step: Callable[..., tuple[Array, ...]],
) -> tuple[Array, ...]:  # fmt: skip
    """(Y, final states) of step(direction, x_t [B, I], *states [B, H]) -> states over a whole sequence.

    x is [T, B, I] and Y [T, D, B, H], states [D, B, H]; with `layout` 1 [B, T, I], [B, T, D, H] and [B, D, H]. A
    sequence that is shorter than T ends after `lengths` steps, its Y is 0 from there, and backwards it starts there.
    """
    batchwise = bool(call.attr_int("layout", 0))
    wide = widened(x)
    sequence = wide.swapaxes(0, 1) if batchwise else wide
    steps, batch = sequence.shape[:2]
    lengths = np.full(batch, steps, np.int64) if lengths is None else lengths.astype(np.int64)
    reversals = backwards(call)
    y = np.zeros((steps, len(reversals), batch, hidden), wide.dtype)
    finals = [np.zeros((len(reversals), batch, hidden), wide.dtype) for _ in initial]
    for final, value in zip(finals, initial, strict=True):
        if value is not None:
            final[:] = value.swapaxes(0, 1) if batchwise else value
    rows = np.arange(batch)
    for d, backward in enumerate(reversals):
        states = [final[d] for final in finals]
        for s in range(steps):
            at = np.maximum(lengths - 1 - s, 0) if backward else np.full(batch, s)
            alive = s < lengths
            made = step(d, sequence[at, rows], *states)
            states = [np.where(alive[:, None], new, old) for new, old in zip(made, states, strict=True)]
            y[at[alive], d, rows[alive]] = states[0][alive]
        for final, state in zip(finals, states, strict=True):
            final[d] = state
    if batchwise:
        y, finals = y.transpose(2, 0, 1, 3), [final.swapaxes(0, 1) for final in finals]
    return tuple(value.astype(x.dtype) for value in (y, *finals))


def _split(value: Array | None, direction: int, parts: int, like: Array) -> list[Array]:
    """Row `direction` of [D, parts * H] in `parts` pieces, zeros when absent."""
    if value is None:
        return list(np.zeros((parts, 1), like.dtype))
    return np.split(value[direction].astype(like.dtype), parts)


@reference("LSTM")
def lstm(
    call: Call, x: Array, w: Array, r: Array, b: Array | None = None, lengths: Array | None = None,
    initial_h: Array | None = None, initial_c: Array | None = None, p: Array | None = None,
) -> tuple[Array, ...]:  # fmt: skip
    """x [T, B, I], w [D, 4H, I], r [D, 4H, H], b [D, 8H], peepholes p [D, 3H]: Y [T, D, B, H], Y_h and Y_c [D, B, H].

    Gates are in the order i, o, f, c; with `input_forget` f = 1 - i. Source: ONNX LSTM-22; Hochreiter and Schmidhuber
    1997, with the peepholes of Gers et al. 2000."""
    hidden, like = r.shape[2], widened(x)
    weights, recurrent = widened(w).swapaxes(1, 2), widened(r).swapaxes(1, 2)
    functions = activations(call, ["Sigmoid", "Tanh", "Tanh"], len(w))
    coupled = call.attr_int("input_forget", 0)

    def step(d: int, x_t: Array, h: Array, c: Array) -> tuple[Array, Array]:
        bias = _split(b, d, 8, like)
        f, g, out = functions[d]
        gates = np.split(x_t @ weights[d] + h @ recurrent[d], 4, axis=1)
        i_in, o_in, f_in, c_in = (v + m + n for v, m, n in zip(gates, bias[:4], bias[4:], strict=True))
        p_i, p_o, p_f = _split(p, d, 3, like)
        opened = f(i_in + p_i * c)
        kept = 1 - opened if coupled else f(f_in + p_f * c)
        cell = kept * c + opened * g(c_in)
        return f(o_in + p_o * cell) * out(cell), cell

    return unroll(call, x, hidden, lengths, [initial_h, initial_c], step)


@reference("GRU")
def gru(
    call: Call, x: Array, w: Array, r: Array, b: Array | None = None, lengths: Array | None = None,
    initial_h: Array | None = None,
) -> tuple[Array, ...]:  # fmt: skip
    """x [T, B, I], w [D, 3H, I], r [D, 3H, H], b [D, 6H]: Y [T, D, B, H] and Y_h [D, B, H]. Gates are in the order
    z, r, h; with `linear_before_reset` the reset gate meets h after its product. Source: ONNX GRU-22; Cho et al.
    2014."""
    hidden, like = r.shape[2], widened(x)
    weights, recurrent = widened(w).swapaxes(1, 2), widened(r).swapaxes(1, 2)
    functions = activations(call, ["Sigmoid", "Tanh"], len(w))
    linear = call.attr_int("linear_before_reset", 0)

    def step(d: int, x_t: Array, h: Array) -> tuple[Array]:
        b_z, b_r, b_h, rb_z, rb_r, rb_h = _split(b, d, 6, like)
        f, g = functions[d]
        x_z, x_r, x_h = np.split(x_t @ weights[d], 3, axis=1)
        r_z, r_r, r_h = np.split(recurrent[d], 3, axis=1)
        z = f(x_z + h @ r_z + b_z + rb_z)
        reset = f(x_r + h @ r_r + b_r + rb_r)
        recalled = reset * (h @ r_h + rb_h) if linear else (reset * h) @ r_h + rb_h
        return ((1 - z) * g(x_h + recalled + b_h) + z * h,)

    return unroll(call, x, hidden, lengths, [initial_h], step)


@reference("RNN")
def rnn(
    call: Call, x: Array, w: Array, r: Array, b: Array | None = None, lengths: Array | None = None,
    initial_h: Array | None = None,
) -> tuple[Array, ...]:  # fmt: skip
    """x [T, B, I], w [D, H, I], r [D, H, H], b [D, 2H]: Y [T, D, B, H] and Y_h [D, B, H]. Source: ONNX RNN-22;
    Elman 1990."""
    hidden, like = r.shape[2], widened(x)
    weights, recurrent = widened(w).swapaxes(1, 2), widened(r).swapaxes(1, 2)
    functions = activations(call, ["Tanh"], len(w))

    def step(d: int, x_t: Array, h: Array) -> tuple[Array]:
        bias, recurrent_bias = _split(b, d, 2, like)
        return (functions[d][0](x_t @ weights[d] + h @ recurrent[d] + bias + recurrent_bias),)

    return unroll(call, x, hidden, lengths, [initial_h], step)
