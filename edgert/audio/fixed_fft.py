"""A Fourier transform of real 16-bit integers in 16-bit fixed point, rounded at every step as the micro front end
does it: mixed radix 4 and 2, each stage divided by its radix. Source: KISS FFT, FIXED_POINT=16."""

from __future__ import annotations

from functools import lru_cache
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Int16: TypeAlias = npt.NDArray[np.int16]
Complex: TypeAlias = tuple[Int16, Int16]
"""Real and imaginary part. Sums of int16 wrap, as they do there."""

ONE = 32767
"""1.0 in Q15, as near as int16 can come."""


def real_fft(samples: Int16) -> Complex:
    """The spectrum of int16 [..., n], divided by n: two int16 [..., n/2 + 1]. n: a power of two from 4."""
    n = samples.shape[-1]
    half = n // 2
    # Two real halves are transformed as one complex signal, and taken apart after.
    real, imaginary = _stages((samples[..., 0::2], samples[..., 1::2]), half)
    out_r = np.zeros((*samples.shape[:-1], half + 1), np.int16)
    out_i = np.zeros_like(out_r)
    first_r, first_i = _divided((real[..., 0], imaginary[..., 0]), 2)
    out_r[..., 0], out_r[..., half] = first_r + first_i, first_r - first_i
    k = np.arange(1, half // 2 + 1)
    here_r, here_i = _divided((real[..., k], imaginary[..., k]), 2)
    there_r, there_i = _divided((real[..., half - k], -imaginary[..., half - k]), 2)
    even_r, even_i = here_r + there_r, here_i + there_i
    odd = _product((here_r - there_r, here_i - there_i), _twiddles(k / half + 0.5, 1))
    odd_r, odd_i = (part.astype(np.int32) for part in odd)
    out_r[..., k], out_i[..., k] = (even_r + odd_r) >> 1, (even_i + odd_i) >> 1
    out_r[..., half - k], out_i[..., half - k] = (even_r - odd_r) >> 1, (odd_i - even_i) >> 1
    return out_r, out_i


def _stages(signal: Complex, n: int) -> Complex:
    """The complex transform of the last axis, `n` long: `radix` interleaved parts are transformed, then combined."""
    if n == 1:
        return signal
    radix = 4 if n % 4 == 0 else 2
    length = n // radix
    # [..., length, radix] -> [..., radix, length]: part q holds every radix-th sample from q on.
    parts = [np.swapaxes(part.reshape(*part.shape[:-1], length, radix), -1, -2) for part in signal]
    real, imaginary = _stages((parts[0], parts[1]), length)
    k = np.arange(length)
    rows = [_divided((real[..., q, :], imaginary[..., q, :]), radix) for q in range(radix)]
    turned = [rows[0], *(_product(row, _twiddles(q * k / n, 2)) for q, row in enumerate(rows[1:], 1))]
    made = _radix_4(*turned) if radix == 4 else _radix_2(*turned)
    joined = [np.concatenate(part, -1) for part in zip(*made, strict=True)]
    return joined[0], joined[1]


def _radix_2(a: Complex, b: Complex) -> list[Complex]:
    return [(a[0] + b[0], a[1] + b[1]), (a[0] - b[0], a[1] - b[1])]


def _radix_4(a: Complex, b: Complex, c: Complex, d: Complex) -> list[Complex]:
    minus, plus = (a[0] - c[0], a[1] - c[1]), (a[0] + c[0], a[1] + c[1])
    both, cross = (b[0] + d[0], b[1] + d[1]), (b[0] - d[0], b[1] - d[1])
    return [
        (plus[0] + both[0], plus[1] + both[1]),
        (minus[0] + cross[1], minus[1] - cross[0]),
        (plus[0] - both[0], plus[1] - both[1]),
        (minus[0] - cross[1], minus[1] + cross[0]),
    ]


def _rounded(values: npt.NDArray[np.int32]) -> Int16:
    """Q30 to Q15, to the nearest, halves up."""
    return ((values + (1 << 14)) >> 15).astype(np.int16)


def _divided(value: Complex, divisor: int) -> Complex:
    factor = np.int32(ONE // divisor)
    return _rounded(value[0].astype(np.int32) * factor), _rounded(value[1].astype(np.int32) * factor)


def _product(a: Complex, b: Complex) -> Complex:
    (ar, ai), (br, bi) = ([part.astype(np.int32) for part in value] for value in (a, b))
    return _rounded(ar * br - ai * bi), _rounded(ar * bi + ai * br)


def _twiddles(turns: npt.NDArray[np.float64], per: int) -> Complex:
    """exp(-i pi per turns) in Q15."""
    return _table(tuple(turns.tolist()), per)


@lru_cache(64)
def _table(turns: tuple[float, ...], per: int) -> Complex:
    phase = -np.pi * per * np.array(turns)
    cosine, sine = (np.floor(0.5 + ONE * part).astype(np.int16) for part in (np.cos(phase), np.sin(phase)))
    return cosine, sine
