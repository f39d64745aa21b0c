"""Listed neurons: y = residual + the sum of their down columns, each times its value in h, neurons ascending.

Columns are numbers of 4 or 8 bits in groups; sums are float32 and stay in scratch until the last neuron was added.
"""

from __future__ import annotations

from typing import Any

from edgert.kernels_cpu.registry import record_fields
from edgert.kernels_cpu.simd import (
    LANES,
    helper,
    load_f32v,
    load_i32,
    load_i64,
    prefetch,
    share,
    splat_f32,
    store_f32v,
    store_first_f32v,
)  # fmt: skip
from edgert.kernels_cpu.simd.neurons import FLOATS, FORMS, GROUPS, SHAPES, Form, down_load, down_step, down_store
from edgert.kernels_cpu.simd.rows import present_rows

TILE = 16
"""Neurons that a block of sums meets before the next block does: their lines stay in the first-level cache, and their
pages in that of addresses. With 64, columns of 2 KB took nearly twice as long."""


def _pass(form: Form, rows: int, groups: int, first: int, F: Any) -> Any:
    """A function that adds columns of the neurons at .. stop - 1 to the sums of some groups of a block."""
    load, step, store = down_load(rows, groups), down_step(form, rows, groups, first), down_store(rows, groups)
    size, offset = form.block, 128 * first

    @helper
    def some(record, block, row, at, stop, sums):  # type: ignore[no-untyped-def]
        slots, neuron, width = load_i64(record + F.slots), load_i32(record + F.neuron), load_i32(record + F.width)
        blocks, last = load_i32(record + F.blocks), load_i32(load_i64(record + F.listed)) - 1
        w = load_i64(record + F.data) + size * (blocks + block)
        # behind the columns there are the scales of all rows, then those of the columns
        scale = size * (blocks - block) + 8 * (blocks + block)
        h, acc = load_i64(record + F.h) + 4 * row * width, load(sums + offset)
        for i in range(at, stop):
            if first == 0:
                coming = w + load_i32(slots + 4 * min(last, i + TILE)) * neuron
                for line in range(0, size, 64):
                    prefetch(coming + line)
                if block & 7 == 0:  # eight blocks have their scales in a line
                    prefetch(coming + scale)
            place = w + load_i32(slots + 4 * i) * neuron
            acc = step(acc, place, place + scale, h + 4 * i, 4 * width)
        store(acc, sums + offset)

    return some


def _passes(form: Form, rows: int, groups: int, first: int, F: Any) -> Any:
    """The same for all groups from `first` on."""
    some = _pass(form, rows, groups, first, F)
    if first + groups == GROUPS:
        return some
    others = _passes(form, rows, groups, first + groups, F)

    @helper
    def whole(record, block, row, at, stop, sums):  # type: ignore[no-untyped-def]
        some(record, block, row, at, stop, sums)
        others(record, block, row, at, stop, sums)

    return whole


def _rows(form: Form, rows: int, groups: int, F: Any) -> Any:
    """A function that makes blocks first .. last - 1 of `rows` rows from `row` on."""
    whole = _passes(form, rows, groups, 0, F)

    @helper
    def made(record, row, first, last, scratch):  # type: ignore[no-untyped-def]
        count, zero = load_i32(load_i64(record + F.listed)), splat_f32(0.0)
        for place in range(0, rows * FLOATS * (last - first), 4 * LANES):
            store_f32v(scratch + place, zero)
        for at in range(0, count, TILE):
            for block in range(first, last):
                whole(record, block, row, at, min(count, at + TILE), scratch + rows * FLOATS * (block - first))
        columns, residual = load_i32(record + F.columns), load_i64(record + F.residual)
        for block in range(first, last):
            for r in range(rows):
                sums, start = scratch + FLOATS * (rows * (block - first) + r), 128 * block
                place = 4 * ((row + r) * columns + start)
                for i in range(0, min(128, columns - start), LANES):
                    value = load_f32v(sums + 4 * i)
                    if residual != 0:
                        value = value + load_f32v(residual + place + 4 * i)
                    store_first_f32v(load_i64(record + F.y) + place + 4 * i, value, columns - start - i)

    return made


def _kernel(form: Form, F: Any) -> Any:
    (most, wide), (_, groups) = SHAPES
    one = _rows(form, 1, groups, F)
    several = _rows(form, most, wide, F) if most > 1 else one

    def down(record, chunk, scratch):  # type: ignore[no-untyped-def]
        """A chunk is a range of blocks of 128 columns, of all rows. Scratch holds their sums."""
        rows, blocks = present_rows(record + F.rows_at, record + F.rows), load_i32(record + F.blocks)
        first, last = share(record, blocks, chunk), share(record, blocks, chunk + 1)
        row = 0
        while row + most <= rows and most > 1:
            several(record, row, first, last, scratch)
            row += most
        while row < rows:
            one(record, row, first, last, scratch)
            row += 1

    return down


neurons_down4 = _kernel(FORMS[4], record_fields("neurons_down4_f32"))
neurons_down8 = _kernel(FORMS[8], record_fields("neurons_down8_f32"))
