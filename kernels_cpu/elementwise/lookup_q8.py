"""Bytes through a table of 256: any operator of one 8-bit value.

The table is made at planning by the reference, so equality with it needs no argument.
"""

from __future__ import annotations

from edgert.kernels_cpu.registry import record_fields
from edgert.kernels_cpu.simd import (
    HAS_LOOKUP,
    VECTOR_BYTES,
    helper,
    load_i8v,
    load_i32,
    load_i64,
    load_u8,
    lookup_256,
    share,
    store_first_i8v,
    store_i8,
    udiv,
)  # fmt: skip

F = record_fields("lookup_q8")


@helper
def look_up_vectors(x, table, y, start, stop):  # type: ignore[no-untyped-def]
    for at in range(start, stop, VECTOR_BYTES):
        store_first_i8v(y + at, lookup_256(load_i8v(x + at), table), stop - at)


@helper
def look_up_bytes(x, table, y, start, stop):  # type: ignore[no-untyped-def]
    for at in range(start, stop):
        store_i8(y + at, load_u8(table + load_u8(x + at)))


look_up = look_up_vectors if HAS_LOOKUP else look_up_bytes


def lookup_q8(record, chunk, scratch):  # type: ignore[no-untyped-def]
    """A chunk is a range of vectors, counted over all rows."""
    row_bytes, table = load_i32(record + F.row_bytes), load_i64(record + F.table)
    vectors = udiv(row_bytes + VECTOR_BYTES - 1, VECTOR_BYTES)
    units = load_i32(record + F.rows) * vectors
    i, last = share(record, units, chunk), share(record, units, chunk + 1)
    while i < last:
        row = udiv(i, vectors)
        start = i - row * vectors
        stop = min(vectors, start + last - i)
        x = load_i64(record + F.x) + row * load_i32(record + F.x_row)
        y = load_i64(record + F.y) + row * load_i32(record + F.y_row)
        look_up(x, table, y, VECTOR_BYTES * start, min(VECTOR_BYTES * stop, row_bytes))
        i += stop - start
