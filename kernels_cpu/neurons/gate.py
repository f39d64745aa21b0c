"""Which neurons of a gated layer are active: activation(gate), 0 where its magnitude is not above the threshold.

Source: CATS, Lee et al. 2024; kernels_cpu/reference/neurons.py is the meaning.
"""

from __future__ import annotations

from edgert.kernels_cpu.elementwise.functions import const
from edgert.kernels_cpu.elementwise.gates import gelu, gelu_tanh, sigmoid, silu
from edgert.kernels_cpu.neurons import ACTIVATIONS
from edgert.kernels_cpu.registry import record_fields
from edgert.kernels_cpu.simd import (
    LANES,
    absolute,
    helper,
    load_f32,
    load_f32v,
    load_i32,
    load_i64,
    maximum,
    select_gt,
    select_nan,
    share,
    splat_f32,
    store_first_f32v,
    udiv,
)  # fmt: skip
from edgert.kernels_cpu.simd.rows import present_rows

F = record_fields("neurons_gate_f32")
BLOCK = 64
"""Neurons of a unit of work: whole vectors at every level, whole cache lines of every row."""


@helper
def relu(x):  # type: ignore[no-untyped-def]
    """A NaN stays one: where x > 0 is false, 0 > x decides."""
    return select_gt(const(0.0), x, const(0.0), x)


FUNCTIONS = (sigmoid, silu, gelu, gelu_tanh, relu)
"""In the order of ACTIVATIONS."""
assert len(FUNCTIONS) == len(ACTIVATIONS)


def _loop(function):  # type: ignore[no-untyped-def]
    @helper
    def loop(record, rows, first, last):  # type: ignore[no-untyped-def]
        """Neurons first .. last - 1 of every row; `last` is a multiple of BLOCK or the width."""
        width, threshold = load_i32(record + F.width), splat_f32(load_f32(record + F.threshold))
        x, y, marks = load_i64(record + F.x), load_i64(record + F.y), load_i64(record + F.any)
        for i in range(first, last, LANES):
            mark = const(0.0)
            for row in range(rows):
                place = 4 * (row * width + i)
                value = function(load_f32v(x + place))
                kept = select_nan(value, value, select_gt(absolute(value), threshold, value, const(0.0)))
                mark = select_nan(kept, const(1.0), maximum(absolute(kept), mark))
                store_first_f32v(y + place, kept, last - i)
            store_first_f32v(marks + 4 * i, mark, last - i)

    return loop


_sigmoid, _silu, _gelu, _gelu_tanh, _relu = (_loop(function) for function in FUNCTIONS)


def neurons_gate(record, chunk, scratch):  # type: ignore[no-untyped-def]
    """A chunk is a range of blocks of 64 neurons, of all rows."""
    rows, width = present_rows(record + F.rows_at, record + F.rows), load_i32(record + F.width)
    units, kind = udiv(width + BLOCK - 1, BLOCK), load_i32(record + F.kind)
    first, last = BLOCK * share(record, units, chunk), min(width, BLOCK * share(record, units, chunk + 1))
    if kind == 0:
        _sigmoid(record, rows, first, last)
    elif kind == 1:
        _silu(record, rows, first, last)
    elif kind == 2:
        _gelu(record, rows, first, last)
    elif kind == 3:
        _gelu_tanh(record, rows, first, last)
    else:
        _relu(record, rows, first, last)
