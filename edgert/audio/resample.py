"""Sound at another rate: a polyphase low-pass filter, one set of weights per phase.
Reading files is `wav.py`."""

from __future__ import annotations

from math import gcd

import numpy as np
import numpy.typing as npt

from edgert.errors import InputError

ROLL_OFF = 0.9568
"""Where the filter is at half, as a share of the lower rate's half: it passes 0.913 and stops at 1.0, as the high
quality setting of the SoX resampler does."""
ZERO_CROSSINGS = 98
"""Of the sinc on either side of its centre: what so narrow a transition takes."""
BETA = 14.0
"""Of the Kaiser window: what folds back is 130 dB down, below the noise of 16 bits."""
BLOCK = 1 << 20
"""Numbers multiplied at a time: windows overlap, and are copied for the product."""
MAX_PHASES = 1 << 14
"""Rates whose ratio is no small fraction would need weights without end."""

MAX_SAMPLES = 1 << 30
"""Of the result: a file of a megabyte may say that its rate is 1 Hz."""

Samples = npt.NDArray[np.float32]


def resample(samples: Samples, rate: int, wanted: int) -> Samples:
    """float32 [n] at `rate` Hz as float32 [ceil(n * wanted / rate)] at `wanted` Hz, with the same begin.

    Raises InputError for rates that are not positive or have no small ratio, and for a result past MAX_SAMPLES.
    Source: Crochiere and Rabiner, Multirate Digital Signal Processing, section 2.5; Kaiser's window.
    """
    if rate < 1 or wanted < 1:
        raise InputError(f"expected sample rates of at least 1 Hz, found {rate} and {wanted}")
    if rate == wanted:
        return np.asarray(samples, np.float32)
    divisor = gcd(rate, wanted)
    up, down = wanted // divisor, rate // divisor
    if max(up, down) > MAX_PHASES:
        raise InputError(f"expected sample rates with a small ratio, found {rate} and {wanted} Hz")
    count = -(-len(samples) * up // down)
    if count > MAX_SAMPLES:
        raise InputError(f"expected at most {MAX_SAMPLES} samples at {wanted} Hz, found {count}")
    # In steps of the input: the filter is as wide as the slower side needs.
    cutoff = ROLL_OFF * min(1.0, up / down)
    half = int(np.ceil(ZERO_CROSSINGS / cutoff))
    padded = np.concatenate([np.zeros(half, np.float32), samples, np.zeros(half + down + 1, np.float32)])
    windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * half + 1)
    out = np.empty(count, np.float32)
    block = max(1, BLOCK // (2 * half + 1))
    for phase in range(min(up, count)):
        # Output phase + i * up lies at (phase * down / up) + i * down in the input.
        whole, rest = divmod(phase * down, up)
        weights = _weights(half, cutoff, rest / up)
        places = windows[whole::down][: len(range(phase, count, up))]
        row = out[phase::up]
        for start in range(0, len(row), block):
            row[start : start + block] = places[start : start + block] @ weights
    return out


def _weights(half: int, cutoff: float, shift: float) -> npt.NDArray[np.float64]:
    """[2 * half + 1]: the low-pass filter around a point `shift` (0..1) after the centre."""
    at = np.arange(-half, half + 1) - shift
    window = np.i0(BETA * np.sqrt(np.clip(1 - (at / (half + 1)) ** 2, 0, None))) / np.i0(BETA)
    weights = cutoff * np.sinc(cutoff * at) * window
    scaled: npt.NDArray[np.float64] = weights / weights.sum()  # a constant stays what it is
    return scaled
