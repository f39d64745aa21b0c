"""Elementary functions of float vectors: own polynomials, so that results are the same bits at every level.

The bounds stated are the largest errors found against double precision by tests/kernels/test_elementwise.py.
Sources: exp, log and tanh are the reductions and coefficients of Cephes (S. Moshier); erf is a minimax fit in
two intervals.
"""

from __future__ import annotations

from edgert.kernels_cpu.simd import (
    absolute,
    bits_f32,
    bits_i32,
    fma,
    helper,
    maximum,
    minimum,
    round_i32,
    select_gt,
    select_nan,
    shift_left,
    shift_right_signed,
    splat_f32,
    splat_i32,
    to_f32,
    trunc_i32,
)  # fmt: skip

EXP_HIGH, EXP_LOW = 88.72284, -104.0
LOG2_E, LN2_HIGH, LN2_LOW = 1.44269504088896341, 0.693359375, -2.12194440e-4
WHOLE = 8388608.0
"""2**23: floats from here on are whole numbers."""
SIGN = -(1 << 31)


@helper
def const(value):  # type: ignore[no-untyped-def]
    return splat_f32(value)


@helper
def copy_sign(magnitude, sign):  # type: ignore[no-untyped-def]
    """|magnitude| with the sign of `sign`."""
    mask = splat_i32(SIGN)
    return bits_f32((bits_i32(magnitude) & (mask ^ splat_i32(-1))) | (bits_i32(sign) & mask))


@helper
def _exp_tail(r):  # type: ignore[no-untyped-def]
    """exp(r) - 1 for |r| <= ln(2) / 2."""
    p = fma(const(1.9875691500e-4), r, const(1.3981999507e-3))
    p = fma(p, r, const(8.3334519073e-3))
    p = fma(p, r, const(4.1665795894e-2))
    p = fma(p, r, const(1.6666665459e-1))
    p = fma(p, r, const(5.0000001201e-1))
    return fma(p, r * r, r)


@helper
def exp(x):  # type: ignore[no-untyped-def]
    """Within 2e-7 relative of exp(x); 0 below -104, infinite above 88.72."""
    clamped = maximum(const(EXP_LOW), minimum(const(EXP_HIGH), x))
    n = round_i32(clamped * const(LOG2_E))
    nf = to_f32(n)
    r = fma(nf, const(-LN2_LOW), fma(nf, const(-LN2_HIGH), clamped))
    y = _exp_tail(r) + const(1.0)
    # 2**n in two factors, so that both are normal numbers for every n
    half = shift_right_signed(n, 1)
    bias = splat_i32(127)
    y = y * bits_f32(shift_left(half + bias, 23)) * bits_f32(shift_left(n - half + bias, 23))
    y = select_gt(x, const(EXP_HIGH), bits_f32(splat_i32(0x7F800000)), y)
    return select_nan(x, x, y)


@helper
def expm1(x):  # type: ignore[no-untyped-def]
    """Within 2e-7 relative of exp(x) - 1."""
    return select_gt(const(0.34), absolute(x), _exp_tail(x), exp(x) - const(1.0))


