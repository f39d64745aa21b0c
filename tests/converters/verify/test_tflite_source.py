"""TFLite models in LiteRT beside the .edge file: int8 kept as uint8, images laid out another way, and states."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("ai_edge_litert")
sys.path.insert(0, str(Path(__file__).parents[1] / "tflite"))
from flat_model import FlatModel

from edgert.converters.convert import convert
from edgert.converters.verify.compare import verify
from edgert.converters.verify.source import open_source


@pytest.fixture
def images(tmp_path: Path, rng: np.random.Generator) -> Path:
    """Two int8 convolutions with a maximum between them."""
    m = FlatModel()
    x = m.input("x", (1, 6, 6, 3), "int8", scale=0.05, zero_point=-3)
    y = x
    for i, (channels, size) in enumerate(((4, 6), (2, 3))):
        depth = 3 if i == 0 else 4
        w = m.constant(
            f"w{i}", rng.integers(-127, 128, (channels, 3, 3, depth)).astype(np.int8),
            scale=[0.01] * channels, zero_point=[0] * channels, axis=0,
        )  # fmt: skip
        sums = [(0.05 if i == 0 else 0.1) * 0.01] * channels
        b = m.constant(f"b{i}", np.zeros(channels, np.int32), scale=sums, zero_point=[0] * channels, axis=0)
        kept = {"scale": 0.1, "zero_point": 5}
        y = m.op(
            "CONV_2D", [y, w, b], (f"conv{i}", (1, size, size, channels), "int8", kept),
            padding="SAME", stride_w=1, stride_h=1,
        )  # fmt: skip
        if i == 0:
            y = m.op(
                "MAX_POOL_2D", [y], ("pool", (1, 3, 3, 4), "int8", kept),
                padding="VALID", stride_w=2, stride_h=2, filter_width=2, filter_height=2,
            )  # fmt: skip
    m.output(y)
    return Path(m.save(tmp_path / "images.tflite"))


def test_int8_images(images: Path, tmp_path: Path) -> None:
    out = tmp_path / "images.edge"
    convert(images, out)
    found = verify(images, out)
    assert found.agrees and found.runtime.startswith("ai_edge_litert")
    assert found.outputs[0].steps is not None and found.outputs[0].steps <= 1
    assert any(difference.tensor.endswith("/nchw") for difference in found.compared)
    assert all(difference.steps in (0, 1) for difference in found.compared)


def test_a_state_goes_on_from_run_to_run(images: Path) -> None:
    source = open_source(images)
    x = np.zeros((1, 6, 6, 3), np.int8)
    assert source.inputs == ["x"] and source.outputs == ["conv1"]
    first, second = (source.run({"x": x}, ["conv1", "pool"]) for _ in range(2))
    np.testing.assert_array_equal(first["conv1"], second["conv1"])
    assert first["pool"].shape == (1, 3, 3, 4)
