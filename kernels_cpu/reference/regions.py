"""Pooling over regions of an image and the choice among boxes: RoiAlign, MaxRoiPool, NonMaxSuppression.
Sampling at any positions is in `sampling.py`, pooling over a sliding window in `pool.py`."""

from __future__ import annotations

import numpy as np

from edgert.errors import InputError
from edgert.kernels_cpu.reference.activation import widened
from edgert.kernels_cpu.reference.registry import Array, Call, reference
from edgert.kernels_cpu.reference.resize import choice

POOLINGS = ("avg", "max")
MAX_POINTS = 1 << 22
"""Sampled in one region: by default as many as it has pixels, and a region may claim any size."""

COORDINATES = ("half_pixel", "output_half_pixel")


def image_index(call: Call, index: Array, images: int) -> Array:
    """`index` of images. Raises InputError where one is outside [0, images)."""
    if index.size and (index.min() < 0 or index.max() >= images):
        raise InputError(f"{call.op}: expected images in [0, {images}), found {index.min()} to {index.max()}")
    return index


def _line(start: float, step: float, bins: int, samples: int, size: int) -> tuple[Array, Array]:
    """(indices, weights), each [2, bins * samples], of linear interpolation at `samples` evenly spaced points in
    each of `bins` bins on an axis of `size`. Points more than one value outside weigh nothing."""
    at = np.float32(start) + (np.arange(bins * samples, dtype=np.float32) + np.float32(0.5)) * np.float32(
        step / samples
    )
    inside = (at >= -1) & (at <= size)
    at = np.clip(at, 0, size - 1)
    low = np.floor(at)
    index = np.stack([low, np.minimum(low + 1, size - 1)]).astype(np.int64)
    return index, np.stack([1 - (at - low), at - low]) * inside


@reference("RoiAlign")
def roi_align(call: Call, x: Array, rois: Array, batch_indices: Array) -> Array:
    """x [B, C, H, W] sampled linearly in a grid of bins over each of rois [R, 4] (x1, y1, x2, y2, times
    spatial_scale) and averaged, or their largest weighted corner taken, per bin; [R, C, output_height,
    output_width]. Source: ONNX RoiAlign-16; He et al. 2017, section 3."""
    half = choice(call.attrs, "coordinate_transformation_mode", COORDINATES) == "half_pixel"
    height, width = call.attr_int("output_height", 1), call.attr_int("output_width", 1)
    largest, ratio = choice(call.attrs, "mode", POOLINGS) == "max", call.attr_int("sampling_ratio", 0)
    image, channels = widened(x), x.shape[1]
    scaled = widened(rois) * np.float32(call.attr_float("spatial_scale", 1.0)) - np.float32(0.5 if half else 0)
    y = np.zeros((len(rois), channels, height, width), image.dtype)
    for r, b in enumerate(image_index(call, batch_indices, x.shape[0])):
        lines, points_in_all = [], 1
        for axis, bins in ((1, height), (0, width)):
            length = scaled[r, axis + 2] - scaled[r, axis]
            step = (length if half else max(length, np.float32(1))) / np.float32(bins)
            samples = ratio or (max(int(np.ceil(step)), 0) if np.isfinite(step) else MAX_POINTS + 1)
            points_in_all *= max(bins * samples, 1)
            if points_in_all > MAX_POINTS:
                raise InputError(
                    f"RoiAlign: expected at most {MAX_POINTS} points in a region, found {rois[r].tolist()}"
                )
            lines.append((samples, *_line(scaled[r, axis], step, bins, max(samples, 1), x.shape[3 - axis])))
        (rows, row_index, row_weight), (columns, column_index, column_weight) = lines
        if not rows or not columns:
            continue
        corners = np.stack([
            image[b][:, row_index[i][:, None], column_index[j]]
            * (row_weight[i][:, None] * column_weight[j]).astype(image.dtype)
            for i in (0, 1) for j in (0, 1)
        ])  # fmt: skip
        points = corners.max(axis=0) if largest else corners.sum(axis=0)
        points = points.reshape(channels, height, rows, width, columns)
        y[r] = points.max(axis=(2, 4)) if largest else points.mean(axis=(2, 4))
    return y.astype(x.dtype)


