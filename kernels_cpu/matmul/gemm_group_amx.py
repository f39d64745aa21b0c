"""gemm_group's products on AMX tiles: 16 rows x 16 columns x 32 k, a group at a time, with the same bits.

A group of a panel is an AMX tile as it lies, and so are the values of 16 rows of x. What a tile sums up is scaled and
added in float after every group, so the tiles' work is a third of the time, and their full depth of 64 is not used.
Written against the software model of simd/amx.py: its speed on silicon is still to be measured.
"""

from __future__ import annotations

from typing import Any

from edgert.kernels_cpu.matmul.gemm_group import x_row
from edgert.kernels_cpu.matmul.gemm_group_panels import PANEL_BYTES, F, chunk_rows, fetcher, walk, whole_blocks
from edgert.kernels_cpu.simd import helper, load_i32, load_u8, store_i8, store_i16, store_i64
from edgert.kernels_cpu.simd.amx import amx_configure, amx_dot_signed, amx_load, amx_release, amx_store, amx_zero
from edgert.kernels_cpu.simd.group_panel import PANEL_BLOCKS, PITCH, group_add, group_bytes, unpack_block
from edgert.kernels_cpu.simd.groups import Q4, Q4M, Q8G, Grouped
from edgert.kernels_cpu.simd.panel_sums import row_starts

ROWS, DEPTH = 16, 32
"""Of a tile of x."""
LINE, TILE = 64, 1024
# scratch: the panel, the dot products of two groups, the tiles' configuration, the software model's tiles
DOTS = PANEL_BYTES
CONFIG = DOTS + 2 * TILE
STATE = CONFIG + LINE
END = STATE + LINE + 8 * TILE


@helper
def _configure(scratch, rows):  # type: ignore[no-untyped-def]
    """Tiles 0, 1 are sums [rows, 16] of int32, 2, 3 values of x [rows, 32], 4, 5 groups of a panel [8, 16 x 4]."""
    config = scratch + CONFIG
    for i in range(0, LINE, 8):
        store_i64(config + i, 0)
    store_i8(config, 1)
    for tile in range(6):
        store_i16(config + 16 + 2 * tile, DEPTH if tile == 2 or tile == 3 else LINE)
        store_i8(config + 48 + tile, rows if tile < 4 else DEPTH // 4)
    amx_configure(scratch + STATE, config)


def _tile_of(form: Grouped, rows: int) -> Any:
    add, starts = group_add(form, rows), row_starts(rows)
    size, unit_bytes = group_bytes(form), form.nbytes
    ahead = fetcher(PANEL_BLOCKS, unit_bytes)

    @helper
    def tile(record, acc, x, unit, units, panel, scratch, fetch):  # type: ignore[no-untyped-def]
        stride, depth, state = x_row(record), load_i32(record + F.units), scratch + STATE
        addresses = starts(x, stride)
        # a lower tile is computed with rows before it, that no row beyond the last one be read
        above = load_u8(scratch + CONFIG + 48) - rows
        dots = scratch + DOTS
        own = dots + LINE * above
        for u in range(units):
            if fetch != 0:
                ahead(fetch + unit_bytes * u, unit_bytes * depth)
            lines = panel + 2 * size * u
            for term in range(load_i32(record + F.terms)):
                at = 80 * depth * term
                values = x - above * stride + at + 64 * (unit + u)
                amx_zero(state, 0)
                amx_load(state, 2, values, stride)
                amx_load(state, 4, lines, PITCH)
                amx_dot_signed(state, 0, 2, 4)
                amx_store(state, 0, dots, LINE)
                amx_zero(state, 1)
                amx_load(state, 3, values + DEPTH, stride)
                amx_load(state, 5, lines + size, PITCH)
                amx_dot_signed(state, 1, 3, 5)
                amx_store(state, 1, dots + TILE, LINE)
                scale = at + 64 * depth + 8 * (unit + u)
                total = scale + 8 * depth
                acc = add(acc, addresses, own, scale, total, lines)
                acc = add(acc, addresses, own + TILE, scale + 4, total + 4, lines + size)
        return acc

    return tile


def product_amx(form: Grouped, weights: Any) -> Any:
    """A kernel whose panels are filled by `weights`, see whole_blocks, with bytes that are number - zero."""

    def tile_of(rows):  # type: ignore[no-untyped-def]
        return _tile_of(form, rows)

    tiles = helper(walk(tile_of, weights, x_row, ROWS, 1, PANEL_BLOCKS, 2 * group_bytes(form), even=False))

    def kernel(record, chunk, scratch):  # type: ignore[no-untyped-def]
        """A chunk is that of `walk`."""
        first, end = chunk_rows(record, chunk)
        if first < end:
            _configure(scratch, min(end - first, ROWS))
            tiles(record, chunk, scratch)
            amx_release(scratch + STATE)

    return kernel


def _dense(form: Grouped) -> Any:
    unpack = unpack_block(form, 0)
    return product_amx(form, whole_blocks(unpack, form.nbytes, PANEL_BLOCKS, 2 * group_bytes(form)))


gemm_q4_amx, gemm_q4m_amx, gemm_q8g_amx = _dense(Q4), _dense(Q4M), _dense(Q8G)
