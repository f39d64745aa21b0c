"""Fixed-point arithmetic as TensorFlow Lite's integer recurrent layers define it, to the last bit.
Products of other quantized operators are in `quantization.py`: one float32 multiplication each.

Source: TensorFlow Lite quantization specification and its internal/common.h; gemmlowp fixedpoint.h for exp, logistic
and tanh of 16-bit numbers. A number with n integer bits is stored / 2**(15 - n).
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from edgert.kernels_cpu.reference.registry import Array

Int = npt.NDArray[np.int64]
"""Every value is held in 64 bits, within the bounds of the type that it stands for."""

LOW16, HIGH16 = -(1 << 15), (1 << 15) - 1


def multiplier_of(scale: float) -> tuple[int, int]:
    """(mantissa, shift) with scale = mantissa / 2**31 * 2**shift, mantissa in [2**30, 2**31)."""
    fraction, shift = math.frexp(scale)
    mantissa = math.floor(fraction * (1 << 31) + 0.5)
    if mantissa == 1 << 31:
        mantissa, shift = mantissa // 2, shift + 1
    return (0, 0) if shift < -31 else (mantissa, shift)


def divide_by_power(x: Int, exponent: int | Int) -> Int:
    """x / 2**exponent, rounded to nearest, ties away from zero."""
    mask = (np.int64(1) << np.asarray(exponent, np.int64)) - 1
    threshold = (mask >> 1) + (x < 0)
    return np.asarray((x >> exponent) + ((x & mask) > threshold), np.int64)


def high_product(x: Int, y: Int | int, bits: int) -> Int:
    """x * y / 2**(bits - 1), rounded to nearest, ties up in magnitude for positive products; saturated."""
    product = np.asarray(x * np.int64(1) * y, np.int64)
    half = 1 << (bits - 2)
    rounded = np.where(product >= 0, (product + half) >> (bits - 1), -((-product - 1 + half) >> (bits - 1)))
    return np.asarray(np.minimum(rounded, (1 << (bits - 1)) - 1), np.int64)


def multiply(x: Int, multiplier: tuple[int, int]) -> Int:
    """x * scale as 32-bit numbers: shifted left, doubled product rounded, then shifted right and rounded."""
    mantissa, shift = multiplier
    shifted = np.clip(x << max(shift, 0), -(1 << 31), (1 << 31) - 1)
    return divide_by_power(high_product(shifted, mantissa, 32), max(-shift, 0))


def saturate16(x: Int) -> Int:
    return np.asarray(np.clip(x, LOW16, HIGH16), np.int64)


def _wrap16(x: Int) -> Int:
    return x.astype(np.int16).astype(np.int64)


def _constant(value: int) -> int:
    """A 32-bit constant as 16 bits."""
    return int(divide_by_power(np.asarray(value, np.int64), 16))


def _rescale(x: Int, bits: int) -> Int:
    """x with `bits` integer bits less: shifted left and saturated, or right and rounded."""
    return saturate16(x << bits) if bits >= 0 else divide_by_power(x, -bits)


def _exp_near_zero(a: Int) -> Int:
    """exp of a in [-1/4, 0), no integer bits: a Taylor series around -1/8."""
    constant, third = _constant(1895147668), _constant(715827883)
    x = _wrap16(a + (1 << 12))
    square = high_product(x, x, 16)
    cube, fourth = high_product(square, x, 16), high_product(square, square, 16)
    series = _wrap16(high_product(_wrap16(divide_by_power(fourth, 2) + cube), third, 16) + square)
    return saturate16(constant + high_product(_wrap16(x + divide_by_power(series, 1)), constant, 16))


EXP_POWERS = {-2: 1672461947, -1: 1302514674, 0: 790015084, 1: 290630308, 2: 39332535, 3: 720401, 4: 242}
"""Exponent -> exp(-2**exponent) * 2**31."""


def exp_of_negative(a: Int, bits: int) -> Int:
    """exp of a <= 0 with `bits` integer bits, as a number without."""
    fraction = 15 - bits
    quarter = 1 << (fraction - 2)
    part = (a & (quarter - 1)) - quarter
    result = _exp_near_zero(_rescale(part, bits))
    remainder = _wrap16(part - a)
    for exponent, value in EXP_POWERS.items():
        if bits > exponent:
            chosen = (remainder & (1 << (fraction + exponent))) != 0
            result = np.where(chosen, high_product(result, _constant(value), 16), result)
    if bits > 5:
        result = np.where(a < -(1 << (20 - bits)), 0, result)
    return np.asarray(np.where(a == 0, HIGH16, result), np.int64)


def _twice_inverse(a: Int) -> Int:
    """2 / (1 + a) for a in (0, 1), with two integer bits: three steps of Newton and Raphson."""
    total = a + HIGH16
    half = (total + np.where(total >= 0, 1, -1)) // 2
    x = _wrap16(_constant(1515870810) + high_product(half, _constant(-1010580540), 16))
    for _ in range(3):
        error = _wrap16((1 << 13) - high_product(half, x, 16))
        x = _wrap16(x + _rescale(high_product(x, error, 16), 2))
    return x


def logistic(a: Array, bits: int = 3) -> Int:
    """1 / (1 + exp(-a)) of int16 numbers with `bits` integer bits, as numbers without."""
    x = a.astype(np.int64)
    # Halving 2 / (1 + exp) takes one integer bit away; the other is rescaled.
    positive = _rescale(_twice_inverse(exp_of_negative(-np.abs(x), bits)), 1)
    result = np.where(x > 0, positive, HIGH16 - positive)
    return np.asarray(np.where(x == 0, 1 << 14, result), np.int64)


def tanh(a: Array, bits: int) -> Int:
    """tanh of int16 numbers with `bits` integer bits, as numbers without."""
    x = a.astype(np.int64)
    size = _wrap16(-np.abs(x))
    doubled = exp_of_negative(size, bits + 1)
    result = _rescale(_wrap16(_twice_inverse(doubled) - (1 << 13)), 2)
    return np.asarray(np.where(x == 0, 0, np.where(x < 0, -result, result)), np.int64)
