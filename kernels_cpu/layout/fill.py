"""Fills a buffer with four bytes repeated.

What Pad puts around its input, which a strided copy then overwrites in the middle.
"""

from __future__ import annotations

from edgert.kernels_cpu.registry import record_fields
from edgert.kernels_cpu.simd import (
    VECTOR_BYTES,
    bits_i8,
    load_i32,
    load_i64,
    share,
    splat_i32,
    store_first_i8v,
    udiv,
)  # fmt: skip

F = record_fields("fill_row")


def fill(record, chunk, scratch):  # type: ignore[no-untyped-def]
    """A chunk is a range of vectors."""
    nbytes, pattern = load_i32(record + F.nbytes), bits_i8(splat_i32(load_i32(record + F.pattern)))
    units = udiv(nbytes + VECTOR_BYTES - 1, VECTOR_BYTES)
    for i in range(share(record, units, chunk), share(record, units, chunk + 1)):
        store_first_i8v(load_i64(record + F.y) + VECTOR_BYTES * i, pattern, nbytes - VECTOR_BYTES * i)
