"""Boxes by hand: overlaps, decoding, suppression; the whole is compared with LiteRT in tests/converters/tflite."""

from __future__ import annotations

import numpy as np
import pytest

from edgert.errors import UnsupportedError
from edgert.graph.infer import infer_types
from edgert.graph.ir import Attr, Graph, Node, TensorType
from edgert.kernels_cpu.reference.detection import decoded, overlaps, suppressed
from edgert.kernels_cpu.reference.registry import evaluate


def boxes(*corners: tuple[float, float, float, float]) -> np.ndarray:
    return np.array(corners, np.float32)


def test_overlaps() -> None:
    """Half a square on itself is a third of the union; corners may come in any order; no area, no overlap."""
    unit = boxes((0, 0, 1, 1))[0]
    others = boxes((0, 0, 1, 1), (0, 0.5, 1, 1.5), (1.5, 1, 0.5, 0), (2, 2, 3, 3), (0.5, 0.5, 0.5, 0.9))
    np.testing.assert_allclose(overlaps(unit, others), [1, 1 / 3, 1 / 3, 0, 0], rtol=1e-6)


def test_suppressed_keeps_the_best_of_each_place() -> None:
    places = boxes((0, 0, 1, 1), (0, 0.1, 1, 1.1), (5, 5, 6, 6), (7, 7, 8, 8))
    scores = np.array([0.6, 0.9, 0.7, 0.1], np.float32)
    assert suppressed(places, scores, 10, 0.5, 0.5).tolist() == [1, 2]
    assert suppressed(places, scores, 1, 0.0, 0.5).tolist() == [1]
    assert suppressed(places, scores, 10, 0.0, 1.0).tolist() == [1, 2, 0, 3]


def test_decoded_anchor_without_offset_is_the_anchor() -> None:
    anchors = np.array([[0.5, 0.4, 0.2, 0.4]], np.float32)
    np.testing.assert_allclose(decoded(np.zeros((1, 4), np.float32), anchors, (10, 10, 5, 5)), [[0.4, 0.2, 0.6, 0.6]])


def test_soft_suppression_lowers_scores() -> None:
    places = boxes((0, 0, 1, 1), (0, 0.5, 1, 1.5))
    scores = np.array([0.9, 0.8], np.float32)
    scalars = [np.int32(2), np.float32(0.5), np.float32(0.0), np.float32(0.5)]
    at, values, count = evaluate("NonMaxSuppressionV5", [places, scores, *map(np.asarray, scalars)])
    assert at.tolist() == [0, 1] and count == 2
    np.testing.assert_allclose(values, [0.9, 0.8 * np.exp(-1 / 9)], rtol=1e-6)


def detection(**attrs: Attr) -> Graph:
    types = {
        "e": TensorType("float32", (1, 5, 4)),
        "s": TensorType("float32", (1, 5, 3)),
        "a": TensorType("float32", (5, 4)),
    }
    node = Node("DetectionPostProcess", ("e", "s", "a"), ("b", "c", "d", "n"), dict(attrs), "post")
    return Graph("g", ["e", "s", "a"], ["b", "c", "d", "n"], [node], types)


def test_shapes_of_detections() -> None:
    kinds = infer_types(detection(num_classes=3, max_detections=7)).types
    assert [kinds[name].shape for name in "bcdn"] == [(1, 7, 4), (1, 7), (1, 7), (1,)]


@pytest.mark.parametrize(
    "attrs",
    [
        {"num_classes": 5, "max_detections": 7},
        {"num_classes": 1, "max_detections": 7},
        {"num_classes": 3, "max_detections": 0},
        {"num_classes": 3, "max_detections": 1 << 30},
        {"num_classes": 3, "max_detections": 7, "y_scale": 0.0},
    ],
)
def test_impossible_detections_are_refused(attrs: dict[str, Attr]) -> None:
    with pytest.raises(UnsupportedError, match="post"):
        infer_types(detection(**attrs))
