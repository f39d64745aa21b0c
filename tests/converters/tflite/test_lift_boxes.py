"""Boxes of detectors from TFLite are those LiteRT chooses, in the same order."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from compare import Case, Const, check, feeds_of, litert
from flat_model import FlatModel
from flatbuffers import flexbuffers

from edgert.converters.tflite.importer import check_tflite, import_tflite
from edgert.graph.execute import run_graph

RNG = np.random.default_rng(3)

OPTIONS = {
    "max_detections": 6, "max_classes_per_detection": 1, "detections_per_class": 100, "use_regular_nms": False,
    "nms_score_threshold": 0.3, "nms_iou_threshold": 0.4, "num_classes": 3,
    "y_scale": 10.0, "x_scale": 10.0, "h_scale": 5.0, "w_scale": 5.0,
}  # fmt: skip


def detections(boxes: int, background: int = 1, **more: object) -> Case:
    encodings = RNG.uniform(-2, 2, (1, boxes, 4)).astype(np.float32)
    scores = RNG.uniform(0, 1, (1, boxes, 3 + background)).astype(np.float32)
    centres, sizes = RNG.uniform(0, 1, (boxes, 2)), RNG.uniform(0.2, 0.5, (boxes, 2))
    anchors = Const(np.concatenate([centres, sizes], 1).astype(np.float32))
    options = bytes(flexbuffers.Dumps({**OPTIONS, **more}))
    return Case(
        "TFLite_Detection_PostProcess", encodings, scores, anchors, custom=options, outputs=("float32",) * 4
    )  # fmt: skip


DETECTIONS = [
    detections(40),
    detections(40, background=0),
    detections(40, max_detections=40),
    detections(40, max_classes_per_detection=2, max_detections=40),
    detections(40, max_classes_per_detection=2, max_detections=4),
    detections(30, use_regular_nms=True),
    detections(30, use_regular_nms=True, detections_per_class=2, nms_iou_threshold=0.6),
    detections(30, use_regular_nms=True, nms_score_threshold=0.9),
    detections(1, max_detections=3),
]


@pytest.mark.parametrize("number", range(len(DETECTIONS)))
def test_detection_post_process(number: int, tmp_path: Path) -> None:
    case = DETECTIONS[number]
    boxes, kinds, scores, count = check_counted(case, tmp_path)
    assert boxes.shape[1] == kinds.shape[1] == scores.shape[1] >= count


def check_counted(case: Case, folder: Path) -> list[np.ndarray]:
    """As `check`; LiteRT leaves unused places of the fast way as they were in memory."""
    path, feeds = folder / "m.tflite", feeds_of(case)
    case.build([()] * 4).save(path)
    wanted = litert(path, feeds)
    graph = import_tflite(path)
    found = [run_graph(graph, dict(zip(graph.inputs, feeds, strict=True)))[name] for name in graph.outputs]
    used = int(wanted[3][0]) * flexbuffers.Loads(case.custom)["max_classes_per_detection"]
    assert found[3] == wanted[3] and [f.shape for f in found] == [w.shape for w in wanted]
    for got, want in zip(found[:3], wanted[:3], strict=True):
        np.testing.assert_allclose(got[:, :used], want[:, :used], rtol=1e-5, atol=1e-6)
    return found


def suppression(version: str, limit: int, overlap: float, least: float, sigma: float = 0.0) -> Case:
    corners = RNG.uniform(0, 1, (30, 2))
    boxes = np.concatenate([corners, corners + RNG.uniform(0.1, 0.5, (30, 2))], 1).astype(np.float32)
    scores = RNG.uniform(0, 1, 30).astype(np.float32)
    inputs = [boxes, scores, Const(limit), Const(overlap, "float32"), Const(least, "float32")]
    if version == "V4":
        return Case("NON_MAX_SUPPRESSION_V4", *inputs, outputs=("int32", "int32"))
    sigmas = [Const(sigma, "float32")]
    return Case("NON_MAX_SUPPRESSION_V5", *inputs, *sigmas, outputs=("int32", "float32", "int32"))


@pytest.mark.parametrize(
    "case",
    [
        suppression("V4", 10, 0.3, 0.2),
        suppression("V4", 40, 0.5, 0.0),
        suppression("V5", 10, 0.4, 0.1),
        suppression("V5", 20, 0.9, 0.1, sigma=0.5),
        suppression("V5", 20, 1.0, 0.3, sigma=0.2),
    ],
    ids=lambda case: f"{case.op}-{'-'.join(str(given.value) for given in case.inputs[2:])}",
)
def test_non_max_suppression(case: Case, tmp_path: Path) -> None:
    check(case, tmp_path, rtol=1e-5)


@pytest.mark.parametrize("options", [b"", b"\x00", b"\xff" * 40, bytes(flexbuffers.Dumps([1, 2]))])
def test_damaged_options_are_refused(options: bytes, tmp_path: Path) -> None:
    case = DETECTIONS[0]
    m = Case(case.op, *case.inputs, outputs=case.outputs, custom=options).build([(1, 6, 4), (1, 6), (1, 6), (1,)])
    assert isinstance(m, FlatModel)
    assert check_tflite(m.save(tmp_path / "m.tflite"))
