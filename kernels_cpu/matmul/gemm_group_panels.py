"""How a product of many rows walks: chunks, passes over k, panels of unpacked weights in scratch, tiles of rows.

What a panel holds and what a tile computes come from the kernels' files (gemm_group.py, gemm_group_f16.py).
Source: the blocking of Goto and van de Geijn 2008, "Anatomy of high-performance matrix multiplication": a panel stays
in the first-level cache while all rows pass, rows of one pass over k stay in the second-level cache.
"""

from __future__ import annotations

from edgert.kernels_cpu.registry import record_fields
from edgert.kernels_cpu.simd import (
    LANES,
    helper,
    load_f32,
    load_i32,
    load_i64,
    panel_store_f32,
    prefetch,
    splat_f32,
    udiv,
    urem,
)
from edgert.kernels_cpu.simd.panel_sums import sums_add, sums_load, sums_zero
from edgert.kernels_cpu.simd.rows import present_rows

F = record_fields("gemm_q4_n16k64")
"""All kernels of this walk have the same record."""
PANEL_BYTES = 24 << 10
"""Of scratch: a panel, and rows of x beside it, fit a first-level cache of 32 KiB."""
COLUMNS = 16
"""Of a block of weights."""
INFINITY = float("inf")


def _finished(tile, rows, vectors):  # type: ignore[no-untyped-def]
    """A function that computes `rows` rows of one pass over k and stores them, the last pass with all that is added."""
    zero, load, add = sums_zero(rows, vectors), sums_load(rows, vectors), sums_add(rows, vectors)
    store = panel_store_f32(rows, vectors)

    @helper
    def finished(height, record, x, unit, units, panel, scratch, fetch, y, residual, bias, count):  # type: ignore[no-untyped-def]
        y_row = 4 * load_i32(record + F.columns)
        acc = load(y, y_row, count) if unit > 0 else zero()
        acc = tile(record, acc, x, unit, units, panel, scratch, fetch)
        low, high = splat_f32(-INFINITY), splat_f32(INFINITY)
        if unit + units == load_i32(record + F.units):
            if bias != 0:
                acc = add(acc, bias, 0, count)
            if residual != 0:
                acc = add(acc, residual, y_row, count)
            low, high = splat_f32(load_f32(record + F.low)), splat_f32(load_f32(record + F.high))
        store(acc, low, high, y, y_row, count)

    return finished


def _up_to(tile_of, rows, vectors):  # type: ignore[no-untyped-def]
    """A function like those of `_finished`, of any height from 1 to `rows`."""
    whole = _finished(tile_of(rows), rows, vectors)
    if rows == 1:
        return whole
    smaller = _up_to(tile_of, rows - 1, vectors)

    @helper
    def chosen(height, record, x, unit, units, panel, scratch, fetch, y, residual, bias, count):  # type: ignore[no-untyped-def]
        if height == rows:
            whole(height, record, x, unit, units, panel, scratch, fetch, y, residual, bias, count)
        else:
            smaller(height, record, x, unit, units, panel, scratch, fetch, y, residual, bias, count)

    return chosen


@helper
def chunk_rows(record, chunk):  # type: ignore[no-untyped-def]
    """The rows of a chunk, (first, end): a share of those that are present."""
    present, row_parts = present_rows(record + F.rows_at, record + F.rows), load_i32(record + F.row_parts)
    part = udiv(chunk, load_i32(record + F.column_parts))
    return udiv(present * part, row_parts), udiv(present * (part + 1), row_parts)


def fetcher(blocks, nbytes):  # type: ignore[no-untyped-def]
    """A function that brings near what the next panel unpacks: `nbytes` of each of its blocks, stride bytes apart."""

    @helper
    def fetch(address, stride):  # type: ignore[no-untyped-def]
        for block in range(blocks):
            for line in range(0, nbytes, 64):
                prefetch(address + block * stride + line)

    return fetch


