"""Max, average and Lp pooling, local and global.
Quantized average pooling is in `quantized.py` and uses `window_sums` from here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from edgert.errors import InputError, UnsupportedError
from edgert.kernels_cpu.reference.registry import Array, Call, reference
from edgert.kernels_cpu.reference.window import Window, sized, window


def lowest(dtype: np.dtype[Any]) -> float | int:
    """The value that never wins a maximum."""
    return -np.inf if dtype.kind == "f" else int(np.iinfo(dtype).min)


def padded(x: Array, win: Window, value: float | int) -> Array:
    """x [B, C, *S] with the pads of `win`, and what ceil_mode reads beyond them, filled with `value`."""
    overhang = win.overhang(x.shape[2:])
    pads = [(b, a + h) for b, a, h in zip(win.before, win.after, overhang, strict=True)]
    return np.pad(x, [(0, 0), (0, 0), *pads], constant_values=value)


@reference("MaxPool")
def max_pool(call: Call, x: Array) -> Array | tuple[Array, Array]:
    """x [B, C, *S]. The second output, if wanted, has flat int64 indices into x; the first maximum wins.

    storage_order 1 counts the indices with the last two spatial axes swapped. Source: ONNX MaxPool-22.
    """
    win = window(x.shape[2:], call.attr_ints("kernel_shape", []), call.attrs)
    taps = [(slice(None), slice(None), *region) for region in win.taps()]
    values = padded(x, win, lowest(x.dtype))
    best = values[taps[0]].copy()
    for region in taps[1:]:
        np.maximum(best, values[region], out=best)
    if not call.wants(1):
        return best
    order: Literal["C", "F"] = "F" if call.attr_int("storage_order", 0) else "C"
    planes = np.arange(x.shape[0] * x.shape[1]).reshape(*x.shape[:2], *(1,) * (x.ndim - 2))
    size = int(np.prod(x.shape[2:]))
    numbers = padded(planes * size + np.arange(size).reshape(x.shape[2:], order=order), win, -1)
    where = np.full(best.shape, -1, np.int64)
    for region in taps:
        found = (where < 0) & (values[region] == best)
        where = np.where(found, numbers[region], where)
    return best, where


def unpooled(shape: tuple[int, ...], attrs: Mapping[str, Any]) -> tuple[int, ...]:
    """What MaxPool pooled to `shape` [B, C, *S]: (n - 1) * stride + kernel - pads. Raises UnsupportedError."""
    rank = len(shape) - 2
    kernel = sized(attrs, "kernel_shape", rank, 0, least=1)
    strides, pads = sized(attrs, "strides", rank, 1, least=1), sized(attrs, "pads", 2 * rank, 0, least=0)
    axes = zip(shape[2:], strides, kernel, pads[:rank], pads[rank:], strict=True)
    covered = (*shape[:2], *((n - 1) * s + k - b - a for n, s, k, b, a in axes))
    if rank < 1 or min(covered) < 0:
        raise UnsupportedError(f"expected sizes >= 0 before pooling, found {covered} for {shape}")
    return covered


@reference("MaxUnpool")
def max_unpool(call: Call, x: Array, indices: Array, shape: Array | None = None) -> Array:
    """x at its flat places `indices` in what was pooled, 0 elsewhere; then 0 up to `shape`. Source: ONNX
    MaxUnpool-22."""
    covered = unpooled(x.shape, call.attrs)
    total = int(np.prod(covered))
    if indices.size and (indices.min() < 0 or indices.max() >= total):
        raise InputError(f"MaxUnpool: expected indices in [0, {total}), found {indices.min()} to {indices.max()}")
    y = np.zeros(total, x.dtype)
    y[indices.ravel()] = x.ravel()
    ends = covered if shape is None else shape.tolist()
    return np.pad(y.reshape(covered), [(0, int(b) - a) for a, b in zip(covered, ends, strict=True)])


def window_counts(spatial: Sequence[int], win: Window, *, count_pad: bool) -> Array:
    """How many values of an image of sizes `spatial` each output averages, int64 [*out], pads included if `count_pad`;
    what ceil_mode overhangs is not counted. An axis knows nothing of the others: counts are products."""
    counts: Array = np.ones((), np.int64)
    axes = zip(spatial, win.kernel, win.strides, win.dilations, win.before, win.after, win.out, strict=True)
    for size, kernel, stride, dilation, before, after, out in axes:
        low, high = (-before, size + after) if count_pad else (0, size)
        start = np.arange(out, dtype=np.int64) * stride - before
        first, last = (np.clip(-((start - end) // dilation), 0, kernel) for end in (low, high))
        counts = counts[..., None] * np.maximum(last - first, 0)
    return counts


def window_sums(x: Array, win: Window, *, count_pad: bool) -> tuple[Array, Array]:
    """(sums [B, C, *out] in the dtype of x, counts [1, 1, *out]); what ceil_mode overhangs is not counted."""
    values = padded(x, win, 0)
    sums = np.zeros((*x.shape[:2], *win.out), x.dtype)
    for region in win.taps():
        sums += values[:, :, *region]
    return sums, window_counts(x.shape[2:], win, count_pad=count_pad)[None, None]


@reference("AveragePool")
def average_pool(call: Call, x: Array) -> Array:
    """x [B, C, *S]: mean over the window, pads counted if count_include_pad. Source: ONNX AveragePool-22."""
    win = window(x.shape[2:], call.attr_ints("kernel_shape", []), call.attrs)
    wide = np.float32 if x.dtype == np.float16 else x.dtype
    sums, counts = window_sums(x.astype(wide), win, count_pad=bool(call.attr_int("count_include_pad", 0)))
    return (sums / np.maximum(counts, 1).astype(wide)).astype(x.dtype)


@reference("LpPool")
def lp_pool(call: Call, x: Array) -> Array:
    """x [B, C, *S]: (sum |x|**p) ** (1/p) over the window. Source: ONNX LpPool-22."""
    win = window(x.shape[2:], call.attr_ints("kernel_shape", []), call.attrs)
    p = call.attr_int("p", 2)
    sums, _ = window_sums(np.abs(x) ** p, win, count_pad=False)
    return (sums ** np.asarray(1 / p, x.dtype)).astype(x.dtype)


def _spatial(x: Array) -> tuple[int, ...]:
    return tuple(range(2, x.ndim))


@reference("GlobalAveragePool")
def global_average_pool(call: Call, x: Array) -> Array:
    """x [B, C, *S] -> [B, C, 1, ...]. Source: ONNX GlobalAveragePool."""
    wide = np.float32 if x.dtype == np.float16 else x.dtype
    return np.mean(x, axis=_spatial(x), keepdims=True, dtype=wide).astype(x.dtype)


@reference("GlobalMaxPool")
def global_max_pool(call: Call, x: Array) -> Array:
    """x [B, C, *S] -> [B, C, 1, ...]. Source: ONNX GlobalMaxPool."""
    return np.max(x, axis=_spatial(x), keepdims=True, initial=lowest(x.dtype))


@reference("GlobalLpPool")
def global_lp_pool(call: Call, x: Array) -> Array:
    """x [B, C, *S] -> [B, C, 1, ...]: (sum |x|**p) ** (1/p). Source: ONNX GlobalLpPool."""
    p = call.attr_int("p", 2)
    sums = np.sum(np.abs(x) ** p, axis=_spatial(x), keepdims=True)
    return (sums ** np.asarray(1 / p, x.dtype)).astype(x.dtype)
