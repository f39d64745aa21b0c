"""Conv, ConvTranspose and ConvInteger on any number of spatial axes, as one matrix product per kernel tap.
Quantized convolution is in `quantized.py` and uses `correlate` from here."""

from __future__ import annotations

import numpy as np

from edgert.kernels_cpu.reference.fused import activate, split_residual, split_slope
from edgert.kernels_cpu.reference.registry import Array, Call, reference
from edgert.kernels_cpu.reference.window import Window, transposed_window, window


def per_channel(values: Array, rank: int) -> Array:
    """Values [C] shaped to broadcast along axis 1 of a tensor of `rank` axes."""
    return values.reshape(-1, *(1,) * (rank - 2))


def correlate(x: Array, w: Array, win: Window, group: int) -> Array:
    """sum over c, tap of x[b, c, position + tap] * w[n, c, tap], zero padded.

    x: [B, C, *spatial], w: [N, C / group, *kernel] of one dtype. Returns [B, N, *win.out] of that dtype.
    """
    batch, channels = x.shape[:2]
    overhang = win.overhang(x.shape[2:])
    pads = [(b, a + h) for b, a, h in zip(win.before, win.after, overhang, strict=True)]
    x = np.pad(x, [(0, 0), (0, 0), *pads])
    w = w.reshape(group, w.shape[0] // group, w.shape[1], -1)
    positions = int(np.prod(win.out))
    y = np.zeros((batch, group, w.shape[1], positions), x.dtype)
    for tap, region in enumerate(win.taps()):
        patch = x[:, :, *region]
        y += w[..., tap] @ patch.reshape(batch, group, channels // group, positions)
    return y.reshape(batch, group * w.shape[1], *win.out)


def correlate_exact(x: Array, w: Array, win: Window, group: int) -> Array:
    """`correlate` of integers, exact. Returns int64: float64 holds every sum of products below 2**53."""
    return correlate(x.astype(np.float64), w.astype(np.float64), win, group).astype(np.int64)


@reference("Conv")
def conv(call: Call, x: Array, w: Array, *rest: Array | None) -> Array:
    """x [B, C, *S], w [N, C / group, *K], bias [N], residual [B, N, *out], slope [N]. Source: ONNX Conv-22."""
    rest, slope = split_slope(call, rest)
    bias, residual = split_residual(call, rest)
    win = window(x.shape[2:], w.shape[2:], call.attrs)
    wide = np.float32 if x.dtype == np.float16 else x.dtype
    y = correlate(x.astype(wide), w.astype(wide), win, call.attr_int("group", 1))
    if bias is not None:
        y = y + per_channel(bias, x.ndim)
    if residual is not None:
        y = y + residual
    if slope is not None:
        y = np.where(y < 0, y * per_channel(slope, x.ndim), y)
    return activate(call, y.astype(x.dtype))


@reference("ConvTranspose")
def conv_transpose(call: Call, x: Array, w: Array, bias: Array | None = None) -> Array:
    """x [B, C, *S], w [C, N / group, *K]: each input value adds its kernel to the output.

    Source: ONNX ConvTranspose-22. The full result is made first, then cropped by the pads.
    """
    group = call.attr_int("group", 1)
    batch, channels, spatial = x.shape[0], x.shape[1], x.shape[2:]
    win = transposed_window(spatial, w.shape[2:], call.attrs)
    sizes = zip(spatial, win.strides, win.extent, win.before, win.out, strict=True)
    full = [max((n - 1) * s + e, b + o) for n, s, e, b, o in sizes]
    wide = np.float32 if x.dtype == np.float16 else x.dtype
    flat = x.astype(wide).reshape(batch, group, channels // group, -1)
    w = w.astype(wide).reshape(group, channels // group, w.shape[1], -1)
    y = np.zeros((batch, group * w.shape[2], *full), wide)
    # The taps of the scattered grid are those of a window with one position per input value.
    scatter = Window(win.kernel, win.strides, win.dilations, win.before, win.after, tuple(spatial))
    for tap, region in enumerate(scatter.taps()):
        part = w[..., tap].swapaxes(1, 2) @ flat
        y[:, :, *region] += part.reshape(batch, group * w.shape[2], *spatial)
    y = y[:, :, *(slice(b, b + o) for b, o in zip(win.before, win.out, strict=True))]
    if bias is not None:
        y = y + per_channel(bias, x.ndim)
    return activate(call, y.astype(x.dtype))


@reference("Col2Im")
def col2im(call: Call, x: Array, image: Array, block: Array) -> Array:
    """Columns x [B, C * prod(block), L], one per position of the block, added where they were taken from; [B, C,
    *image] in the dtype of x. Source: ONNX Col2Im-18."""
    spatial, kernel = [int(n) for n in image], [int(n) for n in block]
    win = window(spatial, kernel, call.attrs)
    columns = x.reshape(len(x), -1, int(np.prod(kernel)), *win.out)
    sizes = zip(spatial, win.before, win.after, strict=True)
    y = np.zeros((*columns.shape[:2], *(n + b + a for n, b, a in sizes)), x.dtype)
    for tap, region in enumerate(win.taps()):
        y[:, :, *region] += columns[:, :, tap]
    return y[:, :, *(slice(b, b + n) for b, n in zip(win.before, spatial, strict=True))]


@reference("ConvInteger")
def conv_integer(call: Call, x: Array, w: Array, x_zero: Array | None = None, w_zero: Array | None = None) -> Array:
    """8-bit x and w less their zero points, int32 sums; pads are the zero point. Source: ONNX ConvInteger."""
    win = window(x.shape[2:], w.shape[2:], call.attrs)
    wide_x, wide_w = x.astype(np.int64), w.astype(np.int64)
    if x_zero is not None:
        wide_x -= x_zero.astype(np.int64)
    if w_zero is not None:
        wide_w -= w_zero.astype(np.int64).reshape(-1, *(1,) * (w.ndim - 1))
    return correlate_exact(wide_x, wide_w, win, call.attr_int("group", 1)).astype(np.int32)
