"""Operators of MediaPipe's models that neither ONNX nor TensorFlow Lite has: crops by landmarks, pooling with places.
Images are [1, H, W, C], as there. Detectors' boxes are in `detection.py`."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from edgert.kernels_cpu.reference.registry import Array, Call, reference
from edgert.kernels_cpu.reference.window import Window, window

Matrix = npt.NDArray[np.float32]


def turned(angle: np.float32) -> Matrix:
    """The matrix that turns a plane by `angle` radians, [2, 2]."""
    return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]], np.float32)


@reference("Landmarks2TransformMatrix")
def landmarks_to_transform_matrix(call: Call, landmarks: Array) -> Array:
    """landmarks [1, n, 3] to the matrix [1, 4, 4] that takes a place in a crop, output_width x output_height, to its
    place in the image: the box of landmarks `subset_idxs`, upright when the line from landmark `left_rotation_idx` to
    `right_rotation_idx` has the direction `target_rotation_radians`, larger by scale_x and scale_y.
    Source: MediaPipe, landmarks_to_transform_matrix.cc, version 2."""
    points = landmarks[0, :, :2].astype(np.float32)
    dx, dy = points[call.attr_int("right_rotation_idx", 0)] - points[call.attr_int("left_rotation_idx", 0)]
    angle = np.float32(call.attr_float("target_rotation_radians", 0.0)) - np.arctan2(dy, dx)
    upright = points[call.attr_ints("subset_idxs", [])] @ turned(angle).T
    low, high = upright.min(axis=0), upright.max(axis=0)
    size = np.array([call.attr_int("output_width", 1), call.attr_int("output_height", 1)], np.float32)
    scale = np.array([call.attr_float("scale_x", 1.0), call.attr_float("scale_y", 1.0)], np.float32)
    linear = turned(-angle) * (scale * (high - low) / size)
    matrix = np.eye(4, dtype=np.float32)
    matrix[:2, :2] = linear
    matrix[:2, 3] = turned(-angle) @ ((low + high) / 2) - linear @ (size / 2)
    return matrix[None]


@reference("TransformTensorBilinear")
def transform_tensor_bilinear(call: Call, x: Array, matrix: Array) -> Array:
    """x [1, H, W, C] and matrix [1, 4, 4] to [1, output_height, output_width, C]: the value at the place to which the
    matrix takes the centre of each pixel, interpolated; 0 outside. Source: MediaPipe, transform_tensor_bilinear.cc,
    version 2."""
    height, width = x.shape[1:3]
    rows, columns = call.attr_int("output_height", 1), call.attr_int("output_width", 1)
    linear, shift = matrix[0, :2, :2], matrix[0, :2, 3]
    shift = shift + linear.sum(axis=1) * np.float32(0.5) - np.float32(0.5)
    grid = np.stack(np.meshgrid(np.arange(columns), np.arange(rows)), axis=-1).astype(np.float32)
    at = grid @ linear.T + shift
    inside = np.all((at >= 0) & (at <= np.array([width - 1, height - 1], np.float32)), axis=-1)
    corner = np.floor(np.where(inside[..., None], at, 0)).astype(np.int64)
    right, lower = np.moveaxis(np.where(inside[..., None], at - corner, 0)[..., None], 2, 0)
    left, top = corner[..., 0], corner[..., 1]
    beside, below = np.minimum(left + 1, width - 1), np.minimum(top + 1, height - 1)
    upper_row = (1 - right) * x[0, top, left] + right * x[0, top, beside]
    lower_row = (1 - right) * x[0, below, left] + right * x[0, below, beside]
    y = (1 - lower) * upper_row + lower * lower_row
    return np.where(inside[..., None], y, 0).astype(x.dtype)[None]


FRACTION = np.float32(0.1)
"""What MediaPipe adds to places that it stores as floats, so that they survive being rounded down."""


def pool_places(win: Window) -> list[tuple[slice, ...]]:
    """For each place in the window, row-major: the part of the padded image [B, H, W, C] that it meets."""
    return [(slice(None), *region, slice(None)) for region in win.taps()]


@reference("MaxPoolingWithArgmax2D")
def max_pooling_with_argmax(call: Call, x: Array) -> tuple[Array, Array]:
    """x [B, H, W, C] to the largest value of each window and its place in the window, row-major, as a float; of equal
    values the first. Source: MediaPipe, max_pool_argmax.cc."""
    win = window(x.shape[1:3], call.attr_ints("kernel_shape", []), call.attrs)
    pads = [(0, 0), *zip(win.before, win.after, strict=True), (0, 0)]
    values = np.stack([np.pad(x, pads, constant_values=-np.inf)[region] for region in pool_places(win)])
    return values.max(axis=0), values.argmax(axis=0).astype(np.float32) + FRACTION


@reference("MaxUnpooling2D")
def max_unpooling(call: Call, x: Array, places: Array) -> Array:
    """x [B, h, w, C] and places as of MaxPoolingWithArgmax2D to zeros [B, h * kh, w * kw, C] with the values of x where
    they came from. Source: MediaPipe, max_unpooling.cc."""
    kernel = call.attr_ints("kernel_shape", [])
    size = [n * k for n, k in zip(x.shape[1:3], kernel, strict=True)]
    strides = call.attr_ints("strides", kernel)
    before = [max((n - 1) * s + k - whole, 0) // 2
              for n, s, k, whole in zip(x.shape[1:3], strides, kernel, size, strict=True)]  # fmt: skip
    batch, row, column, channel = np.ix_(*(np.arange(n) for n in x.shape))
    inside = places.astype(np.int64)
    y = row * strides[0] - before[0] + inside // kernel[1]
    z = column * strides[1] - before[1] + inside % kernel[1]
    good = (y >= 0) & (y < size[0]) & (z >= 0) & (z < size[1])
    out = np.zeros((x.shape[0], *size, x.shape[3]), x.dtype)
    batches, channels = np.broadcast_to(batch, x.shape), np.broadcast_to(channel, x.shape)
    out[batches[good], y[good], z[good], channels[good]] = x[good]
    return out
