"""Element types narrower than NumPy has: what their values are, and `RoundTo`, which rounds to them.
Graphs hold such tensors in a wider type (`held`) with the same values; bytes of files become those by `decode`.

Source: ONNX Cast-25 and IR.md; OCP MX specification v1.0, section 5; bfloat16 is the upper half of float32.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgert.kernels_cpu.reference.registry import Array, Call, reference


@dataclass(frozen=True)
class NarrowFloat:
    """A sign (unless `unsigned`), `exponent` bits biased by `bias` and `mantissa` bits, exponent 0 being subnormal.

    largest: the largest finite value. infinite, nan: whether there are such codes. zero_sign: whether -0 is one.
    """

    exponent: int
    mantissa: int
    bias: int
    largest: float
    infinite: bool = False
    nan: bool = True
    zero_sign: bool = True

    @property
    def bits(self) -> int:
        return 1 + self.exponent + self.mantissa


FLOATS: dict[str, NarrowFloat] = {
    "bfloat16": NarrowFloat(8, 7, 127, 2.0**127 * (2 - 2.0**-7), infinite=True),
    "float8e4m3fn": NarrowFloat(4, 3, 7, 448.0),
    "float8e4m3fnuz": NarrowFloat(4, 3, 8, 240.0, zero_sign=False),
    "float8e5m2": NarrowFloat(5, 2, 15, 57344.0, infinite=True),
    "float8e5m2fnuz": NarrowFloat(5, 2, 16, 57344.0, zero_sign=False),
    "float6e2m3": NarrowFloat(2, 3, 1, 7.5, nan=False),
    "float6e3m2": NarrowFloat(3, 2, 3, 28.0, nan=False),
    "float4e2m1": NarrowFloat(2, 1, 1, 6.0, nan=False),
}
POWERS = "float8e8m0"
"""Powers of two from 2**-127 to 2**127 and NaN: the scales of OCP MX."""

INTEGERS: dict[str, tuple[int, int]] = {"int4": (-8, 7), "uint4": (0, 15), "int2": (-2, 1), "uint2": (0, 3)}
"""Least and largest value."""

NARROW: tuple[str, ...] = (*FLOATS, POWERS, *INTEGERS)


def held(name: str) -> str:
    """The NumPy dtype in which graphs hold values of narrow type `name`."""
    return {"int4": "int8", "int2": "int8", "uint4": "uint8", "uint2": "uint8"}.get(name, "float32")


@reference("RoundTo")
def round_to(call: Call, x: Array) -> Array:
    """The value of narrow type `to` nearest to each of `x`, numbers of any shape and dtype, in the dtype `held(to)`.

    Ties go to the even mantissa. What is too large becomes the largest value if `saturate` (default 1), else
    infinity, or NaN where the type has none; `to` integers wrap around. float8e8m0 rounds by `round_mode` ('up',
    'down', 'nearest'). A NaN becomes 0 in types without. Source: ONNX Cast-25.
    """
    to, saturate = call.attr_str("to", ""), bool(call.attr_int("saturate", 1))
    if to in INTEGERS:
        return wrapped(x, to)
    wide = x.astype(np.float64)
    if to == POWERS:
        return powers(wide, call.attr_str("round_mode", "up"), saturate)
    kind = FLOATS[to]
    exponent = np.frexp(wide)[1] - 1  # of the leading bit; numbers below the normal ones share the least
    step = np.ldexp(1.0, np.maximum(exponent, 1 - kind.bias) - kind.mantissa)
    rounded = np.where(np.isfinite(wide), np.rint(wide / step) * step, wide)
    over = np.abs(rounded) > kind.largest
    if saturate or not (kind.infinite or kind.nan):
        beyond = np.copysign(kind.largest, rounded)
    else:
        beyond = np.copysign(np.inf if kind.infinite else np.nan, rounded)
    rounded = np.where(over, beyond, rounded)
    if not kind.nan:
        rounded = np.nan_to_num(rounded, nan=0.0)
    return (rounded if kind.zero_sign else rounded + 0.0).astype(np.float32)


def wrapped(x: Array, to: str) -> Array:
    """Integers of `to`: fractions are cut off, higher bits discarded."""
    low, high = INTEGERS[to]
    whole = np.trunc(np.nan_to_num(x.astype(np.float64))) if x.dtype.kind == "f" else x
    return ((whole.astype(np.int64) - low) % (high - low + 1) + low).astype(held(to))


def powers(x: Array, mode: str, saturate: bool) -> Array:
    """float8e8m0: 2**k nearest to x in the direction of `mode`; what is not above 0 is below the least."""
    fraction, exponent = np.frexp(np.where(x > 0, x, 1.0))  # x = fraction * 2**exponent, fraction in [0.5, 1)
    up = {"up": fraction > 0.5, "down": np.zeros(x.shape, bool), "nearest": fraction >= 0.75}[mode]
    k = np.where(x > 0, exponent - 1 + up, -1000)
    value = np.ldexp(1.0, np.clip(k, -127, 127))
    lost = np.isnan(x) | (~np.isfinite(x) | (k != np.clip(k, -127, 127)) if not saturate else False)
    value = np.where(np.isposinf(x), 2.0**127, value)
    return np.where(lost, np.nan, value).astype(np.float32)


def decode(codes: Array, name: str) -> Array:
    """Values in `held(name)` of unsigned integer `codes`, one for each value, whose low bits are those of `name`."""
    if name in INTEGERS:
        low, high = INTEGERS[name]
        span = high - low + 1
        return ((codes.astype(np.int64) - low) % span + low).astype(held(name))
    if name == "bfloat16":
        return (codes.astype(np.uint32) << 16).view(np.float32)
    if name == POWERS:
        values = np.ldexp(1.0, np.arange(256) - 127)
        values[255] = np.nan
        return values.astype(np.float32)[codes]
    return _table(FLOATS[name])[codes & ((1 << FLOATS[name].bits) - 1)]


def _table(kind: NarrowFloat) -> Array:
    """The value of every code of a float of at most 8 bits, float32."""
    half = 1 << kind.exponent + kind.mantissa
    code = np.arange(half)
    exponent, mantissa = code >> kind.mantissa, code & (1 << kind.mantissa) - 1
    lead = np.where(exponent > 0, 1 << kind.mantissa, 0)
    values = np.ldexp((mantissa + lead).astype(np.float64), np.maximum(exponent, 1) - kind.bias - kind.mantissa)
    values[values > kind.largest] = np.nan
    if kind.infinite:
        values[code == (half - (1 << kind.mantissa))] = np.inf
    both = np.concatenate([values, -values])
    if not kind.zero_sign:
        both[half] = np.nan
    return both.astype(np.float32)
