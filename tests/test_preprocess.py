"""Pixels become the input tensor exactly as the file says: size, crop, channels, layout, mean and scale."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgert.errors import InputError
from edgert.format import Preprocessing
from edgert.preprocess import load_image

STEPS = Preprocessing("image", (4, 6), mean=[10.0, 20.0, 30.0], scale=[1.0, 0.5, 0.25])


@pytest.fixture
def pixels(rng: np.random.Generator) -> np.ndarray:
    return rng.integers(0, 256, (4, 6, 3)).astype(np.uint8)


def test_values_and_layouts(pixels: np.ndarray) -> None:
    wanted = (pixels.astype(np.float32) - [10, 20, 30]) * [1, 0.5, 0.25]
    np.testing.assert_allclose(load_image(pixels, STEPS), wanted.transpose(2, 0, 1)[None])
    np.testing.assert_allclose(load_image(pixels, replace(STEPS, layout="NHWC")), wanted[None])
    plain = Preprocessing("image", (4, 6), channels="BGR", layout="NHWC", dtype="uint8")
    found = load_image(pixels, plain)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found[0], pixels[..., ::-1])


def test_integer_inputs_saturate(pixels: np.ndarray) -> None:
    found = load_image(pixels, Preprocessing("image", (4, 6), mean=[128.0], scale=[2.0], dtype="int8"))
    assert found.dtype == np.int8
    wanted = np.clip((pixels.astype(int) - 128) * 2, -128, 127)
    np.testing.assert_array_equal(found[0], wanted.transpose(2, 0, 1))


def test_files_equal_arrays(pixels: np.ndarray, tmp_path: Path) -> None:
    pillow: Any = pytest.importorskip("PIL.Image")
    pillow.fromarray(pixels).save(tmp_path / "a.png")
    np.testing.assert_array_equal(load_image(tmp_path / "a.png", STEPS), load_image(pixels, STEPS))


def test_resize_and_crop() -> None:
    pillow: Any = pytest.importorskip("PIL.Image")
    left_to_right = np.tile(np.arange(0, 240, 2, dtype=np.uint8), (40, 1))
    steps = Preprocessing("image", (20, 20), 20, channels="L", resample="nearest")
    found = load_image(left_to_right, steps)[0, 0]
    assert found.shape == (20, 20)
    assert 110 < found.mean() < 130, "cut from the centre"
    assert np.ptp(found) < 90
    whole = load_image(left_to_right, replace(steps, resize=None))[0, 0]
    assert np.ptp(whole) > 200, "squeezed"
    image = pillow.fromarray(left_to_right).resize((60, 20), pillow.Resampling.BILINEAR)
    wanted = np.asarray(image.crop((20, 0, 40, 20)))
    np.testing.assert_array_equal(load_image(left_to_right, replace(steps, resample="bilinear"))[0, 0], wanted)


def test_a_crop_larger_than_the_resize_is_filled(pixels: np.ndarray) -> None:
    pytest.importorskip("PIL.Image")
    assert load_image(pixels, replace(STEPS, crop=(8, 8), resize=4)).shape == (1, 3, 8, 8)


def test_modes_and_orientation(tmp_path: Path) -> None:
    pillow: Any = pytest.importorskip("PIL.Image")
    image = pillow.new("RGBA", (6, 4), (255, 0, 0, 128))
    image.save(tmp_path / "a.png")
    assert load_image(tmp_path / "a.png", STEPS).shape == (1, 3, 4, 6)
    exif = pillow.Exif()
    exif[0x0112] = 6  # turned by a quarter
    pillow.new("RGB", (4, 6)).save(tmp_path / "b.jpg", exif=exif)
    assert load_image(tmp_path / "b.jpg", STEPS).shape == (1, 3, 4, 6)


def test_what_is_no_image(tmp_path: Path) -> None:
    pytest.importorskip("PIL.Image")
    (tmp_path / "a.png").write_bytes(b"text")
    with pytest.raises(InputError, match="expected an image"):
        load_image(tmp_path / "a.png", STEPS)
    with pytest.raises(InputError, match="no such file"):
        load_image(tmp_path / "b.png", STEPS)
    with pytest.raises(InputError, match="uint8"):
        load_image(np.zeros((4, 6, 3)), STEPS)
    with pytest.raises(InputError, match="filter"):
        load_image(np.zeros((9, 9, 3), np.uint8), replace(STEPS, resample="nearly"))


def test_standardized() -> None:
    """By its own mean and deviation, over all channels; one colour becomes zeros."""
    pixels = np.arange(72, dtype=np.uint8).reshape(4, 6, 3)
    found = load_image(pixels, Preprocessing("image", (4, 6), layout="NHWC", standardize=True))
    assert found.dtype == np.float32 and abs(found.mean()) < 1e-6 and found.std() == pytest.approx(1, abs=1e-5)
    np.testing.assert_allclose(found[0], (pixels - 35.5) / pixels.std(), rtol=1e-5)
    assert not load_image(np.full_like(pixels, 9), Preprocessing("image", (4, 6), standardize=True)).any()
