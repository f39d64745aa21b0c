"""MediaPipe's custom operators: pooling with places against LiteRT, crops by landmarks by their geometry."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from compare import Case, Const, check
from flatbuffers import flexbuffers

from edgert.converters.tflite.importer import check_tflite, import_tflite
from edgert.graph.execute import run_graph
from edgert.graph.ir import Array

RNG = np.random.default_rng(9)


def floats(*shape: int) -> Array:
    return RNG.standard_normal(shape).astype(np.float32)


def pool_options(padding: int, stride: int, kernel: tuple[int, int]) -> bytes:
    """TfLitePoolParams as bytes."""
    return struct.pack("<6i", padding, stride, stride, kernel[1], kernel[0], 0) + bytes(16)


@pytest.mark.parametrize("padding", [1, 2])
@pytest.mark.parametrize("size", [(1, 4, 6, 3), (2, 7, 5, 2)])
def test_max_pooling_with_places(padding: int, size: tuple[int, ...], tmp_path: Path) -> None:
    """Values as MAX_POOL_2D, and at its place in its window each of them is found."""
    x = floats(*size)
    case = Case("MaxPoolingWithArgmax2D", x, custom=pool_options(padding, 2, (2, 2)), outputs=("float32",) * 2)
    graph = import_tflite(case.build([(), ()]).save(tmp_path / "m.tflite"))
    found = run_graph(graph, {"x0": x})
    window = {"padding": "SAME" if padding == 1 else "VALID", "stride_h": 2, "stride_w": 2}
    (wanted,) = check(Case("MAX_POOL_2D", x, filter_height=2, filter_width=2, **window), tmp_path)
    np.testing.assert_array_equal(found["y0"], wanted)
    place = found["y1"].astype(int)
    b, y, z, c = np.indices(wanted.shape)
    np.testing.assert_array_equal(x[b, 2 * y + place // 2, 2 * z + place % 2, c], wanted)


def test_max_unpooling_undoes_pooling_of_separate_values(tmp_path: Path) -> None:
    """Pooling what was unpooled gives the values and places again."""
    x = RNG.uniform(1, 2, (1, 3, 2, 4)).astype(np.float32)
    places = RNG.integers(0, 4, x.shape).astype(np.float32) + np.float32(0.1)
    options = pool_options(1, 2, (2, 2))
    large = ran(Case("MaxUnpooling2D", x, places, custom=options), (1, 6, 4, 4), tmp_path)
    assert large.shape == (1, 6, 4, 4) and np.count_nonzero(large) == x.size
    case = Case("MaxPoolingWithArgmax2D", large, custom=options, outputs=("float32",) * 2)
    graph = import_tflite(case.build([(), ()]).save(tmp_path / "m.tflite"))
    found = run_graph(graph, {"x0": large})
    np.testing.assert_array_equal(found["y0"], x)
    np.testing.assert_array_equal(found["y1"], places)


def crop_options(**more: object) -> bytes:
    options = {"left_rotation_idx": 0, "right_rotation_idx": 1, "output_height": 4, "output_width": 8, "scale_x": 1.0,
               "scale_y": 1.0, "target_rotation_radians": 0.0, "subset_idxs": [0, 1, 2], **more}  # fmt: skip
    return bytes(flexbuffers.Dumps(options))


def ran(case: Case, shape: tuple[int, ...], folder: Path) -> Array:
    graph = import_tflite(case.build([shape]).save(folder / "m.tflite"))
    feeds = [given for given in case.inputs if isinstance(given, np.ndarray)]
    return run_graph(graph, dict(zip(graph.inputs, feeds, strict=True)))["y0"]


def test_matrix_takes_the_crop_to_the_box_of_the_landmarks(tmp_path: Path) -> None:
    """Upright: landmarks 0 and 1 lie on a horizontal line, so corners of the crop go to corners of the box."""
    landmarks = np.array([[[10, 20, 5], [26, 20, 5], [18, 28, 5], [99, 99, 5]]], np.float32)
    case = Case("Landmarks2TransformMatrix", landmarks, custom=crop_options(), version=2)
    matrix = ran(case, (1, 4, 4), tmp_path)[0]
    np.testing.assert_allclose(matrix @ [0, 0, 0, 1], [10, 20, 0, 1], atol=1e-5)
    np.testing.assert_allclose(matrix @ [8, 4, 0, 1], [26, 28, 0, 1], atol=1e-5)


def test_matrix_turns_with_the_landmarks(tmp_path: Path) -> None:
    """A quarter turn of all landmarks turns the crop as a whole."""
    flat = np.array([[0, 0], [16, 0], [8, 8]], np.float32)
    turn = np.array([[0, -1], [1, 0]], np.float32)
    landmarks = np.concatenate([flat @ turn.T, np.zeros((3, 1), np.float32)], 1)[None]
    case = Case("Landmarks2TransformMatrix", landmarks, custom=crop_options(), version=2)
    matrix = ran(case, (1, 4, 4), tmp_path)[0]
    np.testing.assert_allclose((matrix @ [8, 4, 0, 1])[:2], turn @ [16, 8], atol=1e-5)


def test_bilinear_crop(tmp_path: Path) -> None:
    """The identity copies pixels, a shift by half a pixel gives their means, and what lies outside is 0."""
    x = floats(1, 5, 6, 2)
    shifted = np.eye(4, dtype=np.float32)
    shifted[0, 3] = 0.5
    options = bytes(flexbuffers.Dumps({"output_height": 5, "output_width": 6}))
    for matrix, wanted in (
        (np.eye(4, dtype=np.float32), x),
        (shifted, np.concatenate([(x[:, :, :-1] + x[:, :, 1:]) / 2, np.zeros((1, 5, 1, 2))], 2)),
    ):
        case = Case("TransformTensorBilinear", x, matrix[None], custom=options, version=2)
        np.testing.assert_allclose(ran(case, x.shape, tmp_path), wanted, atol=1e-6)


@pytest.mark.parametrize("width", [2, 3])
def test_landmarks_go_through_the_matrix(width: int, tmp_path: Path) -> None:
    landmarks, matrix = floats(1, 5, width), floats(1, 4, 4)
    case = Case("TransformLandmarks", landmarks, matrix, custom=b"", version=2)
    places = np.concatenate([landmarks[0, :, :2], np.zeros((5, 1)), np.ones((5, 1))], 1)
    wanted = np.concatenate([(places @ matrix[0].T)[:, :2], landmarks[0, :, 2:]], 1)
    np.testing.assert_allclose(ran(case, landmarks.shape, tmp_path)[0], wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "case",
    [
        Case("Landmarks2TransformMatrix", floats(1, 3, 3), custom=crop_options(), version=1),
        Case("Landmarks2TransformMatrix", floats(1, 3, 3), custom=crop_options(subset_idxs=[0, 7]), version=2),
        Case("Landmarks2TransformMatrix", floats(1, 3, 3), custom=crop_options(output_width=0), version=2),
        Case("MaxPoolingWithArgmax2D", floats(1, 4, 4, 2), custom=b"\x01"),
        Case("TransformTensorBilinear", floats(1, 4, 4, 2), Const(floats(1, 4, 4)), custom=b"", version=2),
    ],
    ids=str,
)
def test_refused(case: Case, tmp_path: Path) -> None:
    m = case.build([()] * len(case.outputs))
    assert check_tflite(m.save(tmp_path / "m.tflite"))
