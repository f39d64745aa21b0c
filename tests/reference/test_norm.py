"""Normalizations against ONNX Runtime, or against their formula where it has none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from edgert.kernels_cpu.reference import evaluate

rng = np.random.default_rng(4)


def values(*shape: int) -> Any:
    return rng.standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (1, 6), (2, 3, 7), (0, 2, 3, 3), (1, 1, 1, 1)])
@pytest.mark.parametrize("epsilon", [1e-5, 1e-2])
def test_batch_normalization(agrees: Callable[..., None], shape: tuple[int, ...], epsilon: float) -> None:
    c = shape[1]
    agrees(
        "BatchNormalization",
        [values(*shape), values(c), values(c), values(c), np.abs(values(c)) + 0.1],
        {"epsilon": epsilon},
    )


@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (1, 2, 9), (2, 3, 2, 3, 4)])
def test_instance_normalization(agrees: Callable[..., None], shape: tuple[int, ...]) -> None:
    agrees("InstanceNormalization", [values(*shape), values(shape[1]), values(shape[1])], {"epsilon": 1e-3}, rtol=1e-4)


@pytest.mark.parametrize("groups", [1, 2, 6])
def test_group_normalization(agrees: Callable[..., None], groups: int) -> None:
    agrees("GroupNormalization", [values(2, 6, 3, 4), values(6), values(6)], {"num_groups": groups}, rtol=1e-4)


@pytest.mark.parametrize(("axis", "bias"), [(-1, True), (2, False), (1, True), (0, True), (-2, True)])
def test_layer_normalization(agrees: Callable[..., None], axis: int, bias: bool) -> None:
    shape = (2, 3, 8)
    scale = values(*shape[axis:])
    inputs = [values(*shape) * 3, scale, *([values(*scale.shape)] if bias else [])]
    agrees("LayerNormalization", inputs, {"axis": axis}, outputs=3, rtol=1e-4)


@pytest.mark.parametrize("axis", [-1, 1])
def test_rms_normalization(agrees: Callable[..., None], axis: int) -> None:
    x = values(2, 3, 8)
    scale = values(*x.shape[axis:])
    axes = tuple(range(axis % 3, 3))
    want = x / np.sqrt(np.mean(x.astype(np.float64) ** 2, axes, keepdims=True) + 1e-5) * scale
    agrees("RMSNormalization", [x, scale], {"axis": axis}, expected=[want.astype(np.float32)])


@pytest.mark.parametrize("size", [1, 3, 5, 11])
def test_lrn(agrees: Callable[..., None], size: int) -> None:
    agrees("LRN", [values(2, 7, 3, 4)], {"size": size, "alpha": 0.3, "beta": 0.6, "bias": 1.5})


def test_lrn_of_an_even_size() -> None:
    x = values(1, 5, 2)
    (got,) = evaluate("LRN", [x], {"size": 4, "alpha": 1.0, "beta": 1.0, "bias": 1.0})
    # size 4: one channel before, two after (floor and ceil of 3 / 2).
    for c in range(5):
        squares = (x[:, max(0, c - 1) : c + 3] ** 2).sum(1)
        np.testing.assert_allclose(got[:, c], x[:, c] / (1 + squares / 4), rtol=1e-5)


@pytest.mark.parametrize("axes", [[0, 2, 3], [2, 3]])
def test_mean_variance_normalization(agrees: Callable[..., None], axes: list[int]) -> None:
    agrees("MeanVarianceNormalization", [values(2, 3, 4, 5)], {"axes": axes}, rtol=1e-4)


@pytest.mark.parametrize(("axis", "p"), [(-1, 2), (0, 1), (1, 2)])
def test_lp_normalization(agrees: Callable[..., None], axis: int, p: int) -> None:
    agrees("LpNormalization", [values(3, 4, 5)], {"axis": axis, "p": p})


def test_local_response_over_more_channels_than_there_are() -> None:
    """As over all of them, and no window of that size is made."""
    x = values(1, 3, 2, 2)
    (got,) = evaluate("LRN", [x], {"size": 1 << 40, "alpha": float(1 << 40), "beta": 1.0, "bias": 1.0})
    np.testing.assert_allclose(got, x / (1 + (x**2).sum(1, keepdims=True)), rtol=1e-6)
