"""The micro front end against numbers that the original computed, and what streaming must not change."""

from __future__ import annotations

import zlib

import numpy as np
import numpy.typing as npt
import pytest

from edgert.audio import FrontendSettings, MicroFrontend
from edgert.audio.fixed_fft import real_fft
from edgert.errors import InputError


def chirp() -> npt.NDArray[np.int16]:
    """Half a second at 16 kHz, from 200 Hz up, quiet and then loud."""
    n = np.arange(8000)
    t = n / 16000
    loudness = np.where(n < 4000, 0.02, 0.9) * 32000
    return np.rint(np.sin(2 * np.pi * (200 * t + 6000 * t * t)) * loudness).astype(np.int16)


def test_features_are_those_of_the_original() -> None:
    """Golden numbers: pymicro-features 2.0.2 (PyPI), which is TensorFlow Lite's own C++, on the same samples."""
    features = MicroFrontend().process(chirp())
    assert features.shape == (48, 40) and features.dtype == np.uint16
    assert features[5, 9:18].tolist() == [0, 511, 541, 638, 588, 611, 468, 203, 0]
    assert features[24, :8].tolist() == [598, 542, 581, 521, 549, 507, 542, 505]
    assert features[26, 26:32].tolist() == [0, 425, 619, 590, 410, 0]
    assert features[47, 35:].tolist() == [0, 562, 579, 544, 0]
    assert int(features.sum()) == 169514
    assert zlib.crc32(features.astype("<u2").tobytes()) == 3118777894


@pytest.mark.parametrize("size", [1, 7, 160, 161, 481, 5000])
def test_pieces_give_what_the_whole_gives(size: int) -> None:
    samples, frontend = chirp(), MicroFrontend()
    whole = MicroFrontend().process(samples)
    if size == 1:
        samples, whole = samples[:800], whole[:3]
    pieces = [frontend.process(samples[i : i + size]) for i in range(0, len(samples), size)]
    assert np.array_equal(np.concatenate(pieces), whole)


def test_reset_begins_anew() -> None:
    frontend = MicroFrontend()
    first = frontend.process(chirp())
    assert not np.array_equal(frontend.process(chirp())[: len(first)], first)
    frontend.reset()
    assert np.array_equal(frontend.process(chirp()), first)


def test_silence_is_silent() -> None:
    assert not MicroFrontend().process(np.zeros(4800, np.int16)).any()


def test_parts_can_be_left_out() -> None:
    plain = MicroFrontend(FrontendSettings(noise_reduction=False, pcan=False, log=False)).process(chirp())
    logged = MicroFrontend(FrontendSettings(noise_reduction=False, pcan=False)).process(chirp())
    loud = (plain > 16) & (plain < 65535)
    expected = 64 * np.log(8.0 * plain[loud])  # 2**6, and the 3 bits that filters and transform lack
    assert np.abs(logged[loud] - expected).max() < 1.5


@pytest.mark.parametrize("n", [4, 8, 32, 64, 512])
def test_fixed_transform_is_a_transform(n: int) -> None:
    samples = np.random.default_rng(n).integers(-20000, 20000, (3, n)).astype(np.int16)
    real, imaginary = real_fft(samples)
    exact = np.fft.rfft(samples) / n
    assert np.abs(real + 1j * imaginary - exact).max() < 8


@pytest.mark.parametrize(
    "settings",
    [
        FrontendSettings(channels=0), FrontendSettings(step_ms=0), FrontendSettings(step_ms=40),
        FrontendSettings(upper_hz=9000), FrontendSettings(lower_hz=8000), FrontendSettings(noise_even=1.5),
        FrontendSettings(pcan_gain_bits=3), FrontendSettings(window_ms=5000),
    ],
)  # fmt: skip
def test_settings_that_make_no_sense(settings: FrontendSettings) -> None:
    with pytest.raises(InputError, match="expected"):
        MicroFrontend(settings)


@pytest.mark.parametrize("samples", [np.zeros(3, np.float32), np.zeros((2, 2), np.int16)])
def test_samples_of_another_kind(samples: npt.NDArray[np.float32]) -> None:
    with pytest.raises(InputError, match="int16"):
        MicroFrontend().process(samples)  # type: ignore[arg-type]
