"""Twins of the kernels of float networks, and of those that serve every network: their table rows."""

from __future__ import annotations

from edgert.kernels_gpu.table import Case, Grid, Twin, flat


def _values_of_rows(case: Case) -> tuple[Grid, ...]:
    return (Grid((case["count"], case["size0"] * case["size1"]), (64, 1)),)


TWINS = (
    Twin("fill_row", lambda case: flat(-(-case["nbytes"] // 4)), exact=True),
    Twin("binary_f32", _values_of_rows, floats="low high"),
)
