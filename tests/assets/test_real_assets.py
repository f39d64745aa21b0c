"""The pinned assets can be had and are what they say."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.model


def test_photos(asset: Callable[[str], Path]) -> None:
    image = pytest.importorskip("PIL.Image")
    folder = asset("photos")
    with image.open(folder / "chelsea.png") as photo:
        assert photo.size == (451, 300)


def test_efficientnet_lite0_names_a_photo(asset: Callable[[str], Path]) -> None:
    """Run by ONNX Runtime, so that this is about the file that `pull` builds and nothing else."""
    runtime = pytest.importorskip("onnxruntime")
    image = pytest.importorskip("PIL.Image")
    session = runtime.InferenceSession(asset("efficientnet-lite0"))
    with image.open(asset("photos") / "coffee.png") as photo:
        width, height = photo.size
        left, top = (width - height) // 2, 0
        square = photo.convert("RGB").resize((224, 224), box=(left, top, left + height, height))
    x = ((np.asarray(square, np.float32) - 127) / 128).transpose(2, 0, 1)[None]
    (logits,) = session.run(None, {"input": x})
    assert logits.argmax() == 967  # espresso


def test_default_model_is_right_on_its_samples() -> None:
    runtime = pytest.importorskip("onnxruntime")
    image = pytest.importorskip("PIL.Image")
    from edgert.models import FASHION_MNIST, fashion_mnist_samples

    session = runtime.InferenceSession(FASHION_MNIST)
    samples = fashion_mnist_samples()
    assert [number for _, number in samples] == list(range(10))
    for path, number in samples:
        with image.open(path) as picture:
            x = np.asarray(picture, np.float32)[None, None] / 255
        assert session.run(None, {"image": x})[0].argmax() == number
