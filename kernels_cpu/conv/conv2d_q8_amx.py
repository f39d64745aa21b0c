"""int8 convolution over NC4HW4 (k4p) on AMX tiles: 32 output channels x 32 pixels per block, exact as conv2d_q8.

A line of 16 pixels x 4 channels is one row of an AMX B tile as it lies, and the lines of consecutive channel planes
are a plane apart, so activations are read in place; the weights are A tiles, repacked when the plan is made.
Written against the software model of simd/amx.py: its speed on silicon is still to be measured.
"""

from __future__ import annotations

from edgert.kernels_cpu.conv.amx_sums import ROW_BYTES, STATE, TILE_BYTES, sums_begin, sums_finish, sums_spill
from edgert.kernels_cpu.conv.tiling import row_geometry, row_of
from edgert.kernels_cpu.registry import record_fields
from edgert.kernels_cpu.simd import VECTOR_BYTES, helper, load_i32, load_i64, row_addresses
from edgert.kernels_cpu.simd.amx import amx_configure, amx_dot, amx_load, amx_release

F = record_fields("conv2d_q8_k4p_amx")


def _products(rows, columns):  # type: ignore[no-untyped-def]
    """A function that leaves rows x columns tiles of sums in scratch; tiles 4, 5 hold weights and 6, 7 pixels."""
    begin, spill = sums_begin(rows, columns), sums_spill(rows, columns)

    @helper
    def products(record, w, inputs, scratch):  # type: ignore[no-untyped-def]
        blocks, taps, plane = load_i32(record + F.blocks), load_i64(record + F.taps), load_i32(record + F.x_plane)
        state, below = scratch + STATE, w + TILE_BYTES * blocks
        begin(state)
        for i in range(blocks):
            offset = load_i32(taps + 4 * i)
            amx_load(state, 6, inputs[0] + offset, plane)
            amx_load(state, 4, w + TILE_BYTES * i, ROW_BYTES)
            amx_dot(state, 0, 4, 6)
            if columns == 2:
                amx_load(state, 7, inputs[1] + offset, plane)
                amx_dot(state, 1, 4, 7)
            if rows == 2:
                amx_load(state, 5, below + TILE_BYTES * i, ROW_BYTES)
                amx_dot(state, 2, 5, 6)
                if columns == 2:
                    amx_dot(state, 3, 5, 7)
        spill(state, scratch)

    return products


def _block(columns):  # type: ignore[no-untyped-def]
    """A function that computes `columns` pixel vectors of output channels 4 g0 to 4 g1, g0 a multiple of 8."""
    one, two, addresses = _products(1, columns), _products(2, columns), row_addresses(columns)
    finish = sums_finish(F, columns)

    @helper
    def block(record, v, g0, g1, x, y, residual, scratch):  # type: ignore[no-untyped-def]
        tile_bytes = TILE_BYTES * load_i32(record + F.blocks)
        w = load_i64(record + F.w) + tile_bytes * (g0 >> 2)
        per_row, row_last = load_i32(record + F.per_row), load_i32(record + F.row_last)
        row, place = row_of(v, per_row)
        inputs = addresses(x, row, place, per_row, VECTOR_BYTES, row_last, load_i32(record + F.x_pitch))
        for first in range(g0, g1, 8):
            if g1 - first > 4:
                two(record, w, inputs, scratch)
            else:
                one(record, w, inputs, scratch)
            w += 2 * tile_bytes
            finish(record, v, first, min(first + 8, g1), y, residual, scratch)

    return block


_block1, _block2 = _block(1), _block(2)


def conv2d_q8_amx(record, chunk, scratch):  # type: ignore[no-untyped-def]
    """A chunk is a range of pixel vectors of one image and a slice of the blocks of 32 output channels."""
    groups = load_i32(record + F.groups4)
    part, first, end = row_geometry(chunk, load_i32(record + F.slices), (groups + 7) >> 3)
    g0, g1 = 8 * first, min(8 * end, groups)
    image, v, last = row_geometry(part, load_i32(record + F.parts), load_i32(record + F.vectors))
    x = load_i64(record + F.x) + image * load_i32(record + F.x_batch)
    y = load_i64(record + F.y) + image * load_i32(record + F.y_batch)
    residual = load_i64(record + F.residual)
    if residual != 0:
        residual += image * load_i32(record + F.y_batch)
    amx_configure(scratch + STATE, load_i64(record + F.config))
    while v + 1 < last:
        _block2(record, v, g0, g1, x, y, residual, scratch)
        v += 2
    if v < last:
        _block1(record, v, g0, g1, x, y, residual, scratch)
    amx_release(scratch + STATE)
