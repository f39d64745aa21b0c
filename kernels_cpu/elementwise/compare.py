"""Comparisons of floats and integers, and logic of bools, to bytes of 0 and 1.

Source: ONNX Equal ... LessOrEqual, And, Or, Xor. Walks rows as binary_f32 does.
"""

from __future__ import annotations

from edgert.kernels_cpu.elementwise import COMPARE
from edgert.kernels_cpu.registry import record_fields
from edgert.kernels_cpu.simd import (
    LANES,
    VECTOR_BYTES,
    broadcast_f32,
    broadcast_i32,
    helper,
    load_f32v,
    load_i32,
    load_i32v,
    load_i64,
    load_u8,
    share,
    splat_i32,
    store_i8,
    udiv,
)  # fmt: skip
from edgert.kernels_cpu.simd.masks import is_at_least, is_equal, is_greater, is_unequal, store_first_bytes
from edgert.kernels_cpu.simd.permute import load_u8_i32

F = record_fields("compare_row")


@helper
def both(a, b):  # type: ignore[no-untyped-def]
    return a & b


@helper
def either(a, b):  # type: ignore[no-untyped-def]
    return a | b


@helper
def differ(a, b):  # type: ignore[no-untyped-def]
    return a ^ b


COMPARISONS = (is_equal, is_unequal, is_greater, is_at_least)
LOGIC = (is_equal, is_unequal, is_greater, is_at_least, both, either, differ)
"""In the order of COMPARE."""
assert len(LOGIC) == len(COMPARE)


@helper
def floats(address, spread, i):  # type: ignore[no-untyped-def]
    return broadcast_f32(address) if spread != 0 else load_f32v(address + VECTOR_BYTES * i)


@helper
def words(address, spread, i):  # type: ignore[no-untyped-def]
    return broadcast_i32(address) if spread != 0 else load_i32v(address + VECTOR_BYTES * i)


@helper
def bytes_(address, spread, i):  # type: ignore[no-untyped-def]
    return splat_i32(load_u8(address)) if spread != 0 else load_u8_i32(address + LANES * i)


def _loop(function, load):  # type: ignore[no-untyped-def]
    """A function running `function` over vectors start .. stop-1 of one row."""

    @helper
    def loop(a, a_spread, b, b_spread, y, start, stop, count):  # type: ignore[no-untyped-def]
        for i in range(start, stop):
            found = function(load(a, a_spread, i), load(b, b_spread, i))
            store_first_bytes(y + LANES * i, found, count - LANES * i)

    return loop


def _chain(functions, load, number):  # type: ignore[no-untyped-def]
    """A function that runs operator `number` when `op` says so, and asks the chain of those after it when not."""
    loop = _loop(functions[number], load)
    if number + 1 == len(functions):

        @helper
        def last(op, a, a_spread, b, b_spread, y, start, stop, count):  # type: ignore[no-untyped-def]
            loop(a, a_spread, b, b_spread, y, start, stop, count)

        return last
    rest = _chain(functions, load, number + 1)

    @helper
    def choose(op, a, a_spread, b, b_spread, y, start, stop, count):  # type: ignore[no-untyped-def]
        if op == number:
            loop(a, a_spread, b, b_spread, y, start, stop, count)
        else:
            rest(op, a, a_spread, b, b_spread, y, start, stop, count)

    return choose


_floats, _words, _bytes = (
    _chain(COMPARISONS, floats, 0), _chain(COMPARISONS, words, 0), _chain(LOGIC, bytes_, 0)
)  # fmt: skip


@helper
def longs(op, a, a_spread, b, b_spread, y, first, last):  # type: ignore[no-untyped-def]
    """int64, one by one."""
    for i in range(first, last):
        av = load_i64(a) if a_spread != 0 else load_i64(a + 8 * i)
        bv = load_i64(b) if b_spread != 0 else load_i64(b + 8 * i)
        equal, greater = 1 if av == bv else 0, 1 if av > bv else 0
        if op == 0:
            found = equal
        elif op == 1:
            found = 1 - equal
        elif op == 2:
            found = greater
        else:
            found = equal | greater
        store_i8(y + i, found)


def compare_row(record, chunk, scratch):  # type: ignore[no-untyped-def]
    """A chunk is a range of vectors of LANES values, counted over all rows."""
    op, kind = load_i32(record + F.op), load_i32(record + F.kind)
    count, size1 = load_i32(record + F.count), load_i32(record + F.size1)
    a_spread, b_spread = load_i32(record + F.a_spread), load_i32(record + F.b_spread)
    vectors = udiv(count + LANES - 1, LANES)
    units = load_i32(record + F.size0) * size1 * vectors
    i, last = share(record, units, chunk), share(record, units, chunk + 1)
    while i < last:
        row = udiv(i, vectors)
        start = i - row * vectors
        stop = min(vectors, start + last - i)
        outer = udiv(row, size1)
        inner = row - outer * size1
        a = load_i64(record + F.a) + outer * load_i32(record + F.a_stride0) + inner * load_i32(record + F.a_stride1)
        b = load_i64(record + F.b) + outer * load_i32(record + F.b_stride0) + inner * load_i32(record + F.b_stride1)
        y = load_i64(record + F.y) + count * row
        if kind == 0:
            _floats(op, a, a_spread, b, b_spread, y, start, stop, count)
        elif kind == 1:
            _words(op, a, a_spread, b, b_spread, y, start, stop, count)
        elif kind == 2:
            _bytes(op, a, a_spread, b, b_spread, y, start, stop, count)
        else:
            longs(op, a, a_spread, b, b_spread, y, LANES * start, min(LANES * stop, count))
        i += stop - start
