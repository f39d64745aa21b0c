"""Gated linear units, act(gate) * up of rows [gate | up]: to rows, or to g32 for a product with grouped weights.

Source: Shazeer 2020, "GLU variants improve Transformer". Of the activations, gelu is that of unary_f32.
"""

from __future__ import annotations

from edgert.kernels_cpu.elementwise import GLU
from edgert.kernels_cpu.elementwise.functions import LN2_HIGH, LN2_LOW, LOG2_E, const
from edgert.kernels_cpu.elementwise.unary_f32 import SQRT_2_PI
from edgert.kernels_cpu.elementwise.unary_f32 import gelu as gelu_exact
from edgert.kernels_cpu.registry import record_fields
from edgert.kernels_cpu.simd import (
    LANES,
    bits_f32,
    bits_i32,
    fma,
    helper,
    load_f32v,
    load_i32,
    load_i64,
    maximum,
    minimum,
    share,
    shift_left,
    store_first_f32v,
    udiv,
    urem,
)  # fmt: skip
from edgert.kernels_cpu.simd.group_quantize import quantize_groups
from edgert.kernels_cpu.simd.rows import present_rows

ROUNDER = 12582912.0
"""1.5 * 2**23."""
BLOCK = 64
"""Values of a unit of work: two groups of g32, and whole vectors at every level."""


@helper
def over_one_plus_exp(x, z):  # type: ignore[no-untyped-def]
    """x / (1 + exp(-z)) within 3e-7 relative for z > -87; below, and for z = -infinity, as if it were -87.

    exp has no special cases here: -z is brought to where it is a normal number. Its polynomial is the least of degree
    5 on |r| <= ln(2) / 2, within 8e-8. A NaN stays one.
    """
    v = minimum(const(87.0), maximum(const(-87.0), const(0.0) - z))
    # Adding 1.5 * 2**23 leaves the nearest whole number in the last bits, whence the exponent takes it.
    shifted = fma(v, const(LOG2_E), const(ROUNDER))
    n = shifted - const(ROUNDER)
    r = fma(n, const(-LN2_LOW), fma(n, const(-LN2_HIGH), v))
    p = fma(const(0.00829761940985918), r, const(0.04191562905907631))
    p = fma(p, r, const(0.16667576134204865))
    p = fma(p, r, const(0.4999889135360718))
    p = fma(p, r, const(0.9999997019767761))
    p = fma(p, r, const(1.0000001192092896))
    e = bits_f32(bits_i32(p) + shift_left(bits_i32(shifted), 23))
    return x / (const(1.0) + e)


@helper
def sigmoid(x):  # type: ignore[no-untyped-def]
    return over_one_plus_exp(const(1.0), x)


@helper
def silu(x):  # type: ignore[no-untyped-def]
    return over_one_plus_exp(maximum(const(-87.0), x), x)


@helper
def gelu(x):  # type: ignore[no-untyped-def]
    return gelu_exact(x, const(0.0), const(0.0))


@helper
def gelu_tanh(x):  # type: ignore[no-untyped-def]
    """(1 + tanh(u)) / 2 is the sigmoid of 2 u."""
    twice = const(2.0 * SQRT_2_PI) * (x + const(0.044715) * x * x * x)
    return over_one_plus_exp(maximum(const(-87.0), x), twice)


FUNCTIONS = (sigmoid, silu, gelu, gelu_tanh)
"""In the order of GLU."""
assert len(FUNCTIONS) == len(GLU)


def _loop(function):  # type: ignore[no-untyped-def]
    @helper
    def loop(x, y, first, last, width):  # type: ignore[no-untyped-def]
        """Values first .. last - 1 of a row of `width` to y, the place of the row's first value."""
        for i in range(first, last, LANES):
            gate, up = load_f32v(x + 4 * i), load_f32v(x + 4 * (width + i))
            store_first_f32v(y + 4 * i, function(gate) * up, last - i)

    return loop


_sigmoid, _silu, _gelu, _gelu_tanh = (_loop(function) for function in FUNCTIONS)


@helper
def gated(kind, x, y, first, last, width):  # type: ignore[no-untyped-def]
    if kind == 0:
        _sigmoid(x, y, first, last, width)
    elif kind == 1:
        _silu(x, y, first, last, width)
    elif kind == 2:
        _gelu(x, y, first, last, width)
    else:
        _gelu_tanh(x, y, first, last, width)


def _kernel(name, grouped):  # type: ignore[no-untyped-def]
    fields = record_fields(name)

    def glu(record, chunk, scratch):  # type: ignore[no-untyped-def]
        """A chunk is a range of blocks of 64 values, counted row by row."""
        width, blocks, kind = (
            load_i32(record + fields.width),
            load_i32(record + fields.blocks),
            load_i32(record + fields.kind),
        )
        units = blocks * present_rows(record + fields.rows_at, record + fields.rows)
        at, end = share(record, units, chunk), share(record, units, chunk + 1)
        while at < end:
            row, block = udiv(at, blocks), urem(at, blocks)
            stop = min(blocks, block + end - at)
            x = load_i64(record + fields.x) + row * 8 * width
            y = load_i64(record + fields.y) + row * load_i32(record + fields.y_row)
            made = scratch if grouped else y
            gated(kind, x, made, BLOCK * block, min(width, BLOCK * stop), width)
            if grouped:
                quantize_groups(scratch, y, width, 2 * block, 2 * stop)
            at += stop - block

    return glu


glu_row, glu_g32 = _kernel("glu_f32_row", False), _kernel("glu_f32_g32", True)
