"""Resize: nearest, linear and cubic interpolation, one axis at a time.
The output shape and scales are resolved by `resized`, which shape inference uses too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from edgert.errors import UnsupportedError
from edgert.kernels_cpu.reference.activation import widened
from edgert.kernels_cpu.reference.registry import Array, Call, reference

MODES = ("nearest", "linear", "cubic")
COORDINATES = (
    "half_pixel", "half_pixel_symmetric", "pytorch_half_pixel", "align_corners", "asymmetric",
    "tf_crop_and_resize",
)  # fmt: skip
NEAREST = ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil")


POSITION_DECIMALS = 5
"""Decimals of a position that float32 scales determine, on axes of up to some hundred values."""


def choice(attrs: Mapping[str, Any], key: str, allowed: Sequence[str]) -> str:
    """Attribute `key`, the first of `allowed` when it is not given. Raises UnsupportedError."""
    value = str(attrs.get(key) or allowed[0])
    if value not in allowed:
        raise UnsupportedError(f"expected {key} one of {tuple(allowed)}, found {value!r}")
    return value


def resized(
    shape: Sequence[int], attrs: Mapping[str, Any], scales: Array | None, sizes: Array | None
) -> tuple[list[int], list[float]]:
    """(output shape, scale of each axis) of a Resize. Source: ONNX Resize-19, inputs scales and sizes.

    Raises UnsupportedError unless exactly one of scales and sizes is given, of the right length, positive.
    """
    axes = [int(a) % len(shape) for a in attrs.get("axes") or range(len(shape))]
    given = [v for v in (scales, sizes) if v is not None and v.size]
    if len(given) != 1 or given[0].shape != (len(axes),) or not np.all(given[0] > 0):
        found = [None if v is None else v.tolist() for v in (scales, sizes)]
        raise UnsupportedError(f"expected {len(axes)} positive scales or sizes, found scales, sizes = {found}")
    out, factors = list(shape), [1.0] * len(shape)
    if given[0] is scales:
        for axis, scale in zip(axes, scales.astype(np.float32), strict=True):
            out[axis], factors[axis] = int(np.floor(scale * np.float32(shape[axis]))), float(scale)
        return out, factors
    want = [int(v) for v in given[0]]
    policy = choice(attrs, "keep_aspect_ratio_policy", ("stretch", "not_larger", "not_smaller"))
    for axis, size in zip(axes, want, strict=True):
        out[axis], factors[axis] = size, size / max(shape[axis], 1)
    if policy != "stretch":
        ratio = (min if policy == "not_larger" else max)(factors[axis] for axis in axes)
        for axis in axes:
            out[axis], factors[axis] = int(np.floor(ratio * shape[axis] + 0.5)), ratio
    return out, factors


def source_positions(kind: str, size: int, out: int, scale: float, roi: tuple[float, float]) -> Array:
    """Where each of `out` positions lies on an axis of `size`, float64. Source: ONNX Resize-19."""
    i = np.arange(out, dtype=np.float64)
    if kind == "align_corners":
        return i * (size - 1) / (out - 1) if out > 1 else np.zeros(out)
    if kind == "asymmetric":
        return i / scale
    if kind == "tf_crop_and_resize":
        step = (roi[1] - roi[0]) * (size - 1) / (out - 1) if out > 1 else 0.0
        return roi[0] * (size - 1) + i * step if out > 1 else np.full(out, 0.5 * sum(roi) * (size - 1))
    if kind == "pytorch_half_pixel" and out == 1:
        return np.zeros(out)
    x = (i + 0.5) / scale - 0.5
    if kind == "half_pixel_symmetric":
        # `out` was rounded down from scale * size: keep the centre of the image where it was.
        x += size / 2 * (1 - out / (scale * size))
    return x


def nearest_index(kind: str, x: Array) -> Array:
    """Index of the sample nearest to each position; `kind` is the ONNX attribute nearest_mode.

    A scale of 2.3 is stored as 2.29999995: positions are rounded first, so that what is a half in real numbers
    is one here.
    """
    x = np.round(x, POSITION_DECIMALS)
    if kind == "floor":
        return np.floor(x)
    if kind == "ceil":
        return np.ceil(x)
    return np.ceil(x - 0.5) if kind == "round_prefer_floor" else np.floor(x + 0.5)


def cubic_weight(t: Array, a: float) -> Array:
    """Keys 1981, equation 4, at distance t >= 0 with coefficient a."""
    near = ((a + 2) * t - (a + 3)) * t * t + 1
    far = ((a * t - 5 * a) * t + 8 * a) * t - 4 * a
    return np.where(t <= 1, near, np.where(t < 2, far, 0.0))


def taps_of(call: Call, x: Array, size: int, scale: float) -> tuple[Array, Array]:
    """(indices clamped to the axis, weights), both [out, taps], that interpolate at positions x [out]."""
    mode = choice(call.attrs, "mode", MODES)
    if mode == "nearest":
        index = nearest_index(choice(call.attrs, "nearest_mode", NEAREST), x)[:, None]
        return np.clip(index, 0, size - 1).astype(np.int64), np.ones(index.shape)
    # Antialiasing widens the filter by 1 / scale when shrinking.
    stretch = min(scale, 1.0) if call.attr_int("antialias", 0) else 1.0
    reach = int(np.ceil((1 if mode == "linear" else 2) / stretch))
    index = np.floor(x)[:, None] + np.arange(1 - reach, reach + 1)
    distance = np.abs(index - x[:, None]) * stretch
    weights = (
        np.maximum(0.0, 1 - distance)
        if mode == "linear"
        else cubic_weight(distance, call.attr_float("cubic_coeff_a", -0.75))
    )
    if call.attr_int("exclude_outside", 0):
        weights = np.where((index < 0) | (index >= size), 0, weights)
    weights = weights / weights.sum(axis=1, keepdims=True)
    return np.clip(index, 0, size - 1).astype(np.int64), weights


@reference("Resize")
def resize(
    call: Call, x: Array, roi: Array | None = None, scales: Array | None = None, sizes: Array | None = None
) -> Array:
    """x of any rank, resized along `axes` (all). dtype of x. Source: ONNX Resize-19."""
    kind = choice(call.attrs, "coordinate_transformation_mode", COORDINATES)
    out, factors = resized(x.shape, call.attrs, scales, sizes)
    axes = [a % x.ndim for a in call.attr_ints("axes", range(x.ndim)) or range(x.ndim)]
    y = x if call.attr_str("mode", "nearest") == "nearest" else widened(x)
    outside = np.zeros(out, bool)
    for i, axis in enumerate(axes):
        size = x.shape[axis]
        corners = (0.0, 1.0) if roi is None or not roi.size else (float(roi[i]), float(roi[i + len(axes)]))
        crop = kind == "tf_crop_and_resize"
        if out[axis] == size and factors[axis] == 1 and not crop:
            continue
        at = source_positions(kind, size, out[axis], factors[axis], corners)
        index, weights = taps_of(call, at, size, factors[axis])
        aligned = (-1, *(1,) * (x.ndim - 1 - axis))
        parts = (np.take(y, index[:, t], axis) * weights[:, t].astype(y.dtype).reshape(aligned)
                 for t in range(index.shape[1]))  # fmt: skip
        y = sum(parts, start=np.zeros((), y.dtype))
        if crop:
            outside |= ((at < 0) | (at > size - 1)).reshape(aligned)
    if outside.any():
        y = np.where(outside, np.asarray(call.attr_float("extrapolation_value", 0.0), y.dtype), y)
    return y.astype(x.dtype)
