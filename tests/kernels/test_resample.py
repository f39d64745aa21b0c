"""Resize by any scales, in rows and in planes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from offers import check


@pytest.mark.parametrize("attrs", [
    {"mode": "linear"}, {"mode": "linear", "coordinate_transformation_mode": "align_corners"},
    {"mode": "linear", "coordinate_transformation_mode": "asymmetric"}, {"mode": "cubic"},
    {"mode": "cubic", "cubic_coeff_a": -0.5, "exclude_outside": 1}, {"mode": "linear", "antialias": 1},
    {"mode": "nearest", "nearest_mode": "floor"},
])  # fmt: skip
@pytest.mark.parametrize(("shape", "sizes"), [
    ((1, 3, 5, 7), (1, 3, 10, 14)), ((2, 2, 9, 40), (2, 2, 4, 65)), ((1, 5, 8, 3), (1, 5, 3, 33)),
    ((1, 2, 6, 6), (1, 2, 6, 11)), ((1, 2, 6, 6), (1, 2, 13, 6)),
])  # fmt: skip
def test_planes(
    attrs: dict[str, Any], shape: tuple[int, ...], sizes: tuple[int, ...], rng: np.random.Generator
) -> None:
    wanted = np.array(sizes, np.int64)
    x = rng.standard_normal(shape).astype(np.float32)
    offers = check("Resize", [x, None, None, wanted], attrs=attrs, constants={3: wanted}, rtol=1e-5, atol=1e-6, least=2)
    assert {o.in_layouts[0] for o in offers} == {"row", "kp"}


@pytest.mark.parametrize(("shape", "sizes"), [
    ((3, 7), (5, 4)), ((9,), (20,)), ((2, 3, 4, 5, 6), (2, 3, 7, 3, 9)), ((4, 3, 5), (2, 6, 5)),
    ((2, 4, 9), (2, 4, 17)),
])  # fmt: skip
def test_any_rank(shape: tuple[int, ...], sizes: tuple[int, ...], rng: np.random.Generator) -> None:
    wanted = np.array(sizes, np.int64)
    x = rng.standard_normal(shape).astype(np.float32)
    check("Resize", [x, None, None, wanted], attrs={"mode": "linear"}, constants={3: wanted}, rtol=1e-5, atol=1e-6)


def test_scales_that_are_no_whole_numbers(rng: np.random.Generator) -> None:
    scales = np.array([1, 1, 0.6, 2.3], np.float32)
    x = rng.standard_normal((1, 4, 10, 10)).astype(np.float32)
    for mode in ("linear", "cubic", "nearest"):
        check("Resize", [x, None, scales], attrs={"mode": mode}, constants={2: scales}, rtol=1e-5, atol=1e-6)


def test_a_region_of_its_own_is_refused() -> None:
    scales, roi = np.array([1, 1, 2, 2], np.float32), np.array([0, 0, 0.2, 0.2, 1, 1, 0.8, 0.8], np.float32)
    attrs = {"mode": "linear", "coordinate_transformation_mode": "tf_crop_and_resize"}
    with pytest.raises(AssertionError, match="a region of its own"):
        check("Resize", [np.zeros((1, 1, 3, 3), np.float32), roi, scales], attrs=attrs, constants={1: roi, 2: scales})
