"""EfficientNet-Lite0 on photographs: float equal to ONNX Runtime, int8 with the same answers, also through ONNX."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from streamed_memory import MEASURED, check_half

import edgert
from edgert.format import Preprocessing, read_model
from edgert.preprocess import load_image

pytestmark = [pytest.mark.model, pytest.mark.slow]

PHOTOS = ("chelsea.png", "coffee.png", "rocket.jpg", "flower.jpg", "china.jpg")
ANSWERS = {"coffee.png": 967, "rocket.jpg": 657, "flower.jpg": 985, "china.jpg": 698}
"""Espresso, missile, daisy, palace. The cat is an Egyptian cat or a tabby, by a hair."""
SQUARE = Preprocessing("input", (224, 224), 224, "bilinear", "RGB", "NCHW", [127.0], [1 / 128])
"""Another view of the photos than the model's own, which is a smaller part of each: the cat turns the other way."""
FLOAT_TOLERANCE = 1e-4
"""Of the largest logit: float sums in another order."""


@dataclass
class Lite0:
    """The model in all its forms, the photos as inputs, and what ONNX Runtime says of them."""

    onnx: Path
    float32: Path
    int8: Path
    inputs: dict[str, np.ndarray]
    expected: dict[str, np.ndarray]

    def top1(self) -> dict[str, int]:
        return {name: int(logits.argmax()) for name, logits in self.expected.items()}


@pytest.fixture(scope="module", params=[None, SQUARE], ids=["own", "square"])
def lite0(
    request: pytest.FixtureRequest, asset: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory
) -> Lite0:
    from onnxruntime import InferenceSession

    from edgert.converters.calibrate.session import SessionExecutor
    from edgert.converters.convert import convert

    source, photos = asset("efficientnet-lite0"), asset("photos")
    folder = tmp_path_factory.mktemp("lite0")
    given: Preprocessing | None = request.param
    int8 = {"weights": "int8", "calib": photos, "execute": SessionExecutor()}
    convert(source, folder / "f32.edge", preprocessing=given)
    convert(source, folder / "int8.edge", preprocessing=given, **int8)
    steps = read_model(folder / "int8.edge").info.preprocessing
    assert steps is not None
    inputs = {name: load_image(photos / name, steps) for name in PHOTOS}
    session = InferenceSession(source)
    expected = {name: session.run(None, {"input": x})[0] for name, x in inputs.items()}
    return Lite0(source, folder / "f32.edge", folder / "int8.edge", inputs, expected)


def answers(path: Path, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The logits of each photo."""
    with edgert.load(path, shapes={"N": 1}) as session:
        assert session.plan().count("host") == 0, "every operator of this model has a native kernel"
        return {name: session.run(None, {"input": x})[0] for name, x in inputs.items()}


def top1(logits: dict[str, np.ndarray]) -> dict[str, int]:
    return {name: int(values.argmax()) for name, values in logits.items()}


def test_float_equals_onnx_runtime(lite0: Lite0) -> None:
    found = answers(lite0.float32, lite0.inputs)
    for name, expected in lite0.expected.items():
        assert np.abs(found[name] - expected).max() <= FLOAT_TOLERANCE * np.abs(expected).max(), name
    right = top1(found)
    assert {name: right[name] for name in ANSWERS} == ANSWERS
    assert right["chelsea.png"] in (281, 282, 285)  # cats


def test_int8_answers_as_float(lite0: Lite0) -> None:
    assert top1(answers(lite0.int8, lite0.inputs)) == lite0.top1()
    assert lite0.int8.stat().st_size < 0.3 * lite0.float32.stat().st_size


@pytest.mark.parametrize("form", ["qdq", "qoperator"])
def test_int8_answers_as_float_after_a_round_trip(
    lite0: Lite0, form: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Exported, run by ONNX Runtime, and converted again."""
    from onnxruntime import InferenceSession

    from edgert.converters.convert import convert
    from edgert.converters.onnx.exporter import export_onnx

    exported, again = tmp_path / f"{form}.onnx", tmp_path / "again.edge"
    export_onnx(read_model(lite0.int8).unpacked_graph(), exported, form=form)
    session = InferenceSession(exported)
    elsewhere = {name: session.run(None, {"input": x})[0] for name, x in lite0.inputs.items()}
    assert top1(elsewhere) == lite0.top1()
    assert capfd.readouterr().err == "", "ONNX Runtime should have nothing to complain of"
    convert(exported, again)
    found = answers(again, lite0.inputs)
    assert top1(found) == lite0.top1()
    first = answers(lite0.int8, lite0.inputs)
    for name in PHOTOS:
        np.testing.assert_array_equal(found[name], first[name], err_msg=name)


@pytest.mark.skipif(not MEASURED, reason="this system does not say how much memory a process has")
@pytest.mark.parametrize("lite0", [None], ids=["own"], indirect=True)
@pytest.mark.parametrize("form", ["float32", "int8"])
def test_half_of_the_weights_are_streamed(lite0: Lite0, form: str, tmp_path: Path) -> None:
    check_half(getattr(lite0, form), tmp_path)
