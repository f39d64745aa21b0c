"""Poolings against ONNX Runtime."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from edgert.kernels_cpu.reference.pool import window_counts
from edgert.kernels_cpu.reference.window import window

rng = np.random.default_rng(2)

WINDOWS: dict[str, tuple[tuple[int, ...], dict[str, Any]]] = {
    "2x2": ((1, 3, 6, 6), {"kernel_shape": [2, 2], "strides": [2, 2]}),
    "overlap and pads": ((2, 2, 7, 8), {"kernel_shape": [3, 3], "strides": [2, 1], "pads": [1, 1, 0, 1]}),
    "ceil_mode": ((1, 2, 6, 9), {"kernel_shape": [3, 2], "strides": [2, 2], "ceil_mode": 1}),
    "ceil_mode and pads": (
        (1, 2, 7, 8), {"kernel_shape": [3, 3], "strides": [3, 3], "pads": [1, 1, 1, 1], "ceil_mode": 1}
    ),
    "ceil_mode drops a window in the pad": (
        (1, 1, 5, 4), {"kernel_shape": [1, 2], "strides": [3, 3], "pads": [0, 1, 0, 1], "ceil_mode": 1}
    ),
    "same upper": ((1, 2, 7, 6), {"kernel_shape": [3, 2], "strides": [2, 2], "auto_pad": "SAME_UPPER"}),
    "same lower": ((1, 2, 7, 6), {"kernel_shape": [2, 3], "strides": [2, 2], "auto_pad": "SAME_LOWER"}),
    "dilations": ((1, 2, 9, 9), {"kernel_shape": [2, 3], "dilations": [3, 2]}),
    "one axis": ((2, 3, 11), {"kernel_shape": [4], "strides": [3], "pads": [1, 2]}),
    "three axes": ((1, 2, 4, 5, 6), {"kernel_shape": [2, 2, 3], "strides": [2, 1, 3]}),
    "one pixel": ((1, 1, 1, 1), {"kernel_shape": [1, 1]}),
    "no images": ((0, 2, 4, 4), {"kernel_shape": [2, 2]}),
}  # fmt: skip


@pytest.mark.parametrize("case", WINDOWS)
@pytest.mark.parametrize("dtype", ["float32", "uint8", "int8"])
@pytest.mark.parametrize("storage_order", [0, 1])
def test_max_pool(agrees: Callable[..., None], case: str, dtype: str, storage_order: int) -> None:
    shape, attrs = WINDOWS[case]
    x = rng.integers(-9 if dtype != "uint8" else 0, 100, shape).astype(dtype)
    # ONNX Runtime swaps the first spatial axis with the last; the specification speaks of two axes only.
    order = storage_order if len(shape) == 4 else 0
    agrees("MaxPool", [x], {**attrs, "storage_order": order}, outputs=2)


@pytest.mark.parametrize("case", WINDOWS)
@pytest.mark.parametrize("count_include_pad", [0, 1])
def test_average_pool(agrees: Callable[..., None], case: str, count_include_pad: int) -> None:
    shape, attrs = WINDOWS[case]
    x = rng.standard_normal(shape).astype(np.float32)
    agrees("AveragePool", [x], {**attrs, "count_include_pad": count_include_pad})


@pytest.mark.parametrize("case", ["2x2", "overlap and pads", "same upper", "one axis", "three axes"])
@pytest.mark.parametrize("p", [1, 2, 3])
def test_lp_pool(agrees: Callable[..., None], case: str, p: int) -> None:
    shape, attrs = WINDOWS[case]
    agrees("LpPool", [rng.standard_normal(shape).astype(np.float32)], {**attrs, "p": p})


@pytest.mark.parametrize("op", ["GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool"])
@pytest.mark.parametrize("shape", [(2, 3, 5, 4), (1, 2, 7), (1, 2, 1, 1), (0, 2, 3, 3), (1, 2, 2, 3, 4)])
def test_global_pools(agrees: Callable[..., None], op: str, shape: tuple[int, ...]) -> None:
    agrees(op, [rng.standard_normal(shape).astype(np.float32)])


@pytest.mark.parametrize("count_pad", [False, True])
@pytest.mark.parametrize("seed", range(20))
def test_counts_are_those_of_windows_of_ones(seed: int, count_pad: bool) -> None:
    """As many as there are ones under the window, be it dilated, over the edge or past it."""
    rng = np.random.default_rng(seed)
    spatial, kernel = rng.integers(4, 12, 2).tolist(), rng.integers(1, 4, 2).tolist()
    attrs = {"strides": rng.integers(1, 4, 2).tolist(), "dilations": rng.integers(1, 3, 2).tolist(),
             "pads": rng.integers(0, 3, 4).tolist(), "ceil_mode": seed % 2}  # fmt: skip
    win = window([n + 6 for n in spatial], kernel, attrs)
    ones = np.pad(np.ones([n + 6 for n in spatial]), list(zip(win.before, win.after, strict=True)),
                  constant_values=float(count_pad))  # fmt: skip
    ones = np.pad(ones, [(0, h) for h in win.overhang([n + 6 for n in spatial])])
    expected = sum(ones[region] for region in win.taps())
    np.testing.assert_array_equal(window_counts([n + 6 for n in spatial], win, count_pad=count_pad), expected)


def test_counts_of_large_windows_take_no_time() -> None:
    """A step for every value of the window would be sixteen million."""
    win = window([4096, 4096], [4096, 4096], {"pads": [1, 1, 1, 1]})
    assert window_counts([4096, 4096], win, count_pad=False)[0, 0] == 4095**2
