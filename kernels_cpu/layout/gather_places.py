"""Runs of bytes by their numbers: Gather along any axis, of any type, from activations.

Source: ONNX Gather-13. Rows of stored tables are gather_rows.py's.
"""

from __future__ import annotations

from edgert.kernels_cpu.layout.copy_strided import copy_run
from edgert.kernels_cpu.layout.gather_rows import row_number
from edgert.kernels_cpu.registry import record_fields
from edgert.kernels_cpu.simd import (
    VECTOR_BYTES,
    load_i8,
    load_i32,
    load_i64,
    share,
    store_i8,
    store_i32,
    store_i64,
    udiv,
)  # fmt: skip

F = record_fields("gather_row")


def gather_places(record, chunk, scratch):  # type: ignore[no-untyped-def]
    """A chunk is a range of the `places` of all `outer` parts, each a run of `inner` bytes among `table` of its
    part."""
    places, table, inner = load_i32(record + F.places), load_i32(record + F.table), load_i32(record + F.inner)
    indices, wide = load_i64(record + F.indices), load_i32(record + F.wide)
    units = load_i32(record + F.outer) * places
    for unit in range(share(record, units, chunk), share(record, units, chunk + 1)):
        part = udiv(unit, places)
        number = row_number(indices, unit - part * places, wide, table)
        x = load_i64(record + F.x) + (part * table + number) * inner
        y = load_i64(record + F.y) + unit * inner
        if inner == 4:
            store_i32(y, load_i32(x))
        elif inner == 8:
            store_i64(y, load_i64(x))
        elif inner >= VECTOR_BYTES:
            copy_run(x, y, inner)
        else:
            for i in range(inner):
                store_i8(y + i, load_i8(x + i))
