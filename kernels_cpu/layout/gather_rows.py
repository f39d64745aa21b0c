"""Rows of a table of halves or floats, by their numbers, as floats. The table lies in rows or in lines of 16 (n16k1).

Source: ONNX Gather along axis 0. Tables with weights in groups are gather_groups.py's.
"""

from __future__ import annotations

from typing import Any

from edgert.kernels_cpu.registry import record_fields
from edgert.kernels_cpu.simd import (
    LANES,
    helper,
    load_f32,
    load_f32v,
    load_i32,
    load_i64,
    share,
    store_f32,
    store_first_f32v,
    udiv,
)  # fmt: skip
from edgert.kernels_cpu.simd.half import load_f16, load_f16v
from edgert.kernels_cpu.simd.rows import present_rows


@helper
def row_number(indices, i, wide, table):  # type: ignore[no-untyped-def]
    """Number i of those at `indices`, int64 if `wide`, else int32: negative ones count from the end; none reaches out
    of the `table` rows."""
    number = load_i64(indices + 8 * i) if wide != 0 else load_i32(indices + 4 * i)
    number += table if number < 0 else 0
    return max(0, min(number, table - 1))


def _kernel(vector: Any, scalar: Any, width: int, F: Any) -> Any:
    """vector, scalar: loads that widen to float32. width: bytes of a number of the table."""

    def gather(record, chunk, scratch):  # type: ignore[no-untyped-def]
        """A chunk is a range of the numbers. Blocks of 16 rows are `block` bytes apart, their rows `lane` bytes and
        the values of a row `step`."""
        rows = present_rows(record + F.rows_at, record + F.rows)
        columns, table, step = load_i32(record + F.columns), load_i32(record + F.table), load_i32(record + F.step)
        x, y, indices = load_i64(record + F.x), load_i64(record + F.y), load_i64(record + F.indices)
        for i in range(share(record, rows, chunk), share(record, rows, chunk + 1)):
            number = row_number(indices, i, load_i32(record + F.wide), table)
            block = udiv(number, 16)
            at = x + block * load_i32(record + F.block) + (number - 16 * block) * load_i32(record + F.lane)
            to = y + i * 4 * columns
            if step == width:
                for k in range(0, columns, LANES):
                    store_first_f32v(to + 4 * k, vector(at + width * k), columns - k)
            else:
                for k in range(columns):
                    store_f32(to + 4 * k, scalar(at + step * k))

    return gather


gather_f16 = _kernel(load_f16v, load_f16, 2, record_fields("gather_f16"))
gather_f32 = _kernel(load_f32v, load_f32, 4, record_fields("gather_f32"))
