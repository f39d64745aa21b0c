"""Listed neurons: the gate's value times the product of a row of g32 with the up row, h = a * (x . up).

Rows of two terms (g32x2) are a row of g32 and behind it one of what that left over; a block meets both in turn.
Where a neuron lies is said by `slots`, which of the gates is its own by `listed`: equal where all neurons are there.
"""

from __future__ import annotations

from typing import Any

from edgert.kernels_cpu.neurons import LISTED
from edgert.kernels_cpu.registry import record_fields
from edgert.kernels_cpu.simd import (
    helper,
    load_i32,
    load_i64,
    prefetch,
    share,
    udiv,
)  # fmt: skip
from edgert.kernels_cpu.simd.neurons import FORMS, PREPARED, UP_ROWS, Form, prepare, up_step, up_store, up_zero
from edgert.kernels_cpu.simd.rows import present_rows

TILE = 64
"""Neurons that all rows meet while they are near."""
AHEAD = 6144
"""Bytes that are fetched before their turn."""
CACHED = 1 << 20
"""Bytes of listed neurons that stay near until their columns are asked for."""


def _rows(form: Form, rows: int, F: Any) -> Any:
    """A function that makes h of listed neurons at .. stop - 1 for `rows` rows from `row` on."""
    bring, step, size = prepare(form), up_step(form, rows), form.block
    zero, store = up_zero(rows), up_store(rows)

    @helper
    def prepared(record, row, made):  # type: ignore[no-untyped-def]
        """All blocks of a row, each of all terms."""
        blocks, terms, depth = load_i32(record + F.blocks), load_i32(record + F.terms), load_i32(record + F.depth)
        x = load_i64(record + F.x) + row * terms * (depth + (depth >> 2))
        groups = depth >> 5
        for block in range(blocks):
            for term in range(terms):
                at = x + term * (depth + (depth >> 2))
                bring(at + 128 * block, groups - 4 * block, at + depth + 16 * block, made)
                made += PREPARED

    @helper
    def made(record, row, at, stop, alone, scratch):  # type: ignore[no-untyped-def]
        blocks, terms, width = load_i32(record + F.blocks), load_i32(record + F.terms), load_i32(record + F.width)
        listed, slots, data = load_i64(record + F.listed), load_i64(record + F.slots), load_i64(record + F.data)
        neuron, last, stride = load_i32(record + F.neuron), load_i32(listed) - 1, PREPARED * terms * blocks
        gate, h = load_i64(record + F.gate) + 4 * row * width, load_i64(record + F.h) + 4 * row * width
        first = size * blocks if alone > 0 else 2 * size * blocks
        for r in range(rows):
            prepared(record, row + r, scratch + stride * r)
        for i in range(at, stop):
            if row == 0:
                coming = data + load_i32(slots + 4 * min(last, i + 1 + udiv(AHEAD, first))) * neuron
                for line in range(0, first, 64):
                    prefetch(coming + line)
                for line in range(2 * size * blocks, neuron, 64):
                    prefetch(coming + line)
            w, x, acc = data + load_i32(slots + 4 * i) * neuron, scratch, zero()
            scale = w + 2 * size * blocks
            for block in range(blocks):
                for _ in range(terms):
                    acc = step(acc, x, stride, w + size * block, scale + 8 * block)
                    x += PREPARED
            store(acc, gate + 4 * load_i32(listed + LISTED + 4 * i), h + 4 * i, 4 * width)

    return made


def _kernel(form: Form, F: Any) -> Any:
    one = _rows(form, 1, F)
    several = _rows(form, UP_ROWS, F) if UP_ROWS > 1 else one

    def up(record, chunk, scratch):  # type: ignore[no-untyped-def]
        """A chunk is a range of listed neurons. Scratch holds prepared rows."""
        rows, count = present_rows(record + F.rows_at, record + F.rows), load_i32(load_i64(record + F.listed))
        at, end = share(record, count, chunk), share(record, count, chunk + 1)
        # columns are fetched along where they stay near until they are asked for
        alone = 1 if count * load_i32(record + F.neuron) > CACHED else 0
        while at < end:
            stop = end if rows == 1 else min(end, at + TILE)
            row = 0
            while row + UP_ROWS <= rows and UP_ROWS > 1:
                several(record, row, at, stop, alone, scratch)
                row += UP_ROWS
            while row < rows:
                one(record, row, at, stop, alone, scratch)
                row += 1
            at = stop

    return up


neurons_up4 = _kernel(FORMS[4], record_fields("neurons_up4_f32"))
neurons_up8 = _kernel(FORMS[8], record_fields("neurons_up8_f32"))