@reference("MaxRoiPool")
def max_roi_pool(call: Call, x: Array, rois: Array) -> Array:
    """The largest value of x [B, C, H, W] in each bin of a grid of pooled_shape over each of rois [R, 5] (batch
    index, x1, y1, x2, y2, times spatial_scale, both ends included); 0 in a bin without values. Source: ONNX
    MaxRoiPool; Girshick 2015, section 2.1."""
    sizes = call.attr_ints("pooled_shape", [])
    images = image_index(call, rois[:, 0].astype(np.int64), x.shape[0])
    scaled = widened(rois)[:, 1:] * np.float32(call.attr_float("spatial_scale", 1.0))
    corners = np.copysign(np.floor(np.abs(scaled) + 0.5), scaled).astype(np.int64)  # halves away from 0
    y = np.zeros((len(rois), x.shape[1], *sizes), x.dtype)
    for r, (x1, y1, x2, y2) in enumerate(corners):
        edges = []
        for start, end, bins, size in ((y1, y2, sizes[0], x.shape[2]), (x1, x2, sizes[1], x.shape[3])):
            step = np.float32(max(end - start + 1, 1)) / np.float32(bins)
            lows = np.floor(np.arange(bins, dtype=np.float32) * step).astype(np.int64) + start
            highs = np.ceil(np.arange(1, bins + 1, dtype=np.float32) * step).astype(np.int64) + start
            edges.append(list(zip(np.clip(lows, 0, size), np.clip(highs, 0, size), strict=True)))
        for i, (top, bottom) in enumerate(edges[0]):
            for j, (left, right) in enumerate(edges[1]):
                if bottom > top and right > left:
                    y[r, :, i, j] = x[images[r], :, top:bottom, left:right].max(axis=(1, 2))
    return y


def box_corners(boxes: Array, center: bool) -> Array:
    """Boxes [N, 4] as (low, low, high, high): from [y1, x1, y2, x2], any diagonal, or centre and size."""
    if center:
        half = boxes[:, 2:] / 2
        return np.concatenate([boxes[:, :2] - half, boxes[:, :2] + half], axis=1)
    return np.concatenate([np.minimum(boxes[:, :2], boxes[:, 2:]), np.maximum(boxes[:, :2], boxes[:, 2:])], axis=1)


def greedy(corners: Array, scores: Array, most: int, threshold: float) -> Array:
    """Indices of at most `most` of the boxes `corners` [N, 4], best score first (of equal ones the first), each
    of which overlaps no better chosen one by an intersection over union above `threshold`."""
    order = np.argsort(-scores, kind="stable")
    areas = np.prod(corners[:, 2:] - corners[:, :2], axis=1)
    chosen: list[int] = []
    while order.size and len(chosen) < most:
        best, order = order[0], order[1:]
        chosen.append(int(best))
        overlap = np.minimum(corners[best, 2:], corners[order, 2:]) - np.maximum(corners[best, :2], corners[order, :2])
        common = np.prod(np.maximum(overlap, 0), axis=1)
        union = areas[best] + areas[order] - common
        order = order[~((common > 0) & (union > 0) & (common / np.where(union > 0, union, 1) > threshold))]
    return np.array(chosen, np.int64)


@reference("NonMaxSuppression")
def non_max_suppression(
    call: Call,
    boxes: Array,
    scores: Array,
    most: Array | None = None,
    overlap: Array | None = None,
    least: Array | None = None,
) -> Array:
    """int64 [selected, 3] (batch, class, box) of boxes [B, N, 4] by scores [B, C, N]: for each class at most
    `most` (0) boxes with scores above `least`, best first, none overlapping a better one by more than `overlap`
    (0). Source: ONNX NonMaxSuppression-11."""
    count = 0 if most is None else max(int(most.item()), 0)
    limit = boxes.dtype.type(0 if overlap is None else overlap.item())
    found = [np.zeros((0, 3), np.int64)]
    for b in range(boxes.shape[0] if count else 0):
        corners = box_corners(boxes[b], bool(call.attr_int("center_point_box", 0)))
        for c in range(scores.shape[1]):
            kept = np.arange(boxes.shape[1]) if least is None else np.flatnonzero(scores[b, c] > least.item())
            chosen = kept[greedy(corners[kept], scores[b, c, kept], count, limit)]
            found.append(np.stack([np.full_like(chosen, b), np.full_like(chosen, c), chosen], axis=1))
    return np.concatenate(found)
