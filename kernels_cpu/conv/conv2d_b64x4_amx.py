"""int8 convolution over NC4HW4 (k4p) on AMX tiles by the cells that 64 output channels share, exact as conv2d_b64x4.

The lines of 16 pixels that a group of 64 channels keeps are gathered, once for all of them, into B tiles in scratch;
what follows is dense. The weights are A tiles of 16 channels x 16 kept cells, repacked when the plan is made.
Written against the software model of simd/amx.py: its speed on silicon is still to be measured.
"""

from __future__ import annotations

from edgert.kernels_cpu.conv.amx_sums import ROW_BYTES, STATE, TILE_BYTES, sums_begin, sums_finish, sums_spill
from edgert.kernels_cpu.conv.tiling import row_geometry, row_of
from edgert.kernels_cpu.registry import record_fields
from edgert.kernels_cpu.simd import (
    VECTOR_BYTES,
    helper,
    load_i8v,
    load_i32,
    load_i64,
    row_addresses,
    store_i8v,
)  # fmt: skip
from edgert.kernels_cpu.simd.amx import amx_configure, amx_dot, amx_load, amx_release

F = record_fields("conv2d_b64x4_k4p_amx")
CELLS = 16
"""Cells of a tile: its 64 bytes of k."""
CONFIG_BYTES = 64
"""Of operand `config`; the number of the first tile of every group of channels follows."""


def _gather(columns):  # type: ignore[no-untyped-def]
    """A function that copies the lines of `tiles` tiles to the panel, [tiles][columns][16 cells][16 pixels x 4]."""

    @helper
    def gather(inputs, taps, tiles, panel):  # type: ignore[no-untyped-def]
        for _ in range(tiles):
            for cell in range(CELLS):
                offset, target = load_i32(taps + 4 * cell), panel + ROW_BYTES * cell
                store_i8v(target, load_i8v(inputs[0] + offset))
                if columns == 2:
                    store_i8v(target + TILE_BYTES, load_i8v(inputs[1] + offset))
            taps += 4 * CELLS
            panel += columns * TILE_BYTES

    return gather


def _products(rows, columns):  # type: ignore[no-untyped-def]
    """A function that leaves rows x columns tiles of sums in scratch; tiles 4, 5 hold weights and 6, 7 pixels."""
    begin, spill = sums_begin(rows, columns), sums_spill(rows, columns)

    @helper
    def products(w, tiles, panel, scratch):  # type: ignore[no-untyped-def]
        state, below = scratch + STATE, w + TILE_BYTES * tiles
        begin(state)
        for i in range(tiles):
            amx_load(state, 6, panel, ROW_BYTES)
            amx_load(state, 4, w + TILE_BYTES * i, ROW_BYTES)
            amx_dot(state, 0, 4, 6)
            if columns == 2:
                amx_load(state, 7, panel + TILE_BYTES, ROW_BYTES)
                amx_dot(state, 1, 4, 7)
            if rows == 2:
                amx_load(state, 5, below + TILE_BYTES * i, ROW_BYTES)
                amx_dot(state, 2, 5, 6)
                if columns == 2:
                    amx_dot(state, 3, 5, 7)
            panel += columns * TILE_BYTES
        spill(state, scratch)

    return products


def _block(columns):  # type: ignore[no-untyped-def]
    """A function that computes `columns` pixel vectors of the 64-channel groups from n0 to n1."""
    gather, one, two = _gather(columns), _products(1, columns), _products(2, columns)
    addresses, finish = row_addresses(columns), sums_finish(F, columns)

    @helper
    def block(record, v, n0, n1, x, y, residual, scratch):  # type: ignore[no-untyped-def]
        per_row, row_last = load_i32(record + F.per_row), load_i32(record + F.row_last)
        row, place = row_of(v, per_row)
        inputs = addresses(x, row, place, per_row, VECTOR_BYTES, row_last, load_i32(record + F.x_pitch))
        starts, panel = load_i64(record + F.config) + CONFIG_BYTES, scratch + load_i32(record + F.panel)
        groups4 = load_i32(record + F.groups4)
        for group in range(n0, n1):
            start = load_i32(starts + 4 * group)
            tiles = load_i32(starts + 4 * group + 4) - start
            gather(inputs, load_i64(record + F.taps) + 4 * CELLS * start, tiles, panel)
            w = load_i64(record + F.w) + 4 * TILE_BYTES * start
            last = min(16 * group + 16, groups4)
            for first in range(16 * group, last, 8):
                if last - first > 4:
                    two(w, tiles, panel, scratch)
                else:
                    one(w, tiles, panel, scratch)
                w += 2 * TILE_BYTES * tiles
                finish(record, v, first, min(first + 8, last), y, residual, scratch)

    return block


_block1, _block2 = _block(1), _block(2)


def conv2d_b64x4_amx(record, chunk, scratch):  # type: ignore[no-untyped-def]
    """A chunk is a range of pixel vectors of one image and a slice of the groups of 64 output channels."""
    groups = (load_i32(record + F.groups4) + 15) >> 4
    part, n0, n1 = row_geometry(chunk, load_i32(record + F.slices), groups)
    image, v, last = row_geometry(part, load_i32(record + F.parts), load_i32(record + F.vectors))
    x = load_i64(record + F.x) + image * load_i32(record + F.x_batch)
    y = load_i64(record + F.y) + image * load_i32(record + F.y_batch)
    residual = load_i64(record + F.residual)
    if residual != 0:
        residual += image * load_i32(record + F.y_batch)
    amx_configure(scratch + STATE, load_i64(record + F.config))
    while v + 1 < last:
        _block2(record, v, n0, n1, x, y, residual, scratch)
        v += 2
    if v < last:
        _block1(record, v, n0, n1, x, y, residual, scratch)
    amx_release(scratch + STATE)
