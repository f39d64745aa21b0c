"""The micro front end: features of speech for small models, in fixed point, the same to the last bit everywhere.
Window, Fourier transform, mel filters, noise reduction, gain control, logarithm; the transform is `fixed_fft.py`.
Source: TensorFlow Lite, experimental/microfrontend/lib; PCAN: Wang et al. 2017, Trainable Frontend, section 2."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from edgert.audio.fixed_fft import real_fft
from edgert.errors import InputError

Features: TypeAlias = npt.NDArray[np.uint16]
_I64: TypeAlias = npt.NDArray[np.int64]

WINDOW_BITS = 12
FILTER_BITS = 12
NOISE_BITS = 14
SNR_BITS, GAIN_OUTPUT_BITS = 12, 6
WORD = (1 << 32) - 1
LOG_SEGMENTS_BITS, LOG_BITS = 7, 16
LN_2 = 45426
"""ln 2 in Q16."""


@dataclass(frozen=True)
class FrontendSettings:
    """Rates in Hz, times in ms; defaults are those of micro wake words (and of ESPHome's voice models).

    noise_*: a running estimate per channel, subtracted until `noise_floor` of the signal is left; even and odd channels
    follow at different speeds. pcan_*: gain by that estimate. log_shift: the output is 2**log_shift * ln(signal).
    """

    rate: int = 16000
    window_ms: int = 30
    step_ms: int = 10
    channels: int = 40
    lower_hz: float = 125.0
    upper_hz: float = 7500.0
    noise_reduction: bool = True
    noise_smoothing_bits: int = 10
    noise_even: float = 0.025
    noise_odd: float = 0.06
    noise_floor: float = 0.05
    pcan: bool = True
    pcan_strength: float = 0.95
    pcan_offset: float = 80.0
    pcan_gain_bits: int = 21
    log: bool = True
    log_shift: int = 6

    def check(self) -> None:
        """Raises InputError for settings that no sound can be heard with."""
        window, step = self.rate * self.window_ms // 1000, self.rate * self.step_ms // 1000
        if not (1 <= self.channels <= 1024 and 1 <= step <= window <= 1 << 15 and window >= 4):
            raise InputError(
                f"expected 1..1024 channels and windows of 4..{1 << 15} samples in steps of no more, found "
                f"{self.channels} channels, {window} samples and steps of {step}"
            )
        if not 0 <= self.lower_hz < self.upper_hz <= self.rate / 2:
            raise InputError(
                f"expected 0 <= lower < upper <= {self.rate / 2:g} Hz, found {self.lower_hz:g} and {self.upper_hz:g}"
            )
        fine = 0 <= self.noise_smoothing_bits <= 16 and 21 <= self.pcan_gain_bits <= 30 and 0 <= self.log_shift <= 15
        shares = (self.noise_even, self.noise_odd, self.noise_floor)
        if not fine or not all(0 <= share <= 1 for share in shares):
            raise InputError("expected 0..16 smoothing bits, 21..30 gain bits, log_shift 0..15 and shares in 0..1")


class MicroFrontend:
    """Samples in, features out, as they come: what was not enough for a window waits for more.

    process(int16 [n]) gives uint16 [frames, channels]: one frame per step once the first window is full. The noise
    estimate goes on from call to call; reset() begins anew.
    """

    def __init__(self, settings: FrontendSettings | None = None) -> None:
        self.settings = settings or FrontendSettings()
        self.settings.check()
        self.window = self.settings.rate * self.settings.window_ms // 1000
        self.step = self.settings.rate * self.settings.step_ms // 1000
        self._size = 1 << (self.window - 1).bit_length()
        self._shape = _window(self.window)
        self._filters = _filters(self.settings, self._size)
        # The filters' scale and that of a transform of this size do not cancel: so many bits are missing.
        self._correction = self._size.bit_length() - 1 - FILTER_BITS // 2
        self._gains = _gains(self.settings, self._correction)
        self.reset()

    def reset(self) -> None:
        """As if no sample had come yet."""
        self._waiting = np.zeros(0, np.int16)
        self._noise = np.zeros(self.settings.channels, np.int64)

    def process(self, samples: npt.NDArray[np.int16]) -> Features:
        """The features of all windows that are full now. Raises InputError for samples that are not int16 [n]."""
        samples = np.asarray(samples)
        if samples.dtype != np.int16 or samples.ndim != 1:
            raise InputError(f"expected samples int16 [n], found {samples.dtype} {list(samples.shape)}")
        self._waiting = np.concatenate([self._waiting, samples])
        frames = max(0, (len(self._waiting) - self.window) // self.step + 1)
        if not frames:
            return np.zeros((0, self.settings.channels), np.uint16)
        windows = np.lib.stride_tricks.sliding_window_view(self._waiting, self.window)[:: self.step]
        bands = self._bands(windows)
        self._waiting = self._waiting[frames * self.step :].copy()
        return np.stack([self._scaled(band) for band in bands])

    def _bands(self, windows: npt.NDArray[np.int16]) -> _I64:
        """int16 [frames, window] -> magnitude of each mel channel [frames, channels]."""
        shaped = ((windows.astype(np.int32) * self._shape) >> WINDOW_BITS).astype(np.int16)
        loudest = np.abs(shaped).max(1).astype(np.int64)
        shift = 15 - _bits(loudest)  # so that the transform has all 16 bits
        padded = np.zeros((len(shaped), self._size), np.int16)
        padded[:, : self.window] = (shaped.astype(np.int64) << shift[:, None]).astype(np.int16)
        real, imaginary = (part.astype(np.int64) for part in real_fft(padded))
        energy = (real * real + imaginary * imaginary).astype(np.int32).astype(np.int64)
        bands: _I64 = _root(energy @ self._filters.T) >> shift[:, None]
        return bands

    def _scaled(self, signal: _I64) -> Features:
        """Noise reduction, gain and logarithm of one frame; moves the noise estimate on."""
        settings = self.settings
        if settings.noise_reduction:
            signal = self._reduced(signal)
        if settings.pcan:
            signal = self._amplified(signal)
        if settings.log:
            signal = self._logarithm(signal)
        return np.minimum(signal, 0xFFFF).astype(np.uint16)

    def _reduced(self, signal: _I64) -> _I64:
        settings = self.settings
        bits = settings.noise_smoothing_bits
        speed = np.where(np.arange(len(signal)) % 2 == 0, _share(settings.noise_even), _share(settings.noise_odd))
        scaled = (signal << bits) & WORD
        self._noise = ((scaled * speed + self._noise * ((1 << NOISE_BITS) - speed)) >> NOISE_BITS) & WORD
        left = (scaled - np.minimum(self._noise, scaled)) >> bits
        kept: _I64 = np.maximum(left, signal * _share(settings.noise_floor) >> NOISE_BITS)
        return kept

    def _amplified(self, signal: _I64) -> _I64:
        """The gain is a curve through a table of parabolas, one per power of two of the noise."""
        noise = self._noise
        interval = _bits(noise)
        start, slope, bend = self._gains[interval].T
        fraction = np.where(interval < 11, noise << np.maximum(11 - interval, 0), noise >> np.maximum(interval - 11, 0))
        fraction &= 0x3FF
        curve = (((bend * fraction) >> 5) + (slope << 5)) * fraction
        gain = np.where(noise <= 2, start, (((curve + (1 << 14)) >> 15) + start).astype(np.int16))
        snr = ((signal * gain) >> (self.settings.pcan_gain_bits - self._correction - SNR_BITS)) & WORD
        quadratic = (snr * snr & WORD) >> (2 + 2 * SNR_BITS - GAIN_OUTPUT_BITS)
        linear = (snr >> (SNR_BITS - GAIN_OUTPUT_BITS)) - (1 << GAIN_OUTPUT_BITS)
        gained: _I64 = np.where(snr < 2 << SNR_BITS, quadratic, linear)
        return gained

    def _logarithm(self, signal: _I64) -> _I64:
        """2**log_shift * ln(signal), 0 for 0 and 1: log2 by segments of a curve, then times ln 2."""
        correction = self._correction
        signal = (signal << correction) & WORD if correction >= 0 else signal >> -correction
        whole = _bits(np.maximum(signal, 1)) - 1
        rest = np.maximum(signal, 1) - (1 << whole)
        fraction = np.where(
            whole < LOG_BITS, rest << np.maximum(LOG_BITS - whole, 0), rest >> np.maximum(whole - LOG_BITS, 0)
        )
        segment = fraction >> (LOG_BITS - LOG_SEGMENTS_BITS)
        low, high = LOG_CURVE[segment], LOG_CURVE[segment + 1]
        within = fraction - (segment << (LOG_BITS - LOG_SEGMENTS_BITS))
        log2 = (whole << LOG_BITS) + fraction + low + (((high - low) * within) >> LOG_BITS)
        half = 1 << (LOG_BITS - 1)
        natural = (log2 * LN_2 + half) >> LOG_BITS
        scaled = (((natural << self.settings.log_shift) & WORD) + half) >> LOG_BITS
        return np.where(signal > 1, scaled, 0)


LOG_CURVE: _I64 = np.rint(
    (np.log2(1 + np.arange(129) / 128) - np.arange(129) / 128) * (1 << LOG_BITS)
).astype(np.int64)  # fmt: skip
"""log2(1 + x) - x in Q16 at 129 points of 0..1."""


def _bits(values: _I64) -> _I64:
    """How many bits each of `values` >= 0 has: 0 for 0, 1 for 1, 11 for 1024. Exact below 2**53."""
    return np.frexp(values.astype(np.float64))[1].astype(np.int64)


def _root(values: _I64) -> _I64:
    """The square root, to the nearest, of integers below 2**52; of those below 2**32 at most 65535."""
    root = np.sqrt(values.astype(np.float64)).astype(np.int64)
    root -= root * root > values
    root += (root + 1) * (root + 1) <= values
    rounded = root + (values - root * root > root)
    return np.where(values >> 32 == 0, np.minimum(rounded, 0xFFFF), rounded)


def _share(value: float) -> int:
    """A share of 1 in Q14, of a float32, cut off."""
    return int(np.float32(value) * np.float32(1 << NOISE_BITS))


def _window(size: int) -> npt.NDArray[np.int32]:
    """Hann's window around the middles of the samples, Q12."""
    step = np.float32(np.pi) * np.float32(2) / np.float32(size)
    cosine = np.cos(step * (np.arange(size, dtype=np.float32) + np.float32(0.5)))
    shape = np.float32(0.5) - np.float32(0.5) * cosine
    fixed: npt.NDArray[np.int32] = np.floor(shape * np.float32(1 << WINDOW_BITS) + np.float32(0.5)).astype(np.int32)
    return fixed


def _mel(hz: npt.NDArray[np.float32] | np.float32) -> npt.NDArray[np.float32]:
    return np.asarray(np.float32(1127) * np.log1p(hz / np.float32(700)), np.float32)


def _filters(settings: FrontendSettings, size: int) -> _I64:
    """Weights [channels, size / 2 + 1] in Q12: triangles on the mel scale, each falling where the next one rises.
    The constant part of the sound is left out."""
    spacing = np.float32(0.5) * np.float32(settings.rate) / np.float32(size // 2)
    low, high = _mel(np.float32(settings.lower_hz)), _mel(np.float32(settings.upper_hz))
    edges = low + (high - low) / np.float32(settings.channels + 1) * np.arange(
        1, settings.channels + 2, dtype=np.float32
    )
    edges = np.concatenate([low[None], edges]).astype(np.float32)
    bins = np.arange(size // 2 + 1)
    mels = _mel(bins.astype(np.float32) * spacing)
    # Band i lies between edges i and i + 1: it falls for channel i - 1 and rises for channel i.
    band = np.searchsorted(edges[1:], mels, "left")
    inside = (bins >= int(np.float32(1.5) + np.float32(settings.lower_hz) / spacing)) & (band <= settings.channels)
    weights = np.zeros((settings.channels + 2, len(bins)), np.int64)
    for index in bins[inside]:
        i = band[index]
        falling = (edges[i + 1] - mels[index]) / (edges[i + 1] - edges[i])
        weights[i, index] = np.floor(falling * np.float32(1 << FILTER_BITS) + np.float32(0.5))
        weights[i + 1, index] = np.floor((np.float32(1) - falling) * np.float32(1 << FILTER_BITS) + np.float32(0.5))
    return weights[1 : settings.channels + 1]


def _gains(settings: FrontendSettings, correction: int) -> _I64:
    """[33, 3]: for noise of `i` bits the gain at its power of two, and slope and bend of the parabola to the next."""
    bits = settings.noise_smoothing_bits - correction

    def gain(noise: int) -> int:
        level = np.float32(noise) / np.float32(2.0**bits)
        lowered = np.power(level + np.float32(settings.pcan_offset), np.float32(-settings.pcan_strength))
        return int(min(np.float32(1 << settings.pcan_gain_bits) * lowered + np.float32(0.5), np.float32(32767)))

    table = np.zeros((33, 3), np.int64)
    table[0, 0], table[1, 0] = gain(0), gain(1)
    for i in range(2, 33):
        start = 1 << (i - 1)
        end = 2 * start - 1 if i == 32 else 2 * start
        first, middle, last = gain(start), gain(start + start // 2), gain(end)
        slope = 4 * (middle - first) - (last - first)
        table[i] = first, np.int64(slope).astype(np.int16), np.int64(last - first - slope).astype(np.int16)
    return table