@helper
def log(x):  # type: ignore[no-untyped-def]
    """Within 2e-7 of ln(x), relative or absolute; -inf at 0, NaN below."""
    tiny = select_gt(const(1.17549435e-38), x, const(WHOLE), const(1.0))
    scaled = x * tiny
    bits = bits_i32(scaled)
    # mantissa in [0.5, 1), then in [sqrt(1/2), sqrt(2))
    e = to_f32(shift_right_signed(bits, 23) - splat_i32(126))
    m = bits_f32((bits & splat_i32(0x007FFFFF)) | splat_i32(0x3F000000))
    small = select_gt(const(0.707106781186547524), m, const(1.0), const(0.0))
    e = e - small - select_gt(tiny, const(1.0), const(23.0), const(0.0))
    m = fma(small, m, m) - const(1.0)
    z = m * m
    p = fma(const(7.0376836292e-2), m, const(-1.1514610310e-1))
    p = fma(p, m, const(1.1676998740e-1))
    p = fma(p, m, const(-1.2420140846e-1))
    p = fma(p, m, const(1.4249322787e-1))
    p = fma(p, m, const(-1.6668057665e-1))
    p = fma(p, m, const(2.0000714765e-1))
    p = fma(p, m, const(-2.4999993993e-1))
    p = fma(p, m, const(3.3333331174e-1))
    y = p * m * z
    y = fma(e, const(LN2_LOW), y)
    y = fma(const(-0.5), z, y)
    y = fma(e, const(LN2_HIGH), m + y)
    infinity = bits_f32(splat_i32(0x7F800000))
    y = select_gt(x, const(3.4028234e38), infinity, y)
    y = select_gt(x, const(0.0), y, const(0.0) - infinity)
    y = select_gt(const(0.0), x, bits_f32(splat_i32(0x7FC00000)), y)
    return select_nan(x, x, y)


@helper
def log1p(u):  # type: ignore[no-untyped-def]
    """ln(1 + u) for u in [0, 1], within 2e-7 relative: what rounding 1 + u lost is put back."""
    w = const(1.0) + u
    return log(w) - ((w - const(1.0)) - u) / w


@helper
def tanh(x):  # type: ignore[no-untyped-def]
    """Within 3e-7 relative of tanh(x)."""
    a = absolute(x)
    z = x * x
    p = fma(const(-5.70498872745e-3), z, const(2.06390887954e-2))
    p = fma(p, z, const(-5.37397155531e-2))
    p = fma(p, z, const(1.33314422036e-1))
    p = fma(p, z, const(-3.33332819422e-1))
    small = fma(p * z, x, x)
    large = const(1.0) - const(2.0) / (exp(a + a) + const(1.0))
    return select_gt(const(0.625), a, small, select_nan(x, x, copy_sign(large, x)))


@helper
def sigmoid(x):  # type: ignore[no-untyped-def]
    """Within 3e-7 relative of 1 / (1 + exp(-x))."""
    return const(1.0) / (const(1.0) + exp(const(0.0) - x))


@helper
def erf(x):  # type: ignore[no-untyped-def]
    """Within 2e-7 relative of erf(x)."""
    t = minimum(absolute(x), const(4.0))
    s = t * t
    r = fma(const(-1.72853470e-5), t, const(3.83197126e-4))
    u = fma(const(-3.88396438e-3), t, const(2.42546219e-2))
    r = fma(r, s, u)
    r = fma(r, t, const(-1.06777877e-1))
    r = fma(r, t, const(-6.34846687e-1))
    r = fma(r, t, const(-1.28717512e-1))
    r = fma(r, t, const(0.0) - t)
    large = copy_sign(const(1.0) - exp(r), x)
    p = fma(const(-5.96761703e-4), s, const(4.99119423e-3))
    p = fma(p, s, const(-2.67681349e-2))
    p = fma(p, s, const(1.12819925e-1))
    p = fma(p, s, const(-3.76125336e-1))
    p = fma(p, s, const(1.28379166e-1))
    return select_nan(x, x, select_gt(t, const(0.927734375), large, fma(p, x, x)))


@helper
def softplus(x):  # type: ignore[no-untyped-def]
    """Within 3e-7 relative of ln(1 + exp(x))."""
    positive = maximum(const(0.0), x)
    return positive + log1p(exp(const(0.0) - absolute(x)))


@helper
def floor(x):  # type: ignore[no-untyped-def]
    whole = to_f32(trunc_i32(x))
    down = whole - select_gt(whole, x, const(1.0), const(0.0))
    return select_gt(const(WHOLE), absolute(x), down, x)


@helper
def ceil(x):  # type: ignore[no-untyped-def]
    return const(0.0) - floor(const(0.0) - x)


@helper
def rint(x):  # type: ignore[no-untyped-def]
    """Nearest whole number, ties to even."""
    return select_gt(const(WHOLE), absolute(x), to_f32(round_i32(x)), x)
