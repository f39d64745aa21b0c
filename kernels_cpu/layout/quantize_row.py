"""Floats -> unsigned bytes in the same order, for 8-bit tensors in row layout.

Row buffers hold true unsigned bytes at every level; `flip` (-128 where activations are signed) turns them back.
"""

from __future__ import annotations

from edgert.kernels_cpu.layout.quantize_k4p import LARGE, quotient
from edgert.kernels_cpu.registry import record_fields
from edgert.kernels_cpu.simd import (
    VECTOR_BYTES,
    load_f32,
    load_i32,
    load_i64,
    requantize,
    sequence_packed,
    share,
    splat_f32,
    splat_i8,
    splat_i16,
    store_first_i8v,
    udiv,
)  # fmt: skip

F = record_fields("quantize_f32_row")


def quantize_row(record, chunk, scratch):  # type: ignore[no-untyped-def]
    """A chunk is a range of output vectors."""
    count = load_i32(record + F.count)
    scale, large = splat_f32(load_f32(record + F.scale)), splat_f32(LARGE)
    zero_point, flip = splat_i16(load_i32(record + F.zero_point)), splat_i8(load_i32(record + F.flip))
    units = udiv(count + VECTOR_BYTES - 1, VECTOR_BYTES)
    for i in range(share(record, units, chunk), share(record, units, chunk + 1)):
        x = load_i64(record + F.x) + 4 * VECTOR_BYTES * i
        q0, q1 = quotient(x, scale, large), quotient(x + VECTOR_BYTES, scale, large)
        q2, q3 = quotient(x + 2 * VECTOR_BYTES, scale, large), quotient(x + 3 * VECTOR_BYTES, scale, large)
        packed = sequence_packed(requantize(q0, q1, q2, q3, zero_point)) ^ flip
        store_first_i8v(load_i64(record + F.y) + VECTOR_BYTES * i, packed, count - VECTOR_BYTES * i)
