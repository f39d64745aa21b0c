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
    load_f32,
    load_i32,
    load_i64,
    prefetch,
    share,
    store_f32,
    udiv,
)  # fmt: skip
from edgert.kernels_cpu.simd.neurons import FORMS, PREPARED, Form, prepare, up_step, up_sum, up_zero
from edgert.kernels_cpu.simd.rows import present_rows

TILE = 64
"""Neurons that all rows meet while they are near."""
AHEAD = 6144
"""Bytes that are fetched before their turn."""
CACHED = 1 << 20
"""Bytes of listed neurons that stay near until their columns are asked for: these are fetched along then."""


def _kernel(form: Form, F: Any) -> Any:
    bring, step, size = prepare(form), up_step(form), form.block

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
    def product(record, w, made):  # type: ignore[no-untyped-def]
        """The prepared row at `made` times the up row of the neuron at w."""
        blocks, terms = load_i32(record + F.blocks), load_i32(record + F.terms)
        scale, acc = w + 2 * size * blocks, up_zero()
        for block in range(blocks):
            for _ in range(terms):
                acc = step(acc, made, w + size * block, scale + 8 * block)
                made += PREPARED
        return up_sum(acc)

    def up(record, chunk, scratch):  # type: ignore[no-untyped-def]
        """A chunk is a range of listed neurons. Scratch holds a prepared row."""
        rows, width, neuron = (
            present_rows(record + F.rows_at, record + F.rows),
            load_i32(record + F.width),
            load_i32(record + F.neuron),
        )
        listed, slots, data = load_i64(record + F.listed), load_i64(record + F.slots), load_i64(record + F.data)
        count = load_i32(listed)
        listed += LISTED
        at, end = share(record, count, chunk), share(record, count, chunk + 1)
        last, length = max(0, count - 1), size * load_i32(record + F.blocks)
        first = 2 * length if count * neuron <= CACHED else length
        ahead = 1 + udiv(AHEAD, first)
        while at < end:
            stop = end if rows == 1 else min(end, at + TILE)
            for row in range(rows):
                gate, h = load_i64(record + F.gate) + 4 * row * width, load_i64(record + F.h) + 4 * row * width
                prepared(record, row, scratch)
                for i in range(at, stop):
                    if row == 0:
                        coming = data + load_i32(slots + 4 * min(last, i + ahead)) * neuron
                        for line in range(0, first, 64):
                            prefetch(coming + line)
                        for line in range(2 * length, neuron, 64):
                            prefetch(coming + line)
                    a = load_f32(gate + 4 * load_i32(listed + 4 * i))
                    if a != 0.0:
                        a = a * product(record, data + load_i32(slots + 4 * i) * neuron, scratch)
                    store_f32(h + 4 * i, a)
            at = stop

    return up


neurons_up4 = _kernel(FORMS[4], record_fields("neurons_up4_f32"))
neurons_up8 = _kernel(FORMS[8], record_fields("neurons_up8_f32"))
