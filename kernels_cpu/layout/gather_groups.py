"""Rows of a table with weights in groups (n16k64), by their numbers, as floats: the embeddings of tokens.

Source: ONNX Gather along axis 0. Tables of floats and halves are gather_rows.py's.
"""

from __future__ import annotations

from typing import Any

from edgert.kernels_cpu.layout.gather_rows import row_number
from edgert.kernels_cpu.registry import record_fields
from edgert.kernels_cpu.simd import helper, load_f32, load_i32, load_i64, share, store_f32, udiv
from edgert.kernels_cpu.simd.groups import Q4, Q4M, Q8G, Grouped, store_group
from edgert.kernels_cpu.simd.rows import present_rows


@helper
def _copy(x, y, count):  # type: ignore[no-untyped-def]
    """`count` floats from x to y."""
    for i in range(count):
        store_f32(y + 4 * i, load_f32(x + 4 * i))


def _kernel(form: Grouped, F: Any) -> Any:
    store, size = store_group(form), form.nbytes

    def gather(record, chunk, scratch):  # type: ignore[no-untyped-def]
        """A chunk is a range of the numbers. Scratch holds the last group of a row that is not whole."""
        rows = present_rows(record + F.rows_at, record + F.rows)
        columns, table = load_i32(record + F.columns), load_i32(record + F.table)
        x, y, indices = load_i64(record + F.x), load_i64(record + F.y), load_i64(record + F.indices)
        stride = size * udiv(columns + 63, 64)
        for i in range(share(record, rows, chunk), share(record, rows, chunk + 1)):
            number = row_number(indices, i, load_i32(record + F.wide), table)
            block = udiv(number, 16)
            lane, w, to = number - 16 * block, x + block * stride, y + i * 4 * columns
            for group in range(udiv(columns + 31, 32)):
                at, side, left = w + (group >> 1) * size, group & 1, columns - 32 * group
                if left >= 32:
                    store(at, lane, side, to + 128 * group)
                else:
                    store(at, lane, side, scratch)
                    _copy(scratch, to + 128 * group, left)

    return gather


gather_q4 = _kernel(Q4, record_fields("gather_q4_n16k64"))
gather_q4m = _kernel(Q4M, record_fields("gather_q4m_n16k64"))
gather_q8g = _kernel(Q8G, record_fields("gather_q8g_n16k64"))
