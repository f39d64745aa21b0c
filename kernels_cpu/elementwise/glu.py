"""Gated linear units, act(gate) * up of rows [gate | up]: to rows, or to g32 for a product with grouped weights.

Source: Shazeer 2020, "GLU variants improve Transformer". The activations are in gates.py.
"""

from __future__ import annotations

from edgert.kernels_cpu.elementwise import GLU
from edgert.kernels_cpu.elementwise.gates import gelu, gelu_tanh, sigmoid, silu
from edgert.kernels_cpu.registry import record_fields
from edgert.kernels_cpu.simd import (
    LANES,
    helper,
    load_f32v,
    load_i32,
    load_i64,
    share,
    store_first_f32v,
    udiv,
    urem,
)  # fmt: skip
from edgert.kernels_cpu.simd.group_quantize import quantize_groups
from edgert.kernels_cpu.simd.rows import present_rows

BLOCK = 64
"""Values of a unit of work: two groups of g32, and whole vectors at every level."""


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
