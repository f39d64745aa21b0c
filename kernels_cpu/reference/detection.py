"""Boxes of detectors, decoded and chosen as TensorFlow Lite does: DetectionPostProcess and NonMaxSuppressionV5.
ONNX's NonMaxSuppression, which chooses per class and batch, has a module of its own."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from edgert.kernels_cpu.reference.registry import Array, Call, reference

Floats = npt.NDArray[np.float32]
Places = npt.NDArray[np.int64]


def overlaps(box: Floats, others: Floats) -> Floats:
    """Intersection over union of `box` [4] with each of `others` [n, 4], corners (y, x, y, x) in any order; 0 where a
    box has no area. Source: Everingham et al. 2010, section 4.2."""
    low, high = np.minimum(box[:2], box[2:]), np.maximum(box[:2], box[2:])
    lows, highs = np.minimum(others[:, :2], others[:, 2:]), np.maximum(others[:, :2], others[:, 2:])
    common = np.prod(np.maximum(np.minimum(high, highs) - np.maximum(low, lows), 0), axis=1, dtype=np.float32)
    area, areas = np.prod(high - low, dtype=np.float32), np.prod(highs - lows, axis=1, dtype=np.float32)
    whole = area + areas - common
    good = (area > 0) & (areas > 0)
    return np.asarray(np.where(good, common / np.where(good, whole, 1), 0), np.float32)


def suppressed(boxes: Floats, scores: Floats, most: int, least: float, overlap: float) -> Places:
    """Positions of at most `most` boxes [n, 4] by falling score [n], of which no two overlap more than `overlap`;
    scores below `least` are left out. Source: TensorFlow Lite, detection_postprocess.cc."""
    left = np.flatnonzero(scores >= least)
    left = left[np.argsort(-scores[left], kind="stable")]
    chosen: list[int] = []
    while left.size and len(chosen) < most:
        chosen.append(int(left[0]))
        left = left[1:][overlaps(boxes[left[0]], boxes[left[1:]]) <= overlap]
    return np.array(chosen, np.int64)


def decoded(encodings: Floats, anchors: Floats, scales: tuple[float, float, float, float]) -> Floats:
    """Boxes [n, 4] (ymin, xmin, ymax, xmax) of encodings and anchors (y, x, h, w).
    Source: Liu et al. 2016 (SSD), equation 2."""
    y, x, h, w = (encodings[:, i] / np.float32(scale) for i, scale in enumerate(scales))
    half = 0.5 * np.exp(np.stack([h, w], 1)) * anchors[:, 2:4]
    centre = np.stack([y, x], 1) * anchors[:, 2:4] + anchors[:, :2]
    return np.concatenate([centre - half, centre + half], 1).astype(np.float32)


@reference("DetectionPostProcess")
def detection_post_process(
    call: Call, encodings: Array, scores: Array, anchors: Array
) -> tuple[Array, Array, Array, Array]:
    """encodings [1, n, 4 or more], scores [1, n, classes, perhaps with a background before them], anchors [n, 4] to
    boxes [1, m, 4], classes [1, m], scores [1, m] and their number [1], all float32; unused places hold zeros.

    m = max_detections * max_classes_per_detection. Fast: boxes suppress each other by their best score, and each
    that stays is given with its best classes. Regular: boxes suppress each other class by class.
    Source: TensorFlow Lite, detection_postprocess.cc.
    """
    classes, most = call.attr_int("num_classes", 1), call.attr_int("max_detections", 1)
    each = call.attr_int("max_classes_per_detection", 1)
    y, x, h, w = (call.attr_float(f"{key}_scale", 1.0) for key in "yxhw")
    boxes = decoded(encodings[0, :, :4], anchors, (y, x, h, w))
    table = scores[0, :, scores.shape[2] - classes :]
    least, overlap = call.attr_float("nms_score_threshold", 0.0), call.attr_float("nms_iou_threshold", 0.5)
    rows: Places
    kinds: Places
    if call.attr_int("use_regular_nms", 0):
        limit = min(call.attr_int("detections_per_class", 100), most)
        kept = [suppressed(boxes, table[:, kind], limit, least, overlap) for kind in range(classes)]
        rows = np.concatenate(kept)
        kinds = np.repeat(np.arange(classes), [len(k) for k in kept])
        order = np.argsort(-table[rows, kinds], kind="stable")[:most]
        rows, kinds, places = rows[order], kinds[order], np.arange(len(order))
        count = len(order)
    else:
        best = np.argsort(-table, axis=1, kind="stable")[:, :each]
        chosen = suppressed(boxes, np.max(table, axis=1, initial=-np.inf), most, least, overlap)
        rows, kinds, count = np.repeat(chosen, best.shape[1]), best[chosen].reshape(-1), len(chosen)
        places = (np.arange(count)[:, None] * each + np.arange(best.shape[1])).reshape(-1)
    shape = (1, most * each)
    out_boxes, out_kinds, out_scores = np.zeros((*shape, 4), np.float32), np.zeros(shape, np.float32), np.zeros(shape)
    out_boxes[0, places], out_kinds[0, places], out_scores[0, places] = boxes[rows], kinds, table[rows, kinds]
    return out_boxes, out_kinds, out_scores.astype(np.float32), np.array([count], np.float32)


@reference("NonMaxSuppressionV5")
def non_max_suppression_v5(
    call: Call, boxes: Array, scores: Array, most: Array, overlap: Array, least: Array, sigma: Array | None = None
) -> tuple[Array, Array, Array]:
    """boxes [n, 4], scores [n] to `most` positions int32, their scores float32, and how many count, int32 []; zeros
    after those. With sigma > 0 a box that overlaps chosen ones loses score, by exp(-iou ** 2 / (2 * sigma)), before
    it is chosen. Source: TensorFlow NonMaxSuppressionV5; Bodla et al. 2017 (Soft-NMS)."""
    limit, threshold, floor = int(most.item()), np.float32(overlap.item()), np.float32(least.item())
    soft = 0.0 if sigma is None else float(sigma.item())
    current = scores.astype(np.float32).copy()
    seen = np.zeros(len(current), np.int64)
    waiting = current > floor
    chosen: list[int] = []
    while len(chosen) < limit and waiting.any():
        at = int(np.argmax(np.where(waiting, current, -np.inf)))
        before = current[at]
        ious = overlaps(boxes[at], boxes[chosen[seen[at] :]])[::-1]
        seen[at] = len(chosen)
        for iou in ious:
            if iou >= threshold:
                waiting[at] = False
                break
            if soft > 0:
                current[at] *= np.exp(np.float32(-0.5 / soft) * iou * iou)
            if current[at] <= floor:
                waiting[at] = False
                break
        if waiting[at] and current[at] == before:
            chosen.append(at)
            waiting[at] = False
    places, values = np.zeros(limit, np.int32), np.zeros(limit, np.float32)
    places[: len(chosen)], values[: len(chosen)] = chosen, current[chosen]
    return places, values, np.array(len(chosen), np.int32)
