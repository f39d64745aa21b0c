"""Twins of the kernels of 8-bit networks: their table rows."""

from __future__ import annotations

from edgert.kernels_gpu.table import Case, Grid, Twin


def _four_bytes_of_rows(case: Case) -> tuple[Grid, ...]:
    return (Grid((-(-case["row_bytes"] // 4), case["rows"]), (64, 1)),)


TWINS = (Twin("binary_q8", _four_bytes_of_rows, floats="a_ratio b_ratio", exact=True),)
