"""Resampling keeps what both rates can carry, where it was, and lets nothing fold back."""

from __future__ import annotations

import numpy as np
import pytest

from edgert.audio import resample
from edgert.errors import InputError

PAIRS = [(44100, 22050), (44100, 16000), (48000, 16000), (8000, 16000), (16000, 44100), (22050, 16000)]


def tone(hz: float, rate: int, seconds: float = 0.5) -> np.ndarray:
    return np.sin(2 * np.pi * hz * np.arange(int(rate * seconds)) / rate).astype(np.float32)


@pytest.mark.parametrize(("rate", "wanted"), PAIRS)
def test_a_tone_stays_itself(rate: int, wanted: int) -> None:
    out = resample(tone(1000, rate), rate, wanted)
    assert out.dtype == np.float32 and len(out) == -(-int(rate * 0.5) * wanted // rate)
    expected = tone(1000, wanted)[: len(out)]
    inner = slice(wanted // 20, -wanted // 20)  # ends hear the silence around
    assert np.abs(out[inner] - expected[inner]).max() < 2e-5


@pytest.mark.parametrize(("rate", "wanted"), [pair for pair in PAIRS if pair[0] > pair[1]])
def test_what_the_lower_rate_cannot_carry_is_gone(rate: int, wanted: int) -> None:
    out = resample(tone(0.52 * wanted, rate), rate, wanted)
    inner = slice(wanted // 10, -wanted // 10)
    assert np.abs(out[inner]).max() < 3e-6


def test_a_constant_and_an_equal_rate() -> None:
    ones = np.ones(4000, np.float32)
    assert np.abs(resample(ones, 44100, 16000)[400:-400] - 1).max() < 1e-6
    assert np.array_equal(resample(ones, 16000, 16000), ones)
    assert len(resample(np.zeros(0, np.float32), 44100, 16000)) == 0
    assert len(resample(ones[:1], 8000, 48000)) == 6


@pytest.mark.parametrize(("rate", "wanted"), [(0, 8000), (8000, -1), (44101, 44100)])
def test_rates_without_a_ratio(rate: int, wanted: int) -> None:
    with pytest.raises(InputError):
        resample(np.ones(10, np.float32), rate, wanted)


def test_results_have_a_limit() -> None:
    """A file may say that its rate is 1 Hz: each of its samples would become thousands."""
    with pytest.raises(InputError, match="samples at 16000 Hz, found 1600000000"):
        resample(np.zeros(100_000, np.float32), 1, 16000)
