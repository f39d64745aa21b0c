"""Normalizations of every kind: statistics are computed in float32 or wider.
Batch normalization is that of inference; folding it into a convolution is a pass of the converter."""

from __future__ import annotations

import numpy as np

from edgert.errors import UnsupportedError
from edgert.kernels_cpu.reference.activation import widened
from edgert.kernels_cpu.reference.conv import per_channel
from edgert.kernels_cpu.reference.registry import Array, Call, reference


def standardize(x: Array, axes: tuple[int, ...], epsilon: float) -> tuple[Array, Array, Array]:
    """((x - mean) / sqrt(var + epsilon), mean, 1 / sqrt(var + epsilon)) over `axes`, axes kept."""
    mean = np.mean(x, axis=axes, keepdims=True)
    centred = x - mean
    inverse = 1 / np.sqrt(np.mean(centred * centred, axis=axes, keepdims=True) + np.asarray(epsilon, x.dtype))
    return centred * inverse, mean, inverse


@reference("BatchNormalization")
def batch_normalization(call: Call, x: Array, scale: Array, bias: Array, mean: Array, var: Array) -> Array:
    """x [B, C, ...], the others [C]: (x - mean) / sqrt(var + epsilon) * scale + bias. Source: ONNX-15."""
    if call.attr_int("training_mode", 0):
        raise UnsupportedError("expected BatchNormalization in inference mode, found training_mode = 1")
    scale, bias, mean, var = (per_channel(widened(v), x.ndim) for v in (scale, bias, mean, var))
    factor = scale / np.sqrt(var + np.asarray(call.attr_float("epsilon", 1e-5), var.dtype))
    return ((widened(x) - mean) * factor + bias).astype(x.dtype)


@reference("InstanceNormalization")
def instance_normalization(call: Call, x: Array, scale: Array, bias: Array) -> Array:
    """x [B, C, *S] standardized over S; scale, bias [C]. Source: ONNX InstanceNormalization-22."""
    y, _, _ = standardize(widened(x), tuple(range(2, x.ndim)), call.attr_float("epsilon", 1e-5))
    return (y * per_channel(scale, x.ndim) + per_channel(bias, x.ndim)).astype(x.dtype)


@reference("GroupNormalization")
def group_normalization(call: Call, x: Array, scale: Array, bias: Array) -> Array:
    """x [B, C, *S] standardized over each of num_groups channel groups; scale, bias [C]. Source: ONNX-21."""
    groups = widened(x).reshape(x.shape[0], call.attr_int("num_groups", 1), -1)
    y, _, _ = standardize(groups, (2,), call.attr_float("epsilon", 1e-5))
    return (y.reshape(x.shape) * per_channel(scale, x.ndim) + per_channel(bias, x.ndim)).astype(x.dtype)


@reference("LayerNormalization")
def layer_normalization(call: Call, x: Array, scale: Array, bias: Array | None = None) -> tuple[Array, Array, Array]:
    """x standardized over the axes from `axis` on; also the mean and 1 / std. Source: ONNX-17."""
    axis = call.attr_int("axis", -1) % x.ndim
    y, mean, inverse = standardize(widened(x), tuple(range(axis, x.ndim)), call.attr_float("epsilon", 1e-5))
    y = y.astype(x.dtype) * scale
    return (y if bias is None else y + bias), mean, inverse


@reference("RMSNormalization")
def rms_normalization(call: Call, x: Array, scale: Array) -> Array:
    """x / sqrt(mean(x**2) + epsilon) * scale over the axes from `axis` on. Source: ONNX-23."""
    wide = widened(x)
    axes = tuple(range(call.attr_int("axis", -1) % x.ndim, x.ndim))
    square = np.mean(wide * wide, axis=axes, keepdims=True)
    y = wide / np.sqrt(square + np.asarray(call.attr_float("epsilon", 1e-5), wide.dtype))
    return (y.astype(x.dtype) * scale).astype(x.dtype)


@reference("LRN")
def lrn(call: Call, x: Array) -> Array:
    """x [B, C, ...] / (bias + alpha / size * squares summed over `size` channels) ** beta. Source: ONNX."""
    size = call.attr_int("size", 1)
    square = widened(x) ** 2
    # Past the first and the last channel there is nothing to add, however wide the window is.
    before, after = (min(reach, x.shape[1]) for reach in ((size - 1) // 2, size // 2))
    square = np.pad(square, [(0, 0), (before, after), *[(0, 0)] * (x.ndim - 2)])
    total = sum(square[:, i : i + x.shape[1]] for i in range(before + 1 + after))
    base = call.attr_float("bias", 1.0) + call.attr_float("alpha", 1e-4) / size * total
    return (x / base ** call.attr_float("beta", 0.75)).astype(x.dtype)


@reference("MeanVarianceNormalization")
def mean_variance_normalization(call: Call, x: Array) -> Array:
    """(x - mean) / (std + 1e-9) over `axes`. Source: ONNX MeanVarianceNormalization-13, its function body."""
    axes, wide = tuple(call.attr_ints("axes", [0, 2, 3])), widened(x)
    centred = wide - np.mean(wide, axis=axes, keepdims=True)
    variance = np.mean(wide**2, axis=axes, keepdims=True) - np.mean(wide, axis=axes, keepdims=True) ** 2
    return (centred / (np.sqrt(np.maximum(variance, 0)) + np.asarray(1e-9, wide.dtype))).astype(x.dtype)


@reference("LpNormalization")
def lp_normalization(call: Call, x: Array) -> Array:
    """x divided by its p-norm (p 1 or 2) along `axis`; 0 where the norm is 0. Source: ONNX-22."""
    axis = call.attr_int("axis", -1)
    order = call.attr_int("p", 2)
    wide = widened(x)
    size = np.sum(np.abs(wide) ** order, axis=axis, keepdims=True) ** np.asarray(1 / order, wide.dtype)
    return np.where(size == 0, 0, wide / np.where(size == 0, 1, size)).astype(x.dtype)
