"""Sizes that the kernels of attention and the planner agree on. Importable without Numba."""

from __future__ import annotations

GROUP = 16
"""Positions whose keys lie side by side."""
BLOCK = 64
"""Positions whose scores a tile of query rows holds at a time."""
SPLIT = 256
"""Positions that are summed on their own: what threads share when there are few query rows."""
MAX_DEPTH = 256
"""Numbers of the deepest head."""
TURNS = 128
"""Positions between two coarse angles of the rotary table, and how many fine ones there are."""
ANGLE_BYTES = 4 * MAX_DEPTH
"""Cosines and sines of one position in scratch."""
ROW = 4 * MAX_DEPTH + 64
"""Bytes between rows of queries and sums in scratch: a line more, so that rows do not meet in one place of a cache."""
SCORE_ROW = 4 * BLOCK
SUM_ROW = 64
"""Bytes of a row's running total, by lanes."""
STATE_ROW = 24
"""Bytes of what else is known of a row: maxima, factors, what it sees."""
TAIL = 64
"""Bytes behind the sums of a range of positions in memory: their maximum and their total."""


def rope_scratch(depth: int, element_bytes: int) -> int:
    """Bytes of scratch in which keys are made ready: angles, floats of one, and elements of a group."""
    return ANGLE_BYTES + (4 + GROUP * element_bytes) * depth


def tile_scratch(tile_rows: int) -> int:
    """Bytes of scratch of a tile: queries, sums, merged sums, scores, totals, states, and angles."""
    return tile_rows * (3 * ROW + SCORE_ROW + SUM_ROW + STATE_ROW) + ANGLE_BYTES


def merge_scratch(depth: int) -> int:
    """Bytes of scratch in which the sums of a row are merged."""
    return TAIL + 4 * depth


def partial_row(depth: int) -> int:
    """Bytes of the sums of one query row over one range of positions."""
    return 4 * depth + TAIL
