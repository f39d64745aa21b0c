"""Conv, ConvTranspose and ConvInteger against ONNX Runtime, and what only this IR has: residual, activation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from edgert.errors import UnsupportedError
from edgert.kernels_cpu.reference import evaluate
from edgert.kernels_cpu.reference.window import window

rng = np.random.default_rng(1)


def values(*shape: int) -> Any:
    return rng.standard_normal(shape).astype(np.float32)


CONV = {
    "pointwise": ((1, 5, 7, 3), (4, 5, 1, 1), {}),
    "3x3 pads": ((2, 3, 9, 8), (5, 3, 3, 3), {"pads": [1, 2, 0, 1]}),
    "strides": ((1, 4, 11, 10), (6, 4, 3, 2), {"strides": [2, 3], "pads": [1, 1, 1, 1]}),
    "dilations": ((1, 2, 12, 13), (3, 2, 3, 3), {"dilations": [2, 3]}),
    "groups": ((1, 6, 5, 5), (4, 3, 3, 3), {"group": 2}),
    "depthwise": ((2, 5, 8, 7), (5, 1, 3, 5), {"group": 5, "pads": [1, 2, 1, 2], "strides": [2, 1]}),
    "depthwise, two filters each": ((1, 3, 6, 6), (6, 1, 3, 3), {"group": 3}),
    "same upper": ((1, 3, 8, 7), (2, 3, 3, 4), {"auto_pad": "SAME_UPPER", "strides": [2, 2]}),
    "same lower": ((1, 3, 8, 7), (2, 3, 2, 4), {"auto_pad": "SAME_LOWER", "strides": [1, 2]}),
    "valid": ((1, 3, 8, 7), (2, 3, 3, 3), {"auto_pad": "VALID"}),
    "one axis": ((2, 3, 17), (4, 3, 5), {"pads": [4, 0], "dilations": [2]}),
    "three axes": ((1, 2, 5, 6, 4), (3, 2, 2, 3, 1), {"strides": [1, 2, 3]}),
    "one pixel": ((1, 1, 1, 1), (1, 1, 1, 1), {}),
    "one pixel in a border": ((1, 2, 1, 1), (3, 2, 3, 3), {"pads": [1, 1, 1, 1]}),
    "no images": ((0, 3, 5, 5), (2, 3, 3, 3), {}),
}


@pytest.mark.parametrize("case", CONV)
@pytest.mark.parametrize("bias", [False, True])
def test_conv(agrees: Callable[..., None], case: str, bias: bool) -> None:
    shape, kernel, attrs = CONV[case]
    inputs = [values(*shape), values(*kernel), *([values(kernel[0])] if bias else [])]
    agrees("Conv", inputs, attrs, rtol=1e-4)


TRANSPOSED = {
    "plain": ((1, 3, 4, 5), (3, 2, 3, 3), {}),
    "strides and pads": ((2, 3, 5, 4), (3, 4, 3, 2), {"strides": [2, 3], "pads": [1, 0, 1, 1]}),
    "output_padding": ((1, 2, 4, 4), (2, 3, 3, 3), {"strides": [2, 2], "output_padding": [1, 0]}),
    "output_shape": ((1, 2, 3, 3), (2, 2, 3, 3), {"strides": [3, 2], "output_shape": [10, 8]}),
    "smaller output_shape": ((1, 2, 4, 5), (2, 2, 4, 3), {"strides": [2, 2], "output_shape": [7, 10]}),
    "dilations": ((1, 2, 4, 4), (2, 3, 3, 2), {"dilations": [2, 3]}),
    "groups": ((1, 4, 5, 3), (4, 2, 3, 3), {"group": 2, "strides": [2, 2]}),
    "depthwise": ((1, 4, 5, 3), (4, 1, 2, 2), {"group": 4, "strides": [2, 2]}),
    "same upper": ((1, 3, 5, 4), (3, 2, 3, 3), {"auto_pad": "SAME_UPPER", "strides": [2, 2]}),
    "same lower": ((1, 3, 5, 4), (3, 2, 3, 3), {"auto_pad": "SAME_LOWER", "strides": [2, 2]}),
    "one axis": ((2, 3, 7), (3, 2, 4), {"strides": [2], "pads": [1, 1]}),
    "three axes": ((1, 2, 2, 3, 2), (2, 2, 2, 2, 3), {"strides": [1, 2, 1]}),
}


@pytest.mark.parametrize("case", TRANSPOSED)
def test_conv_transpose(agrees: Callable[..., None], case: str) -> None:
    shape, kernel, attrs = TRANSPOSED[case]
    bias = values(kernel[1] * attrs.get("group", 1))
    agrees("ConvTranspose", [values(*shape), values(*kernel), bias], attrs, rtol=1e-4)


@pytest.mark.parametrize("zero_points", [(), (130,), (130, 3)])
def test_conv_integer(agrees: Callable[..., None], zero_points: tuple[int, ...]) -> None:
    x = rng.integers(0, 256, (1, 3, 6, 7)).astype(np.uint8)
    w = rng.integers(0, 256, (4, 3, 3, 3)).astype(np.uint8)
    agrees("ConvInteger", [x, w, *map(np.uint8, zero_points)], {"pads": [1, 1, 1, 1]})


def test_float16_is_summed_in_float32(agrees: Callable[..., None]) -> None:
    x, w = values(1, 64, 5, 5).astype(np.float16), values(8, 64, 3, 3).astype(np.float16)
    wide = evaluate("Conv", [x.astype(np.float32), w.astype(np.float32)])[0]
    np.testing.assert_array_equal(evaluate("Conv", [x, w])[0], wide.astype(np.float16))


def test_residual_and_activation_follow_the_bias() -> None:
    x, w, b, r = values(1, 3, 4, 4), values(2, 3, 1, 1), values(2), values(1, 2, 4, 4)
    plain = evaluate("Conv", [x, w, b])[0] + r
    clip = {"residual": 1, "activation": "Clip", "clip_min": -0.5, "clip_max": 0.5}
    np.testing.assert_array_equal(evaluate("Conv", [x, w, b, r], clip)[0], np.clip(plain, -0.5, 0.5))
    relu = {"residual": 1, "activation": "Relu"}
    without_bias = np.maximum(evaluate("Conv", [x, w])[0] + r, 0)
    np.testing.assert_array_equal(evaluate("Conv", [x, w, r], relu)[0], without_bias)
    np.testing.assert_array_equal(evaluate("Conv", [x, w, None, r], relu)[0], without_bias)


@pytest.mark.parametrize(
    "attrs",
    [
        {"strides": [0, 1]}, {"strides": [1]}, {"pads": [1, 1]}, {"pads": [-1, 0, 0, 0]}, {"auto_pad": "SAME"},
        {"dilations": [9, 9]}, {"dilations": [0, 1]},
    ],
)  # fmt: skip
def test_a_window_out_of_range_is_refused(attrs: dict[str, Any]) -> None:
    with pytest.raises(UnsupportedError, match="expected"):
        window((5, 5), (3, 3), attrs)
