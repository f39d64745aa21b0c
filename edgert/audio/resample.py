"""Sound at another rate: a polyphase low-pass filter, one set of weights per phase.
Reading files is `wav.py`."""

from __future__ import annotations

from math import gcd

import numpy as np
import numpy.typing as npt

from edgert.errors import InputError

ZERO_CROSSINGS = 32
"""Of the sinc on either side of its centre: a transition band of about a twentieth of the lower rate."""
ROLL_OFF = 0.945
"""Where the pass band ends, as a share of the lower rate's half."""
BETA = 12.0
"""Of the Kaiser window: what folds back is at least 110 dB down."""
MAX_PHASES = 1 << 14
"""Rates whose ratio is no small fraction would need weights without end."""

Samples = npt.NDArray[np.float32]


def resample(samples: Samples, rate: int, wanted: int) -> Samples:
    """float32 [n] at `rate` Hz as float32 [ceil(n * wanted / rate)] at `wanted` Hz, with the same begin.

    Raises InputError for rates that are not positive or have no small ratio.
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
    # In steps of the input: the filter is as wide as the slower side needs.
    cutoff = ROLL_OFF * min(1.0, up / down)
    half = int(np.ceil(ZERO_CROSSINGS / cutoff))
    count = -(-len(samples) * up // down)
    padded = np.concatenate([np.zeros(half, np.float32), samples, np.zeros(half + down + 1, np.float32)])
    windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * half + 1)
    out = np.empty(count, np.float32)
    for phase in range(min(up, count)):
        # Output phase + i * up lies at (phase * down / up) + i * down in the input.
        whole, rest = divmod(phase * down, up)
        weights = _weights(half, cutoff, rest / up)
        places = windows[whole::down][: len(range(phase, count, up))]
        out[phase::up] = places @ weights
    return out


def _weights(half: int, cutoff: float, shift: float) -> Samples:
    """float32 [2 * half + 1]: the low-pass filter around a point `shift` (0..1) after the centre."""
    at = np.arange(-half, half + 1) - shift
    window = np.i0(BETA * np.sqrt(np.clip(1 - (at / (half + 1)) ** 2, 0, None))) / np.i0(BETA)
    weights = cutoff * np.sinc(cutoff * at) * window
    scaled: Samples = (weights / weights.sum()).astype(np.float32)  # a constant stays what it is
    return scaled
