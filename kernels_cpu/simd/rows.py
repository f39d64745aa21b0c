"""How many of the planned rows a run has: what kernels of language models ask before they begin.

Import from here, not through the package.
"""

from __future__ import annotations

from edgert.kernels_cpu.simd import helper, load_i32, load_i64


@helper
def present_rows(rows_at, rows):  # type: ignore[no-untyped-def]
    """The int32 that the operand field at `rows_at` points to, at most the param at `rows`; that, without one."""
    planned, place = load_i32(rows), load_i64(rows_at)
    return planned if place == 0 else max(0, min(planned, load_i32(place)))


__all__ = ["present_rows"]
