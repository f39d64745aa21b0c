"""Sampling at computed positions and pooling over regions against ONNX Runtime."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from edgert.errors import InputError
from edgert.kernels_cpu.reference import evaluate

Agrees = Callable[..., None]


def normal(*shape: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def grid(*shape: int) -> Any:
    return np.random.default_rng(3).uniform(-1.4, 1.4, shape).astype(np.float32)


@pytest.mark.parametrize("mode", ["linear", "nearest", "cubic"])
@pytest.mark.parametrize("padding", ["zeros", "border", "reflection"])
@pytest.mark.parametrize("align", [0, 1])
def test_grid_sample(agrees: Agrees, mode: str, padding: str, align: int) -> None:
    attrs = {"mode": mode, "padding_mode": padding, "align_corners": align}
    agrees("GridSample", [normal(2, 3, 5, 4), grid(2, 6, 7, 2)], attrs, rtol=1e-4)
    if mode != "cubic":
        agrees("GridSample", [normal(2, 3, 5, 4, 3), grid(2, 4, 3, 2, 3)], attrs, rtol=1e-4)


def test_grid_sample_of_one_value(agrees: Agrees) -> None:
    for align in (0, 1):
        for padding in ("zeros", "border"):
            attrs = {"align_corners": align, "padding_mode": padding}
            agrees("GridSample", [normal(1, 2, 1, 3), grid(1, 4, 4, 2)], attrs, rtol=1e-4)


def test_positions_that_are_no_numbers_read_nothing_outside() -> None:
    places = np.full((1, 2, 2, 2), np.nan, np.float32)
    places[0, 0] = np.inf
    for mode in ("linear", "nearest", "cubic"):
        for padding in ("zeros", "border", "reflection"):
            (y,) = evaluate("GridSample", [normal(1, 1, 3, 3), places], {"mode": mode, "padding_mode": padding})
            assert y.shape == (1, 1, 2, 2)


@pytest.mark.parametrize("align", [0, 1])
@pytest.mark.parametrize("size", [(2, 3, 4, 5), (2, 1, 3, 4, 5)])
def test_affine_grid(agrees: Agrees, align: int, size: tuple[int, ...]) -> None:
    rank = len(size) - 2
    agrees("AffineGrid", [normal(2, rank, rank + 1), np.array(size, np.int64)], {"align_corners": align})


@pytest.mark.parametrize(("attrs", "out"), [
    ({}, (4, 3)), ({"pads": [1, 1, 1, 1], "strides": [2, 1]}, (3, 5)), ({"dilations": [2, 1]}, (3, 3)),
])  # fmt: skip
def test_deform_conv(agrees: Agrees, attrs: dict[str, Any], out: tuple[int, int]) -> None:
    x, w = normal(2, 4, 5, 5), normal(6, 4, 2, 3, seed=1)
    offset, mask = 0.7 * normal(2, 12, *out, seed=2), normal(2, 6, *out, seed=3)
    agrees("DeformConv", [x, w, offset], attrs, opset=19, rtol=1e-4)
    agrees("DeformConv", [x, w, offset, normal(6), mask], attrs, opset=19, rtol=1e-4)


def test_deform_conv_in_groups(agrees: Agrees) -> None:
    x, w = normal(2, 4, 5, 5), normal(6, 2, 2, 2, seed=1)
    offset, mask = normal(2, 16, 4, 4, seed=2), normal(2, 8, 4, 4, seed=3)
    agrees("DeformConv", [x, w, offset, None, mask], {"group": 2, "offset_group": 2}, opset=19, rtol=1e-4)


ROIS = np.array([[0, 0, 7, 5], [1.5, 2.25, 6, 4], [-2, -3, 4, 9], [3, 3, 3, 3], [5, 4, 1, 2]], np.float32)


@pytest.mark.parametrize("mode", ["avg", "max"])
@pytest.mark.parametrize("coordinates", ["half_pixel", "output_half_pixel"])
@pytest.mark.parametrize("ratio", [0, 2])
def test_roi_align(agrees: Agrees, mode: str, coordinates: str, ratio: int) -> None:
    attrs = {
        "mode": mode, "coordinate_transformation_mode": coordinates, "sampling_ratio": ratio, "output_height": 3,
        "output_width": 2, "spatial_scale": 0.75,
    }  # fmt: skip
    images = np.array([0, 1, 1, 0, 1], np.int64)
    rois = ROIS if coordinates == "output_half_pixel" or ratio else ROIS[:4]  # a negative size has no samples
    agrees("RoiAlign", [normal(2, 3, 6, 8), rois, images[: len(rois)]], attrs, opset=16, rtol=1e-4)


def test_max_roi_pool(agrees: Agrees) -> None:
    rois = np.concatenate([np.array([[0], [1], [1], [0], [1]], np.float32), ROIS], axis=1)
    agrees("MaxRoiPool", [normal(2, 3, 6, 8), rois], {"pooled_shape": [2, 3], "spatial_scale": 0.75}, rtol=0)


def test_images_that_are_not_there() -> None:
    for op, rois, more in [
        ("RoiAlign", ROIS[:1], [np.array([2])]),
        ("MaxRoiPool", np.array([[-1, 0, 0, 1, 1]], np.float32), []),
    ]:
        with pytest.raises(InputError, match="expected images"):
            evaluate(op, [normal(2, 1, 4, 4), rois, *more], {"pooled_shape": [1, 1]})


def boxes(seed: int, center: bool) -> Any:
    rng = np.random.default_rng(seed)
    first, size = rng.uniform(0, 4, (2, 30, 2)), rng.uniform(0.5, 3, (2, 30, 2))
    flip = rng.random((2, 30, 1)) < 0.3
    other = first + size
    low, high = np.where(flip, other, first), np.where(flip, first, other)
    return np.concatenate([first, size] if center else [low, high], axis=2).astype(np.float32)


@pytest.mark.parametrize("center", [0, 1])
def test_non_max_suppression(agrees: Agrees, center: int) -> None:
    scores = np.round(np.random.default_rng(7).random((2, 3, 30)), 1).astype(np.float32)  # with equal scores
    most = np.array([9], np.int64)
    for overlap, least in ((0.0, 0.0), (0.4, 0.25), (1.0, 0.9), (0.5, 1.5)):
        limits = [most, np.array([overlap], np.float32), np.array([least], np.float32)]
        agrees("NonMaxSuppression", [boxes(5, bool(center)), scores, *limits], {"center_point_box": center})
    agrees("NonMaxSuppression", [boxes(5, bool(center)), scores - 1, most], {"center_point_box": center})
    agrees("NonMaxSuppression", [boxes(5, bool(center)), scores], {"center_point_box": center})


def test_col2im(agrees: Agrees) -> None:
    image, block = np.array([5, 6], np.int64), np.array([2, 3], np.int64)
    for attrs, places in (
        ({}, 4 * 4), ({"pads": [1, 0, 1, 2], "strides": [2, 1]}, 3 * 6), ({"dilations": [2, 2]}, 3 * 2),
    ):  # fmt: skip
        agrees("Col2Im", [normal(2, 12, places), image, block], attrs)


def test_max_unpool(agrees: Agrees) -> None:
    x = normal(2, 2, 4, 6)
    attrs = {"kernel_shape": [2, 2], "strides": [2, 2]}
    y, places = evaluate("MaxPool", [x], attrs, dtype_out=["float32", "int64"])
    agrees("MaxUnpool", [y, places], attrs)
    larger = np.pad(evaluate("MaxUnpool", [y, places], attrs)[0], [(0, 0), (0, 0), (0, 1), (0, 2)])
    agrees("MaxUnpool", [y, places, np.array([2, 2, 5, 8], np.int64)], attrs, expected=[larger])
    with pytest.raises(InputError, match="expected indices"):
        evaluate("MaxUnpool", [y, places + 1000], attrs)


@pytest.mark.parametrize(("ratio", "corner"), [(1 << 30, 3), (0, 1e9), (0, np.inf), (0, np.nan)])
def test_regions_of_any_size_are_refused(ratio: int, corner: float) -> None:
    """By default a region is sampled as often as it has pixels."""
    rois = np.array([[0, 0, corner, corner]], np.float32)
    with pytest.raises(InputError, match="points in a region"):
        evaluate("RoiAlign", [normal(1, 1, 4, 4), rois, np.array([0])], {"sampling_ratio": ratio})
