"""MobileNetV2 as a feature extractor: float features equal to those of ONNX Runtime."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import edgert
from edgert.format import Preprocessing
from edgert.preprocess import load_image

pytestmark = pytest.mark.model

STEPS = Preprocessing(
    "input", (224, 224), 224, "bilinear", "RGB", "NCHW", [123.675, 116.28, 103.53], [0.01712, 0.01751, 0.01743]
)
"""The usual mean and deviation of ImageNet."""
FLOAT_TOLERANCE = 1e-4


def test_float_features_equal_onnx_runtime(asset: Callable[[str], Path], tmp_path: Path) -> None:
    from onnxruntime import InferenceSession

    from edgert.converters.convert import convert

    source, photos = asset("mobilenetv2-features"), asset("photos")
    convert(source, tmp_path / "features.edge")
    reference = InferenceSession(source)
    (name,) = (value.name for value in reference.get_inputs())
    inputs = [load_image(photos / photo, STEPS) for photo in ("astronaut.png", "coffee.png")]
    with edgert.load(tmp_path / "features.edge") as session:
        for x in (*inputs, np.concatenate(inputs)):  # the batch is free
            (expected,) = reference.run(None, {name: x})
            (found,) = session.run(None, {name: x})
            assert found.shape == expected.shape == (len(x), 1280)
            assert np.abs(found - expected).max() <= FLOAT_TOLERANCE * np.abs(expected).max()
