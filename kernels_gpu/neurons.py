"""Twins of the kernels of layers whose neurons lie one by one, and of rows with few weights: their table rows."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from edgert.kernels_gpu.table import Case, Grid, Twin, flat

GROUP = 64
"""Work-items that list neurons."""
LANES = 16
"""Work-items that share a neuron, or a block of columns."""
NEURONS = 4
"""Neurons of a group."""
ROWS = 4
"""Rows of a work-item, at most."""
BLOCK = 128
"""Columns of a block."""


def _rows(case: Case) -> int:
    return min(ROWS, case["rows"])


def _row_tiles(case: Case) -> int:
    return -(-case["rows"] // _rows(case))


def _up(case: Case) -> tuple[Grid, ...]:
    return (Grid((LANES, case["width"], _row_tiles(case)), (LANES, NEURONS, 1)),)


def _down(case: Case) -> tuple[Grid, ...]:
    slices = case.tile["SLICES"]
    return (Grid((LANES * case["blocks"], slices, _row_tiles(case)), (LANES, slices, 1)),)


def _numbers(bits: int, case: Case) -> Mapping[str, int]:
    return {"BITS": bits, "ROWS": _rows(case), "NEURONS": NEURONS}


def _fanin(case: Case) -> tuple[Grid, ...]:
    return (Grid((case["columns"], _row_tiles(case)), (GROUP, 1)),)


TWINS = (
    Twin(
        "neurons_gate_f32", lambda case: flat(-(-case["width"] // 4)), uses="gates.cl", floats="threshold",
        writes="y any",
    ),
    Twin(
        "neurons_list_f32", lambda case: (Grid((GROUP,), (GROUP,)),), writes="listed", exact=True,
        defines=lambda case: {"GROUP": GROUP},
    ),
    *(
        twin
        for bits in (4, 8)
        for twin in (
            Twin(f"neurons_up{bits}_f32", _up, "neurons_up.cl", "neurons_up", "neurons.cl", writes="h",
                 defines=partial(_numbers, bits)),
            Twin(f"neurons_down{bits}_f32", _down, "neurons_down.cl", "neurons_down", "neurons.cl",
                 defines=partial(_numbers, bits), tiles=({"SLICES": 8}, {"SLICES": 1})),
        )
    ),
    Twin(
        "matvec_fanin_n16", _fanin, uses="product.cl", floats="low high",
        defines=lambda case: {"ROWS": _rows(case), "MANY": 0},
    ),
)  # fmt: skip
