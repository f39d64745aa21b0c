"""Twins of the kernels of recurrent layers: their table rows."""

from __future__ import annotations

from edgert.kernels_gpu.table import Case, Grid, Twin

TILES = ({"GROUP": 64}, {"GROUP": 16}, {"GROUP": 256})
"""Work-items that share a sequence."""
STATES = {"lstm_f32_row": 3, "gru_f32_row": 4, "rnn_f32_row": 2}
"""Rows of units that the steps of a sequence hand on."""


def _directions(case: Case) -> int:
    return case.nbytes["w"] // case["w_direction"]


def _sequences(case: Case) -> tuple[Grid, ...]:
    """A group for each sequence in each direction."""
    group = case.tile["GROUP"]
    return (Grid((group, case["batch"], _directions(case)), (group, 1, 1)),)


def _layer(kernel: str, states: int, writes: str) -> Twin:
    return Twin(
        kernel, _sequences, uses="recurrent.cl", floats="clip", writes=writes, tiles=TILES,
        defines=lambda case: {"STATES": states},
        workspace=lambda case: 4 * states * -(-case["hidden"] // 16) * 16 * case["batch"] * _directions(case),
    )  # fmt: skip


TWINS = tuple(
    _layer(kernel, states, "y y_h y_c" if kernel.startswith("lstm") else "y y_h") for kernel, states in STATES.items()
)