def whole_blocks(unpack, w_unit, blocks, panel_unit):  # type: ignore[no-untyped-def]
    """What `walk` fills its panels by, for weights whose blocks of 16 columns have one size: (fill, following).

    fill(record, block, unit, units, panel): units unit .. unit + units - 1 of the `blocks` blocks from `block` on.
    following(record, block, unit): the address of what the panel from that block on unpacks, to be fetched before; 0
    where that is not known.
    unpack(w, panel): a unit of 16 columns, w_unit bytes, into a panel, panel_unit bytes of all its `blocks`."""

    @helper
    def following(record, block, unit):  # type: ignore[no-untyped-def]
        return load_i64(record + F.w) + w_unit * (unit + load_i32(record + F.units) * block)

    @helper
    def fill(record, block, unit, units, panel):  # type: ignore[no-untyped-def]
        """Beyond the last block it is repeated, and not stored later."""
        last = udiv(load_i32(record + F.columns) + COLUMNS - 1, COLUMNS) - 1
        for i in range(blocks):
            source = following(record, min(block + i, last), unit)
            for u in range(units):
                unpack(source + w_unit * u, panel + 64 * i + panel_unit * u)

    return fill, following


def walk(tile_of, weights, x_row_of, rows, vectors, blocks, panel_unit, even=True):  # type: ignore[no-untyped-def]
    """A kernel. Depth is counted in units: what is unpacked at once, panel_unit bytes of a panel of `blocks` blocks.

    tile_of(rows): a function `tile(record, acc, x, unit, units, panel, scratch, fetch)` -> acc; unless `fetch` is 0, it
    brings near the weights that the next panel unpacks, its first block's from that address on (`fetcher`).
    weights: what fills a panel, see `whole_blocks`. The panel begins the scratch. A chunk fills each of its panels once
    in each pass over k, and the passes ascend.
    rows, vectors: of the largest tile. even: tiles of nearly the same height; else all but the last are `rows` high.
    x_row_of(record): bytes from a row of x to the next.
    """
    finished = _up_to(tile_of, rows, vectors)
    fill, following = weights
    pass_units, panel_columns, width = PANEL_BYTES // panel_unit, COLUMNS * blocks, vectors * LANES

    def kernel(record, chunk, scratch):  # type: ignore[no-untyped-def]
        """A chunk is a range of rows and a range of panels of columns; rows that are absent cost nothing."""
        column_parts, columns = load_i32(record + F.column_parts), load_i32(record + F.columns)
        part = urem(chunk, column_parts)
        begin, end = chunk_rows(record, chunk)
        count, x_row, y_row = end - begin, x_row_of(record), 4 * columns
        if count == 0:
            return
        panels = udiv(columns + panel_columns - 1, panel_columns)
        depth = load_i32(record + F.units)
        x = load_i64(record + F.x) + begin * x_row
        y, bias = load_i64(record + F.y) + begin * y_row, load_i64(record + F.bias)
        skip = load_i64(record + F.residual)
        tiles = udiv(count + rows - 1, rows)
        height = udiv(count, tiles)
        taller = count - height * tiles
        passes = udiv(depth + pass_units - 1, pass_units)
        for number in range(passes):
            unit = udiv(depth * number, passes)
            units = udiv(depth * (number + 1), passes) - unit
            for panel in range(udiv(panels * part, column_parts), udiv(panels * (part + 1), column_parts)):
                fill(record, blocks * panel, unit, units, scratch)
                first, next_ = panel_columns * panel, following(record, blocks * (panel + 1), unit)
                for column in range(first, min(first + panel_columns, columns), width):
                    at = 4 * column
                    own = bias + at if bias != 0 else bias
                    beside = skip + begin * y_row + at if skip != 0 else skip
                    row = 0
                    for i in range(tiles):
                        fetch = next_ if i == 0 and column == first else 0
                        high = (height + 1 if i < taller else height) if even else min(rows, count - row)
                        finished(
                            high, record, x + row * x_row, unit, units, scratch + 4 * (column - first), scratch, fetch,
                            y + row * y_row + at, beside + row * y_row if skip != 0 else skip, own, columns - column,
                        )  # fmt: skip
                        row += high

    return kernel
