"""Activations that language models apply to every value of their widest layers: sigmoid, silu and gelu, made short.

exp has no special cases here, as its argument is brought to where all goes well first. The bounds stated are held by
tests/kernels/test_elementwise.py and test_g32.py; results are the same bits at every level.
"""

from __future__ import annotations

from edgert.kernels_cpu.elementwise.functions import LN2_HIGH, LN2_LOW, LOG2_E, const
from edgert.kernels_cpu.simd import (
    absolute,
    bits_f32,
    bits_i32,
    fma,
    helper,
    maximum,
    minimum,
    shift_left,
)  # fmt: skip

SQRT_2_PI = 0.79788456080286535
"""sqrt(2 / pi)."""
ROUNDER = 12582912.0
"""1.5 * 2**23: adding it leaves the nearest whole number in the last bits."""


@helper
def exp_normal(v):  # type: ignore[no-untyped-def]
    """Within 2e-7 relative of exp(v) for |v| <= 87; a NaN stays one.

    The polynomial is the least of degree 5 on |r| <= ln(2) / 2, within 8e-8."""
    shifted = fma(v, const(LOG2_E), const(ROUNDER))
    n = shifted - const(ROUNDER)
    r = fma(n, const(-LN2_LOW), fma(n, const(-LN2_HIGH), v))
    p = fma(const(0.00829761940985918), r, const(0.04191562905907631))
    p = fma(p, r, const(0.16667576134204865))
    p = fma(p, r, const(0.4999889135360718))
    p = fma(p, r, const(0.9999997019767761))
    p = fma(p, r, const(1.0000001192092896))
    return bits_f32(bits_i32(p) + shift_left(bits_i32(shifted), 23))


@helper
def over_one_plus_exp(x, z):  # type: ignore[no-untyped-def]
    """x / (1 + exp(-z)) within 3e-7 relative for z > -87, and as if z were -87 below."""
    return x / (const(1.0) + exp_normal(minimum(const(87.0), maximum(const(-87.0), const(0.0) - z))))


@helper
def sigmoid(x):  # type: ignore[no-untyped-def]
    return over_one_plus_exp(const(1.0), x)


@helper
def silu(x):  # type: ignore[no-untyped-def]
    """x * sigmoid(x)."""
    return over_one_plus_exp(maximum(const(-87.0), x), x)


@helper
def gelu_tanh(x):  # type: ignore[no-untyped-def]
    """x * (1 + tanh(u)) / 2, u = sqrt(2 / pi) * (x + 0.044715 x**3): the second factor is the sigmoid of 2 u."""
    twice = const(2.0 * SQRT_2_PI) * (x + const(0.044715) * x * x * x)
    return over_one_plus_exp(maximum(const(-87.0), x), twice)


@helper
def gelu(x):  # type: ignore[no-untyped-def]
    """Within 3e-7, relative or absolute, of x * (1 + erf(x / sqrt(2))) / 2 = max(x, 0) - |x| / 2 * erfc(|x| / sqrt(2)).

    The logarithm of that erfc is a polynomial of |x| without a constant: its coefficients are the least squares that,
    weighted until they are even, leave 1e-7 of the whole. From 13 on nothing is left of it."""
    a = minimum(const(13.0), absolute(x))
    q = fma(const(2.0741836124216206e-05), a, const(-0.0005128415068611503))
    q = fma(q, a, const(0.0055295550264418125))
    q = fma(q, a, const(-0.03690189868211746))
    q = fma(q, a, const(-0.3180961012840271))
    q = fma(q, a, const(-0.7979143857955933))
    return fma(const(-0.5) * a, exp_normal(q * a), maximum(const(0.0), x))
