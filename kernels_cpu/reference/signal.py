"""Signals: Fourier transforms of whole axes and of frames, window functions, and the weights of a mel spectrogram.
A complex number is two values on the last axis, real and imaginary."""

from __future__ import annotations

import numpy as np

from edgert.errors import UnsupportedError
from edgert.kernels_cpu.reference.activation import widened
from edgert.kernels_cpu.reference.registry import Array, Call, reference

HAMMING = 25 / 46
"""Alpha of the Hamming window, as its ONNX function body has it."""


def complex_values(x: Array) -> Array:
    """x [..., 1] or [..., 2] as complex numbers [...]."""
    wide = widened(x)
    return wide[..., 0] + 1j * wide[..., 1] if x.shape[-1] == 2 else wide[..., 0]


def in_pairs(y: Array) -> Array:
    """Complex numbers [...] as [..., 2]."""
    return np.stack([np.real(y), np.imag(y)], axis=-1)


@reference("DFT")
def dft(call: Call, x: Array, length: Array | None = None, axis: Array | None = None) -> Array:
    """x [..., 1 or 2] transformed along `axis` (-2), cut or filled with zeros to `length`: [..., 2]. `onesided` keeps
    the first length // 2 + 1 frequencies; `inverse` and `onesided` make real values [..., 1] of such. Source: ONNX
    DFT-20."""
    at = (-2 if axis is None else int(axis.item())) % x.ndim
    inverse, onesided = call.attr_int("inverse", 0), call.attr_int("onesided", 0)
    signal = complex_values(x)
    if inverse and onesided:
        count = 2 * (x.shape[at] - 1) if length is None else int(length.item())
        return np.asarray(np.fft.irfft(signal, count, at)[..., None], x.dtype)
    count = x.shape[at] if length is None else int(length.item())
    y = np.fft.ifft(signal, count, at) if inverse else np.fft.fft(signal, count, at)
    if onesided:
        y = np.take(y, np.arange(count // 2 + 1), axis=at)
    return in_pairs(y).astype(x.dtype)


def frame_length(samples: int, window: Array | None, length: Array | None) -> int:
    """Samples of an STFT frame: as asked for, else those of the window, else all."""
    if length is not None:
        return int(length.item())
    return samples if window is None else len(window)


@reference("STFT")
def stft(call: Call, x: Array, hop: Array, window: Array | None = None, length: Array | None = None) -> Array:
    """x [B, samples, 1 or 2]: transforms [B, frames, frequencies, 2] of frames that begin every `hop` samples, each
    times `window`; with `onesided` the first length // 2 + 1 frequencies. Source: ONNX STFT-17."""
    signal, size, step = complex_values(x), frame_length(x.shape[1], window, length), int(hop.item())
    frames = np.lib.stride_tricks.sliding_window_view(signal, size, axis=1)[:, ::step]
    y = np.fft.fft(frames if window is None else frames * widened(window), axis=-1)
    return in_pairs(y[..., : size // 2 + 1] if call.attr_int("onesided", 1) else y).astype(x.dtype)


@reference("HannWindow", "HammingWindow", "BlackmanWindow")
def window_function(call: Call, size: Array) -> Array:
    """[size] values of a raised cosine over a period of `size` samples, or of size - 1 unless `periodic`. Source:
    ONNX HannWindow-17, HammingWindow-17, BlackmanWindow-17."""
    count = int(size.item())
    angle = np.arange(count) * (2 * np.pi / max(count if call.attr_int("periodic", 1) else count - 1, 1))
    if call.op == "BlackmanWindow":
        y = 0.42 - 0.5 * np.cos(angle) + 0.08 * np.cos(2 * angle)
    else:
        alpha = HAMMING if call.op == "HammingWindow" else 0.5
        y = alpha - (1 - alpha) * np.cos(angle)
    return np.asarray(y, call.dtype_out[0])


@reference("MelWeightMatrix")
def mel_weight_matrix(call: Call, bins: Array, length: Array, rate: Array, lowest: Array, highest: Array) -> Array:
    """[length // 2 + 1, bins]: triangles of peak 1 that cover `lowest` to `highest` Hz, evenly on the mel scale
    2595 log10(1 + f / 700). Source: ONNX MelWeightMatrix-17, whose step divides by bins + 2."""
    count, points = int(bins.item()), int(length.item())
    low, high = (2595 * np.log10(1 + float(f.item()) / 700) for f in (lowest, highest))
    mel = low + np.arange(count + 2) * ((high - low) / (count + 2))
    corners = ((points + 1) * (700 * (10 ** (mel / 2595) - 1)) // int(rate.item())).astype(np.int64)
    y = np.zeros((points // 2 + 1, count))
    if count and not 0 <= corners[0] <= corners[-1] <= len(y):
        raise UnsupportedError(f"expected frequencies within 0 and half the sample rate, found bins {list(corners)}")
    for i in range(count):
        left, centre, right = corners[i : i + 3]
        rising, falling = np.arange(left, centre + 1), np.arange(centre, right)
        y[rising, i] = (rising - left) / (centre - left) if centre > left else 1
        y[falling, i] = (right - falling) / max(right - centre, 1)
    return y.astype(call.dtype_out[0])
