"""Activation functions: elementwise with their parameters, and the softmax family along an axis.
Arithmetic is in `elementwise.py`."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from edgert.errors import UnsupportedError
from edgert.kernels_cpu.reference.registry import Array, Call, reference

SELU_ALPHA, SELU_GAMMA = 1.67326319217681884765625, 1.05070102214813232421875
"""Defaults of ONNX Selu (Klambauer et al. 2017, section 2)."""


def widened(x: Array) -> Array:
    """float16 values as float32, in which they are computed; others as they are."""
    return x.astype(np.float32) if x.dtype == np.float16 else x


def erf_values(x: Array) -> Array:
    """The error function of each value, by the C library in double precision, in the dtype of x."""
    flat = np.fromiter(map(math.erf, x.ravel().tolist()), np.float64, x.size)
    return flat.reshape(x.shape).astype(x.dtype)


def sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def softplus(x: Array) -> Array:
    return np.logaddexp(np.zeros((), x.dtype), x)


def _gelu(call: Call, x: Array) -> Array:
    kind = call.attr_str("approximate", "none")
    if kind == "tanh":
        return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
    if kind != "none":
        raise UnsupportedError(f"expected Gelu approximate 'none' or 'tanh', found {kind!r}")
    return 0.5 * x * (1 + erf_values(x / math.sqrt(2)))


def _elu(alpha: float, x: Array) -> Array:
    return np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0)))


def _celu(alpha: float, x: Array) -> Array:
    return np.maximum(x, 0) + np.minimum(alpha * np.expm1(np.minimum(x, 0) / alpha), 0)


_UNARY: dict[str, Callable[[Call, Array], Array]] = {
    "Relu": lambda call, x: np.maximum(x, 0),
    "LeakyRelu": lambda call, x: np.where(x < 0, call.attr_float("alpha", 0.01) * x, x),
    "ThresholdedRelu": lambda call, x: np.where(x > call.attr_float("alpha", 1.0), x, 0),
    "Sigmoid": lambda call, x: sigmoid(x),
    "HardSigmoid": lambda call, x: np.clip(call.attr_float("alpha", 0.2) * x + call.attr_float("beta", 0.5), 0, 1),
    "HardSwish": lambda call, x: x * np.clip(x / 6 + 0.5, 0, 1),
    "Swish": lambda call, x: x * sigmoid(call.attr_float("alpha", 1.0) * x),
    "Mish": lambda call, x: x * np.tanh(softplus(x)),
    "Tanh": lambda call, x: np.tanh(x),
    "Erf": lambda call, x: erf_values(x),
    "Gelu": _gelu,
    "Softplus": lambda call, x: softplus(x),
    "Softsign": lambda call, x: x / (1 + np.abs(x)),
    "Elu": lambda call, x: _elu(call.attr_float("alpha", 1.0), x),
    "Celu": lambda call, x: _celu(call.attr_float("alpha", 1.0), x),
    "Selu": lambda call, x: call.attr_float("gamma", SELU_GAMMA) * _elu(call.attr_float("alpha", SELU_ALPHA), x),
}
"""The formulas of the ONNX operators of these names, on float32 or wider."""


@reference(*_UNARY)
def unary_activation(call: Call, x: Array) -> Array:
    """x of any shape; same shape and dtype."""
    return _UNARY[call.op](call, widened(x)).astype(x.dtype)


@reference("Clip")
def clip(call: Call, x: Array, low: Array | None = None, high: Array | None = None) -> Array:
    """min(max(x, low), high), bounds scalars: where low > high the result is high. Source: ONNX Clip-13."""
    if low is not None:
        x = np.maximum(x, low.reshape(()).astype(x.dtype))
    if high is not None:
        x = np.minimum(x, high.reshape(()).astype(x.dtype))
    return x


@reference("PRelu")
def prelu(call: Call, x: Array, slope: Array) -> Array:
    """x where x >= 0, slope * x elsewhere; slope broadcasts to x. Source: ONNX PRelu-16."""
    return np.where(x < 0, slope * x, x).astype(x.dtype)


@reference("Dropout")
def dropout(
    call: Call, x: Array, ratio: Array | None = None, training: Array | None = None
) -> Array | tuple[Array, Array]:
    """x itself, and a mask of all true if wanted: in inference, or with a ratio of 0. Source: ONNX Dropout-22."""
    if training is not None and bool(training.item()) and (ratio is None or ratio.item() != 0):
        raise UnsupportedError("expected Dropout in inference mode or with ratio 0, found training_mode = true")
    return (x, np.ones(x.shape, bool)) if call.wants(1) else x


@reference("Softmax")
def softmax(call: Call, x: Array) -> Array:
    """exp(x - max) / sum along `axis`. Source: ONNX Softmax-13."""
    axis = call.attr_int("axis", -1)
    wide = widened(x)
    e = np.exp(wide - np.max(wide, axis=axis, keepdims=True, initial=-np.inf))
    return (e / np.sum(e, axis=axis, keepdims=True)).astype(x.dtype)


@reference("LogSoftmax")
def log_softmax(call: Call, x: Array) -> Array:
    """x - max - log(sum(exp(x - max))) along `axis`. Source: ONNX LogSoftmax-13."""
    axis = call.attr_int("axis", -1)
    wide = widened(x)
    shifted = wide - np.max(wide, axis=axis, keepdims=True, initial=-np.inf)
    return (shifted - np.log(np.sum(np.exp(shifted), axis=axis, keepdims=True))).astype(x.dtype)


@reference("Hardmax")
def hardmax(call: Call, x: Array) -> Array:
    """1 at the first maximum along `axis`, 0 elsewhere. Source: ONNX Hardmax-13."""
    axis = call.attr_int("axis", -1)
    y = np.zeros_like(x)
    if x.size:
        np.put_along_axis(y, np.argmax(x, axis=axis, keepdims=True), 1, axis=axis)
    return y
