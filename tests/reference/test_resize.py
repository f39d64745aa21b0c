"""Resize against ONNX Runtime over modes, coordinate transformations and sizes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from edgert.errors import UnsupportedError
from edgert.kernels_cpu.reference import evaluate
from edgert.kernels_cpu.reference.resize import COORDINATES, NEAREST, resized

rng = np.random.default_rng(5)
IMAGE = rng.standard_normal((2, 3, 5, 7)).astype(np.float32)
TARGETS = {
    "up": {"scales": [1, 1, 2, 3]},
    "uneven": {"scales": [1, 1, 1.7, 2.3]},
    "down": {"scales": [1, 1, 0.6, 0.5]},
    "sizes": {"sizes": [2, 3, 9, 4]},
    "to one": {"sizes": [2, 3, 1, 1]},
}


def inputs(x: Any, target: dict[str, list[float]], roi: Any = None) -> list[Any]:
    if "sizes" in target:
        return [x, roi, None, np.asarray(target["sizes"], np.int64)]
    return [x, roi, np.asarray(target["scales"], np.float32)]


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("coordinates", [c for c in COORDINATES if c != "tf_crop_and_resize"])
@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
def test_modes(agrees: Callable[..., None], mode: str, coordinates: str, target: str) -> None:
    attrs = {"mode": mode, "coordinate_transformation_mode": coordinates}
    agrees("Resize", inputs(IMAGE, TARGETS[target]), attrs, opset=19, rtol=1e-4)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("nearest", NEAREST)
def test_nearest_modes(agrees: Callable[..., None], nearest: str, target: str) -> None:
    attrs = {"mode": "nearest", "nearest_mode": nearest, "coordinate_transformation_mode": "asymmetric"}
    agrees("Resize", inputs(IMAGE, TARGETS[target]), attrs, opset=19)
    agrees("Resize", inputs((IMAGE * 20).astype(np.uint8), TARGETS[target]), attrs, opset=19)


@pytest.mark.parametrize("attrs", [{"cubic_coeff_a": -0.5}, {"exclude_outside": 1}])
def test_cubic_attributes(agrees: Callable[..., None], attrs: dict[str, Any]) -> None:
    agrees("Resize", inputs(IMAGE, TARGETS["uneven"]), {"mode": "cubic", **attrs}, opset=19, rtol=1e-4)


@pytest.mark.parametrize("mode", ["nearest", "linear"])
def test_crop_and_resize(agrees: Callable[..., None], mode: str) -> None:
    roi = np.array([0, 0, 0.4, -0.2, 1, 1, 1.3, 0.8], np.float32)
    attrs = {
        "mode": mode, "coordinate_transformation_mode": "tf_crop_and_resize", "extrapolation_value": 9.0,
    }  # fmt: skip
    agrees("Resize", inputs(IMAGE, {"sizes": [2, 3, 4, 5]}, roi), attrs, opset=19, rtol=1e-4)


@pytest.mark.parametrize("policy", ["not_larger", "not_smaller"])
def test_aspect_ratio_and_axes(agrees: Callable[..., None], policy: str) -> None:
    attrs = {"keep_aspect_ratio_policy": policy, "axes": [2, 3], "mode": "linear"}
    agrees("Resize", inputs(IMAGE, {"sizes": [9, 10]}), attrs, opset=19, rtol=1e-4)


@pytest.mark.parametrize("axes", [[3], [3, 2]])
def test_some_axes(agrees: Callable[..., None], axes: list[int]) -> None:
    scales = [2.5, 1.5][: len(axes)]
    agrees("Resize", inputs(IMAGE, {"scales": scales}), {"axes": axes, "mode": "linear"}, opset=19, rtol=1e-4)


@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (1, 2, 1, 6)])
def test_small_images(agrees: Callable[..., None], shape: tuple[int, ...]) -> None:
    x = rng.standard_normal(shape).astype(np.float32)
    for mode in ("nearest", "linear", "cubic"):
        agrees("Resize", inputs(x, {"scales": [1, 1, 2, 2]}), {"mode": mode}, opset=19, rtol=1e-4)


@pytest.mark.parametrize("mode", ["linear", "cubic"])
def test_antialiasing_keeps_a_constant_and_widens_the_filter(mode: str) -> None:
    attrs = {"mode": mode, "antialias": 1}
    flat = np.full((1, 1, 9, 9), 3.0, np.float32)
    (y,) = evaluate("Resize", [flat, None, np.array([1, 1, 0.4, 0.4], np.float32)], attrs)
    np.testing.assert_allclose(y, np.full((1, 1, 3, 3), 3.0), rtol=1e-6)
    impulse = np.zeros((1, 1, 1, 8), np.float32)
    impulse[..., 3] = 1
    (y,) = evaluate("Resize", [impulse, None, np.array([1, 1, 1, 0.25], np.float32)], attrs)
    assert np.count_nonzero(y) == 2, "every input value reaches an output"


@pytest.mark.parametrize(
    ("scales", "sizes"), [(None, None), ([1, 1, 2], None), ([1, 1, 0, 1], None), ([1] * 4, [1] * 4)]
)
def test_bad_targets_are_refused(scales: Any, sizes: Any) -> None:
    given = [None if v is None else np.asarray(v, np.float32) for v in (scales, sizes)]
    with pytest.raises(UnsupportedError, match="positive scales or sizes"):
        resized((1, 1, 4, 4), {}, *given)
