"""The layout g32: what a group of 32 becomes, and how a row lies in memory."""

from __future__ import annotations

import numpy as np
import pytest

from edgert.kernels_cpu.reference.g32 import G32, SMALLEST, quantize_g32


@pytest.mark.parametrize("depth", [1, 31, 32, 33, 64, 65, 576])
def test_values_are_near_and_padding_is_zero(depth: int) -> None:
    x = np.random.default_rng(depth).normal(size=(3, depth)).astype(np.float32)
    g32 = quantize_g32(x)
    padded = -(-depth // 64) * 64
    assert (g32.values.shape, g32.scale.shape, g32.sums.shape) == ((3, padded), (3, padded // 32), (3, padded // 32))
    error = np.abs(g32.dense()[:, :depth] - x)
    assert np.all(error <= np.repeat(g32.scale, 32, axis=-1)[:, :depth] * np.float32(0.5001))
    assert not g32.values[:, depth:].any()
    np.testing.assert_array_equal(g32.sums, g32.values.reshape(3, -1, 32).sum(axis=-1))


def test_a_row_is_values_then_scales_then_sums() -> None:
    g32 = quantize_g32(np.arange(-40, 40, dtype=np.float32).reshape(1, 80))
    row = g32.rows()
    assert row.shape == (1, 160)
    assert row.dtype == np.uint8
    np.testing.assert_array_equal(row[0, :128].view(np.int8), g32.values[0])
    np.testing.assert_array_equal(row[0, 128:144].view(np.float32), g32.scale[0])
    np.testing.assert_array_equal(row[0, 144:].view(np.int32), g32.sums[0])
    for part, same in zip(g32, G32.of(row), strict=True):
        np.testing.assert_array_equal(part, same)


def test_the_largest_magnitude_is_127_and_halves_round_to_even() -> None:
    x = np.zeros((1, 32), np.float32)
    x[0, :6] = [-254, 1, 3, 5, -1, -3]
    g32 = quantize_g32(x)
    assert g32.scale[0, 0] == 2
    assert g32.values[0, :6].tolist() == [-127, 0, 2, 2, 0, -2]


@pytest.mark.parametrize("size", [0.0, 1e-45, 1e-38, float(SMALLEST) / 2])
def test_what_is_too_small_is_zero(size: float) -> None:
    g32 = quantize_g32(np.full((2, 32), size, np.float32))
    assert not g32.values.any() and not g32.scale.any()


def test_the_ends_of_the_range() -> None:
    for size in (float(SMALLEST), 3.4e38):
        g32 = quantize_g32(np.array([[size, -size]], np.float32))
        assert g32.values[0, :2].tolist() == [127, -127]


@pytest.mark.parametrize("odd", [np.nan, np.inf, -np.inf])
def test_what_is_not_a_number_shows_in_the_scale_of_its_group(odd: float) -> None:
    x = np.ones((1, 96), np.float32)
    x[0, 40] = odd
    g32 = quantize_g32(x)
    assert not np.isfinite(g32.scale[0, 1]) and not g32.values[0, 32:64].any()
    assert np.isfinite(g32.scale[0, [0, 2, 3]]).all() and (g32.values[0, :32] == 127).all()
