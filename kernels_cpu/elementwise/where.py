"""Where: values of one row or another, as bytes of truth say. Any type of 1, 2, 4 or 8 bytes.

Source: ONNX Where-16. Walks rows as binary_f32 does.
"""

from __future__ import annotations

from edgert.kernels_cpu.registry import record_fields
from edgert.kernels_cpu.simd import (
    LANES,
    VECTOR_BYTES,
    broadcast_i32,
    helper,
    load_i8,
    load_i16,
    load_i32,
    load_i32v,
    load_i64,
    load_u8,
    select_gt,
    share,
    splat_i32,
    store_first_i32v,
    store_i8,
    store_i16,
    store_i64,
    udiv,
)  # fmt: skip
from edgert.kernels_cpu.simd.permute import load_u8_i32

F = record_fields("where_row")


@helper
def words(c, c_spread, a, a_spread, b, b_spread, y, start, stop, count):  # type: ignore[no-untyped-def]
    """Vectors start .. stop-1 of four-byte values."""
    for i in range(start, stop):
        chosen = splat_i32(load_u8(c)) if c_spread != 0 else load_u8_i32(c + LANES * i)
        av = broadcast_i32(a) if a_spread != 0 else load_i32v(a + VECTOR_BYTES * i)
        bv = broadcast_i32(b) if b_spread != 0 else load_i32v(b + VECTOR_BYTES * i)
        store_first_i32v(y + VECTOR_BYTES * i, select_gt(chosen, splat_i32(0), av, bv), count - LANES * i)


def _one_by_one(load, store, size):  # type: ignore[no-untyped-def]
    """A function choosing values first .. last-1 of `size` bytes."""

    @helper
    def loop(c, c_spread, a, a_spread, b, b_spread, y, first, last):  # type: ignore[no-untyped-def]
        for i in range(first, last):
            chosen = load_u8(c) if c_spread != 0 else load_u8(c + i)
            av = load(a) if a_spread != 0 else load(a + size * i)
            bv = load(b) if b_spread != 0 else load(b + size * i)
            store(y + size * i, av if chosen != 0 else bv)

    return loop


_bytes, _halves, _longs = (
    _one_by_one(load_i8, store_i8, 1), _one_by_one(load_i16, store_i16, 2), _one_by_one(load_i64, store_i64, 8)
)  # fmt: skip


def where_row(record, chunk, scratch):  # type: ignore[no-untyped-def]
    """A chunk is a range of vectors of LANES values, counted over all rows."""
    count, size1, element = load_i32(record + F.count), load_i32(record + F.size1), load_i32(record + F.element)
    c_spread, a_spread, b_spread = (
        load_i32(record + F.c_spread), load_i32(record + F.a_spread), load_i32(record + F.b_spread)
    )  # fmt: skip
    vectors = udiv(count + LANES - 1, LANES)
    units = load_i32(record + F.size0) * size1 * vectors
    i, last = share(record, units, chunk), share(record, units, chunk + 1)
    while i < last:
        row = udiv(i, vectors)
        start = i - row * vectors
        stop = min(vectors, start + last - i)
        outer = udiv(row, size1)
        inner = row - outer * size1
        c = load_i64(record + F.c) + outer * load_i32(record + F.c_stride0) + inner * load_i32(record + F.c_stride1)
        a = load_i64(record + F.a) + outer * load_i32(record + F.a_stride0) + inner * load_i32(record + F.a_stride1)
        b = load_i64(record + F.b) + outer * load_i32(record + F.b_stride0) + inner * load_i32(record + F.b_stride1)
        y = load_i64(record + F.y) + element * count * row
        first, end = LANES * start, min(LANES * stop, count)
        if element == 4:
            words(c, c_spread, a, a_spread, b, b_spread, y, start, stop, count)
        elif element == 8:
            _longs(c, c_spread, a, a_spread, b, b_spread, y, first, end)
        elif element == 1:
            _bytes(c, c_spread, a, a_spread, b, b_spread, y, first, end)
        else:
            _halves(c, c_spread, a, a_spread, b, b_spread, y, first, end)
        i += stop - start
