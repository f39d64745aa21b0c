"""Activations in their layouts, by NumPy: what kernels read and write, and back.

The kernels that convert between layouts are tested against these.
"""

from __future__ import annotations

import numpy as np

from edgert.graph.ir import TensorType
from edgert.kernels_cpu.levels import Level
from edgert.plan.lowering.api import layout_nbytes, plane_pixels

PADDING = 0xA7


def _planes(array: np.ndarray) -> np.ndarray:
    """[N, C, pixels]"""
    return array.reshape(*array.shape[:2], int(np.prod(array.shape[2:], dtype=np.int64)))


def to_layout(array: np.ndarray, layout: str, level: Level) -> np.ndarray:
    """The bytes of `array` in `layout`, with garbage in all padding."""
    if layout == "row":
        return np.ascontiguousarray(array)
    planes = _planes(array)
    n, c, pixels = planes.shape
    padded = plane_pixels(pixels)
    if layout == "kp":
        out = np.full(n * c * padded * 4, PADDING, np.uint8).view(np.float32).reshape(n, c, padded)
        out[:, :, :pixels] = planes
        return out
    out = np.full((n, -(-c // 4) * 4, padded), PADDING, np.uint8)
    out[:, :c, :pixels] = planes ^ np.uint8(128 if level.act_signed else 0)
    return np.ascontiguousarray(out.reshape(n, -1, 4, padded).transpose(0, 1, 3, 2))


def from_layout(raw: np.ndarray, kind: TensorType, layout: str, level: Level) -> np.ndarray:
    """The tensor whose bytes in `layout` are `raw` (uint8 [layout_nbytes])."""
    shape = kind.static_shape
    raw = raw[: layout_nbytes(kind, layout)]
    if layout == "row":
        return raw.view(kind.np_dtype).reshape(shape)
    n, c, pixels = shape[0], shape[1], int(np.prod(shape[2:], dtype=np.int64))
    padded = plane_pixels(pixels)
    if layout == "kp":
        return raw.view(np.float32).reshape(n, c, padded)[:, :, :pixels].reshape(shape)
    planes = raw.reshape(n, -1, padded, 4).transpose(0, 1, 3, 2).reshape(n, -1, padded)[:, :c, :pixels]
    return (planes ^ np.uint8(128 if level.act_signed else 0)).reshape(shape)
