"""Pooling on every ISA level, against the reference: bytes exactly, floats to rounding."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from offers import check, offers_for, quantization, site_of

from edgert.graph.ir import TensorType
from edgert.kernels_cpu.levels import host_levels
from edgert.kernels_cpu.reference import evaluate

WINDOWS: list[tuple[tuple[int, ...], dict[str, Any]]] = [
    ((1, 4, 6, 6), {"kernel_shape": [2, 2], "strides": [2, 2]}),
    ((2, 5, 7, 9), {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}),
    ((1, 3, 7, 33), {"kernel_shape": [3, 2], "strides": [1, 1]}),
    ((1, 3, 8, 40), {"kernel_shape": [3, 3], "strides": [3, 3], "ceil_mode": 1}),
    ((1, 8, 9, 9), {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1, "pads": [0, 0, 1, 1]}),
    ((1, 4, 11, 17), {"kernel_shape": [2, 3], "dilations": [2, 2], "pads": [1, 2, 1, 2]}),
    ((1, 4, 20), {"kernel_shape": [4], "strides": [2], "auto_pad": "SAME_UPPER"}),
    ((1, 4, 1, 1), {"kernel_shape": [1, 1]}),
    ((1, 4, 13, 13), {"kernel_shape": [5, 5], "strides": [1, 1], "pads": [2, 2, 2, 2]}),
    ((1, 18, 40, 65), {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}),
]
QUANT, OUT = quantization(0.02, 77), quantization(0.017, 90)


@pytest.mark.parametrize(("shape", "attrs"), WINDOWS)
def test_max_pool(shape: tuple[int, ...], attrs: dict[str, Any], rng: np.random.Generator) -> None:
    check("MaxPool", [rng.standard_normal(shape).astype(np.float32)], attrs=attrs)
    x = rng.integers(0, 256, shape).astype(np.uint8)
    check("MaxPool", [x], attrs=attrs, quants={0: QUANT}, out_quant=QUANT)


@pytest.mark.parametrize(("shape", "attrs"), WINDOWS)
@pytest.mark.parametrize("count_pad", [0, 1])
def test_average_pool(shape: tuple[int, ...], attrs: dict[str, Any], count_pad: int, rng: np.random.Generator) -> None:
    if "dilations" in attrs and count_pad:
        return
    attrs = {**attrs, "count_include_pad": count_pad}
    check("AveragePool", [rng.standard_normal(shape).astype(np.float32)], attrs=attrs, rtol=1e-5, atol=1e-6)
    x = rng.integers(0, 256, shape).astype(np.uint8)
    check("QLinearAveragePool", [x], attrs=attrs, quants={0: QUANT}, out_quant=OUT, out_dtype="uint8")
    for centre in (0, 128):
        away = {**attrs, "half_away_from": centre, "activation": "Relu"}
        check("QLinearAveragePool", [x], attrs=away, quants={0: QUANT}, out_quant=QUANT, out_dtype="uint8")


@pytest.mark.parametrize(
    "shape", [(1, 4, 1, 1), (2, 5, 7, 7), (1, 7, 3, 5), (1, 1280, 7, 7), (1, 4, 113), (1, 70, 16, 16)]
)
def test_global_pool(shape: tuple[int, ...], rng: np.random.Generator) -> None:
    x = rng.standard_normal(shape).astype(np.float32)
    check("GlobalAveragePool", [x], rtol=1e-5, atol=1e-6)
    check("GlobalMaxPool", [x])
    q = rng.integers(0, 256, shape).astype(np.uint8)
    check("QLinearGlobalAveragePool", [q], quants={0: QUANT}, out_quant=OUT, out_dtype="uint8")
    away = {"half_away_from": 128}
    check("QLinearGlobalAveragePool", [q], attrs=away, quants={0: QUANT}, out_quant=QUANT, out_dtype="uint8")


@pytest.mark.parametrize("count", [2, 4, 6, 3072])
@pytest.mark.parametrize("centre", [0, 128])
def test_every_half_goes_away_from_the_centre(count: int, centre: int) -> None:
    """Sums around each half of a mean of `count` values, from 0 to 255."""
    halves = [k * count + count // 2 + d for k in range(255) for d in (-1, 0, 1)]
    x = np.zeros((1, len(halves), count, 1), np.uint8)
    for channel, total in enumerate(halves):
        x[0, channel, :, 0] = total // count
        x[0, channel, : total % count, 0] += 1
    attrs = {"half_away_from": centre}
    levels = host_levels()
    check("QLinearGlobalAveragePool", [x], attrs=attrs, quants={0: QUANT}, out_quant=QUANT, levels=levels)
    want = evaluate("QLinearGlobalAveragePool", [x], attrs, [QUANT], [QUANT], ["uint8"])[0]
    exact = np.array(halves) / count - centre
    np.testing.assert_array_equal(want.ravel(), np.sign(exact) * np.floor(np.abs(exact) + 0.5) + centre)


def test_global_pool_goes_straight_to_rows() -> None:
    """A classifier's last layer wants its input as a row: no conversion in between."""
    x, y = TensorType("uint8", (1, 8, 7, 7), QUANT), TensorType("uint8", (1, 8, 1, 1), OUT)
    site = site_of("QLinearGlobalAveragePool", [None], [x], [y], {}, {}, host_levels()[-1], 1)
    offers, _ = offers_for(site)
    assert {o.out_layouts for o in offers} == {("k4p",), ("row",)}


def test_indices_of_maxima_are_refused_with_the_reason() -> None:
    x, y = TensorType("float32", (1, 4, 4, 4)), TensorType("float32", (1, 4, 2, 2))
    attrs = {"kernel_shape": [2, 2], "strides": [2, 2]}
    outs = [y, TensorType("int64", (1, 4, 2, 2))]
    offers, refusals = offers_for(site_of("MaxPool", [None], [x], outs, attrs, {}, host_levels()[-1], 1))
    assert not offers
    assert "indices" in refusals[0].why
