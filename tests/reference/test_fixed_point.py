"""Fixed-point arithmetic of TensorFlow Lite: rounding, saturation, and functions of 16-bit numbers."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from edgert.kernels_cpu.reference.fixed_point import (
    HIGH16,
    LOW16,
    divide_by_power,
    exp_of_negative,
    high_product,
    logistic,
    multiplier_of,
    multiply,
    saturate16,
    tanh,
)

ALL = np.arange(LOW16, HIGH16 + 1, dtype=np.int64)


@pytest.mark.parametrize("scale", [1.0, 0.5, 0.9999999999, 3.7, 1e-5, 123456.0, 2.0**-31])
def test_multipliers_have_31_bits(scale: float) -> None:
    mantissa, shift = multiplier_of(scale)
    assert 1 << 30 <= mantissa < 1 << 31
    assert mantissa / 2**31 * 2.0**shift == pytest.approx(scale, rel=2**-31)


def test_multipliers_too_small_to_count_are_zero() -> None:
    assert multiplier_of(2.0**-33) == multiplier_of(0.0) == (0, 0)


@pytest.mark.parametrize("exponent", [0, 1, 4, 15])
def test_quotients_round_to_nearest_and_ties_away_from_zero(exponent: int) -> None:
    x = np.concatenate([ALL[::97], np.arange(-40, 41)])
    for value, got in zip(x.tolist(), divide_by_power(x, exponent).tolist(), strict=True):
        exact = Fraction(value, 1 << exponent)
        size = int(abs(exact) + Fraction(1, 2))
        assert got == (size if exact >= 0 else -size)


def test_high_products_round_and_saturate() -> None:
    x = np.array([LOW16, HIGH16, 1, -1, 16384, -16384, 181, -181])
    assert high_product(np.array([LOW16]), LOW16, 16).tolist() == [HIGH16]
    exact = x * 16384 / 2**15
    assert np.abs(high_product(x, 16384, 16) - exact).max() <= 0.5


@pytest.mark.parametrize("scale", [0.00123, 0.37, 1.0, 5.5])
def test_products_with_a_multiplier_are_those_with_its_scale(scale: float) -> None:
    x = np.random.default_rng(0).integers(-(1 << 20), 1 << 20, 1000)
    assert np.abs(multiply(x, multiplier_of(scale)) - x * scale).max() <= 1
    assert saturate16(multiply(x, multiplier_of(scale))).max() <= HIGH16


@pytest.mark.parametrize("bits", [0, 1, 3, 4, 6])
def test_functions_of_every_16_bit_number(bits: int) -> None:
    real = ALL / 2.0 ** (15 - bits)
    for got, wanted in ((logistic(ALL, bits), 1 / (1 + np.exp(-real))), (tanh(ALL, bits), np.tanh(real))):
        assert got.min() >= LOW16 and got.max() <= HIGH16
        assert np.abs(got / 2**15 - wanted).max() < 2e-3
    negative = ALL[ALL <= 0]
    assert np.abs(exp_of_negative(negative, bits) / 2**15 - np.exp(real[ALL <= 0])).max() < 2e-3
    assert (tanh(ALL[1:], bits) == -tanh(-ALL[1:], bits)).all()
