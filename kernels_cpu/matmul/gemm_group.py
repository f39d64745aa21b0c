"""Products of many rows in g32 with weights in groups of 32: y = clamp(x w + bias + residual), float32.

For each output, group after group: acc = fma(integer dot product, w_scale * x_scale, acc), and q4m then
acc = fma(x_scale * sum, minimum, acc): the same bits as the kernels for few rows, whatever rows come together.
The dense forms have tiles of their own where there are int8 matrix products (simd/group_pairs.py).
"""

from __future__ import annotations

from typing import Any

from edgert.kernels_cpu.matmul.gemm_group_panels import F, fetcher, walk, whole_blocks
from edgert.kernels_cpu.simd import REGISTERS, VECTOR_BYTES, helper, load_i32
from edgert.kernels_cpu.simd.group_pairs import pairs_bytes, pairs_enter, pairs_leave, pairs_step, pairs_unpack
from edgert.kernels_cpu.simd.group_panel import PANEL_BLOCKS, excess, group_bytes, group_step, unpack_block
from edgert.kernels_cpu.simd.groups import Q4, Q4M, Q8G, Grouped
from edgert.kernels_cpu.simd.panel_sums import row_starts
from edgert.kernels_cpu.simd.target import has

ROWS = {64: 6, 32: 5}.get(VECTOR_BYTES, 4 if REGISTERS == 32 else 2)
ROWS_OF_PAIRS = 6
"""With int8 matrix products."""
VECTORS = 2
"""Of the largest tile: each output takes an integer and a float register."""


@helper
def x_row(record):  # type: ignore[no-untyped-def]
    """Bytes of a row of g32, of as many terms as it has: a unit is 64 values with two scales and two sums."""
    return 80 * load_i32(record + F.units) * load_i32(record + F.terms)


def _as_they_are(rows: int, vectors: int) -> Any:
    @helper
    def same(acc):  # type: ignore[no-untyped-def]
        return acc

    return same


def _tiles(
    form: Grouped, size: int, step_of: Any, spread: int = 1, enter_of: Any = _as_they_are, leave_of: Any = _as_they_are
) -> Any:
    """tile_of of `walk`, for panels of numbers of that form, `size` bytes a group, 4 * spread bytes a column and line.
    step_of(form, rows, vectors): what adds a group; enter_of and leave_of: to and from its order of the sums."""
    half = form.nbytes // 2
    ahead = fetcher(PANEL_BLOCKS, half)

    def tile_of(rows):  # type: ignore[no-untyped-def]
        step, starts = step_of(form, rows, VECTORS), row_starts(rows)
        enter, leave = enter_of(rows, VECTORS), leave_of(rows, VECTORS)

        @helper
        def tile(record, acc, x, unit, units, panel, scratch, fetch):  # type: ignore[no-untyped-def]
            depth, terms = load_i32(record + F.units), load_i32(record + F.terms)
            addresses = starts(x, x_row(record))
            panel = scratch + spread * (panel - scratch)
            sums = enter(acc)
            for u in range(units):
                for term in range(terms):
                    at = 80 * depth * term
                    for g in range(2):
                        if fetch != 0 and term == 0:
                            ahead(fetch + half * (2 * u + g), 2 * half * depth)
                        group = 2 * (unit + u) + g
                        scale = at + 64 * depth + 4 * group
                        lines = panel + size * (2 * u + g)
                        sums = step(sums, addresses, at + 32 * group, scale, scale + 8 * depth, lines)
            return leave(sums)

        return tile

    return tile_of


def product(form: Grouped, weights: Any) -> Any:
    """A kernel whose panels are filled by `weights`, see whole_blocks."""
    size = group_bytes(form)
    return walk(_tiles(form, size, group_step), weights, x_row, ROWS, VECTORS, PANEL_BLOCKS, 2 * size)


def _dense(form: Grouped) -> Any:
    if has("i8mm"):
        size = pairs_bytes(form)
        weights = whole_blocks(pairs_unpack(form), form.nbytes, PANEL_BLOCKS, 2 * size)
        tiles = _tiles(form, size, pairs_step, 2, pairs_enter, pairs_leave)
        return walk(tiles, weights, x_row, ROWS_OF_PAIRS, VECTORS, PANEL_BLOCKS, 2 * size)
    unpack = unpack_block(form, excess(form))
    return product(form, whole_blocks(unpack, form.nbytes, PANEL_BLOCKS, 2 * group_bytes(form)))


gemm_q4, gemm_q4m, gemm_q8g = _dense(Q4), _dense(Q4M), _dense(Q8G)
