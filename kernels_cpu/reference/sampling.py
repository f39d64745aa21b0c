"""Sampling at positions that are computed: GridSample, AffineGrid and DeformConv, on any number of spatial axes.
Pooling over regions is in `regions.py`, resizing by fixed scales in `resize.py`."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np

from edgert.kernels_cpu.reference.activation import widened
from edgert.kernels_cpu.reference.conv import per_channel
from edgert.kernels_cpu.reference.registry import Array, Call, reference
from edgert.kernels_cpu.reference.resize import choice, cubic_weight
from edgert.kernels_cpu.reference.window import window

MODES = ("linear", "nearest", "cubic")
PADDINGS = ("zeros", "border", "reflection")
CUBIC_COEFFICIENT = -0.75
"""Keys 1981, as PyTorch and ONNX GridSample-20 choose it."""


def reflected(x: Array, low: float, high: float) -> Array:
    """x mirrored at `low` and `high` until it lies between them."""
    span = high - low
    if span <= 0:
        return np.full_like(x, low)
    t = np.mod(x - low, 2 * span)
    return low + np.minimum(t, 2 * span - t)


def sampled(x: Array, at: Sequence[Array], mode: str, padding: str, align_corners: bool) -> Array:
    """Values of x [B, C, *S] at positions `at`, one array [B, *P] per spatial axis, 0 being the first value's
    centre. Returns [B, C, *P] in the dtype of x. Source: ONNX GridSample-20."""
    batch, channels, spatial = x.shape[0], x.shape[1], x.shape[2:]
    taps: list[list[tuple[Array, Array]]] = []
    for place, size in zip(at, spatial, strict=True):
        low, high = (0.0, size - 1.0) if align_corners else (-0.5, size - 0.5)
        place = np.rint(place) if mode == "nearest" else place
        outside = (place < low) | (place > high)
        if padding == "border" and mode != "cubic":  # cubic repeats the border under the taps instead
            place = np.where(outside, np.clip(place, 0, size - 1), place)
        elif padding == "reflection":
            place = np.where(outside, reflected(place, low, high), place)
        first, reach = np.floor(place), {"nearest": range(1), "linear": range(2), "cubic": range(-1, 3)}[mode]
        axis_taps = []
        for step in reach:
            index = first + step
            distance = np.abs(place - index)
            weight = np.ones_like(place)
            if mode != "nearest":
                weight = 1 - distance if mode == "linear" else cubic_weight(distance, CUBIC_COEFFICIENT)
            if padding == "zeros":
                weight = np.where((index < 0) | (index >= size), 0, weight)
            elif padding == "reflection":
                index = reflected(index, low, high)
            axis_taps.append((np.clip(index, 0, size - 1).astype(np.int64), weight.astype(x.dtype)))
        taps.append(axis_taps)
    flat = x.reshape(batch, channels, -1)
    y = np.zeros((batch, channels, at[0][0].size), x.dtype)
    for chosen in product(*taps):
        index, weight = np.zeros_like(chosen[0][0]), np.ones((), x.dtype)
        for (position, part), size in zip(chosen, spatial, strict=True):
            index, weight = index * size + position, weight * part
        values = np.take_along_axis(flat, np.clip(index, 0, flat.shape[2] - 1).reshape(batch, 1, -1), axis=2)
        y += values * weight.reshape(batch, 1, -1)
    return y.reshape(batch, channels, *at[0].shape[1:])


@reference("GridSample")
def grid_sample(call: Call, x: Array, grid: Array) -> Array:
    """x [B, C, *S] at grid [B, *P, r]: coordinates from -1 to 1, the last axis of x first. Source: ONNX
    GridSample-20."""
    align = bool(call.attr_int("align_corners", 0))
    places, at = widened(grid), []
    for axis, size in enumerate(x.shape[2:]):
        n = places[..., x.ndim - 3 - axis]
        at.append((n + 1) / 2 * (size - 1) if align else ((n + 1) * size - 1) / 2)
    mode, padding = choice(call.attrs, "mode", MODES), choice(call.attrs, "padding_mode", PADDINGS)
    return sampled(widened(x), at, mode, padding, align).astype(x.dtype)


@reference("AffineGrid")
def affine_grid(call: Call, theta: Array, size: Array) -> Array:
    """theta [B, r, r + 1] times the homogeneous coordinates, -1 to 1, of a grid of `size` [B, C, *S]; [B, *S, r],
    the last axis first. Source: ONNX AffineGrid-20."""
    axes = []
    for n in (int(n) for n in size[2:]):
        if call.attr_int("align_corners", 0):
            axes.append(np.linspace(-1, 1, n) if n > 1 else np.full(1, -1.0))
        else:
            axes.append((np.arange(n) * 2 + 1) / n - 1)
    points = np.stack([*np.meshgrid(*axes, indexing="ij")[::-1], np.ones([len(a) for a in axes])], axis=-1)
    wide = widened(theta)
    grid = points.reshape(-1, points.shape[-1]).astype(wide.dtype) @ wide.swapaxes(1, 2)
    return grid.reshape(len(theta), *points.shape[:-1], -1).astype(theta.dtype)


@reference("DeformConv")
def deform_conv(
    call: Call, x: Array, w: Array, offset: Array, bias: Array | None = None, mask: Array | None = None
) -> Array:
    """Conv whose taps are moved by `offset` and weighted by `mask`, linear between values and 0 outside.

    Shapes are those of the shape function; offsets are in order of spatial axes. Source: ONNX DeformConv-22;
    Dai et al. 2017; Zhu et al. 2019 (mask).
    """
    batch, channels, spatial = x.shape[0], x.shape[1], x.shape[2:]
    rank, group, shared = len(spatial), call.attr_int("group", 1), call.attr_int("offset_group", 1)
    win = window(spatial, w.shape[2:], call.attrs)
    taps = int(np.prod(win.kernel))
    moved = widened(offset).reshape(batch * shared, taps, rank, *win.out)
    tap_grid = np.indices(win.kernel).reshape(rank, taps)
    at = []
    for axis in range(rank):
        starts = np.arange(win.out[axis]) * win.strides[axis] - win.before[axis]
        base = tap_grid[axis].reshape(-1, *(1,) * rank) * win.dilations[axis]
        at.append(moved[:, :, axis] + base + starts.reshape(-1, *(1,) * (rank - 1 - axis)))
    values = sampled(widened(x).reshape(batch * shared, channels // shared, *spatial), at, "linear", "zeros", True)
    if mask is not None:
        values = values * widened(mask).reshape(batch * shared, 1, taps, *win.out)
    columns = values.reshape(batch, group, channels // group * taps, -1)
    y = widened(w).reshape(group, w.shape[0] // group, -1) @ columns
    y = y.reshape(batch, w.shape[0], *win.out)
    return (y if bias is None else y + per_channel(bias, x.ndim)).astype(x.dtype)
