"""What the steps of all recurrent layers share: the product of states, copies of states, lengths.

Gates lie one after the other, each padded to lines of 16 units: the hidden units of `blocks` lines. Weights are n16k1.
A chunk is a group of sequences that go side by side, so that weights are read once for all; what belongs to a sequence
is in scratch, the next sequence's `stride` bytes further.
"""

from __future__ import annotations

from typing import Any

from edgert.kernels_cpu.elementwise.functions import const
from edgert.kernels_cpu.recurrent import GROUP
from edgert.kernels_cpu.simd import (
    LANES,
    REGISTERS,
    VECTOR_BYTES,
    helper,
    load_f32v,
    load_i32,
    load_i64,
    maximum,
    minimum,
    panel_step_f32,
    panel_store_f32,
    splat_f32,
    store_f32v,
    store_first_f32v,
    udiv,
)  # fmt: skip
from edgert.kernels_cpu.simd.panel_rows import panel_load_f32

BLOCK = 64 // VECTOR_BYTES
"""Vectors of a line of 16 columns."""
WIDE = max(VECTOR_BYTES // 8, 1)
"""Lines of the widest tile: eight vectors, so that as many chains of fused products hide their latency."""
HALF = max(WIDE // 2, 1)
INFINITY = 3.4028234663852886e38


TALL = max(VECTOR_BYTES // 16, 1) if REGISTERS == 32 else 1
"""Lines of a tile of GROUP rows: accumulators and lines fit the registers."""


def _tile(rows, lines):  # type: ignore[no-untyped-def]
    vectors = lines * BLOCK
    load, step, store = panel_load_f32(rows, vectors), panel_step_f32(rows, vectors), panel_store_f32(rows, vectors)

    @helper
    def tile(h, stride, start, start_row, w, depth, y):  # type: ignore[no-untyped-def]
        acc = load(start, start_row)
        for k in range(depth):
            acc = step(acc, h + 4 * k, stride, w + 64 * k, 64 * depth)
        store(acc, splat_f32(-INFINITY), splat_f32(INFINITY), y, stride, 16 * lines)

    return tile


_wide, _half, _line, _tall, _tall_line = (
    _tile(1, WIDE),
    _tile(1, HALF),
    _tile(1, 1),
    _tile(GROUP, TALL),
    _tile(GROUP, 1),
)


@helper
def _product(h, start, w, depth, lines, y):  # type: ignore[no-untyped-def]
    line = 0
    while lines - line >= WIDE:
        _wide(h, 0, start + 64 * line, 0, w + 64 * depth * line, depth, y + 64 * line)
        line += WIDE
    while lines - line >= HALF:
        _half(h, 0, start + 64 * line, 0, w + 64 * depth * line, depth, y + 64 * line)
        line += HALF
    while line < lines:
        _line(h, 0, start + 64 * line, 0, w + 64 * depth * line, depth, y + 64 * line)
        line += 1


@helper
def state_products(count, h, stride, start, start_row, w, depth, lines, y):  # type: ignore[no-untyped-def]
    """y = start + h W for `lines` lines of columns and `count` sequences: h has `depth` floats, start and y 16 per
    line; those of the next sequence are `stride` bytes on, of start `start_row`."""
    if count == GROUP:
        line = 0
        while lines - line >= TALL:
            _tall(h, stride, start + 64 * line, start_row, w + 64 * depth * line, depth, y + 64 * line)
            line += TALL
        while line < lines:
            _tall_line(h, stride, start + 64 * line, start_row, w + 64 * depth * line, depth, y + 64 * line)
            line += 1
    else:
        for r in range(count):
            _product(h + r * stride, start + r * start_row, w, depth, lines, y + r * stride)


@helper
def _begin(source, target, count):  # type: ignore[no-untyped-def]
    """A state as it is before the first step: `count` floats from source, zeros where that is absent."""
    for i in range(0, count, LANES):
        if source != 0:
            store_f32v(target + 4 * i, load_f32v(source + 4 * i))
        else:
            store_f32v(target + 4 * i, const(0.0))


@helper
def _copy(source, target, count):  # type: ignore[no-untyped-def]
    for i in range(0, count, LANES):
        store_first_f32v(target + 4 * i, load_f32v(source + 4 * i), count - i)


@helper
def _clear(y, first, last, stride, count):  # type: ignore[no-untyped-def]
    """Zeros in the output of steps first .. last - 1, which a shorter sequence does not have."""
    if y != 0:
        for t in range(first, last):
            for i in range(0, count, LANES):
                store_first_f32v(y + t * stride + 4 * i, const(0.0), count - i)


@helper
def _length(lengths, b, steps):  # type: ignore[no-untyped-def]
    """How many of the steps sequence b has."""
    if lengths == 0:
        return steps
    return max(0, min(steps, load_i32(lengths + 4 * b)))


def _by_chunks(sequences: Any, F: Any) -> Any:
    """The kernel whose chunks are up to GROUP sequences of the batch in one direction; of unequal lengths they go one
    by one. sequences(record, direction, b, count, length, scratch): `count` of them, from b on, of `length` steps."""

    def chunk_of(record, chunk, scratch):  # type: ignore[no-untyped-def]
        batch, lengths = load_i32(record + F.batch), load_i64(record + F.lengths)
        groups = udiv(batch + GROUP - 1, GROUP)
        direction = udiv(chunk, groups)
        first = GROUP * (chunk - direction * groups)
        last = min(batch, first + GROUP)
        together = last - first if lengths == 0 else 1
        while first < last:
            length = _length(lengths, first, load_i32(record + F.steps))
            sequences(record, direction, first, together, length, scratch)
            first += together

    return chunk_of


@helper
def bounded(v, limit):  # type: ignore[no-untyped-def]
    """v within [-limit, limit]; a NaN stays one."""
    return minimum(limit, maximum(const(0.0) - limit, v))


@helper
def _nothing_more(record, place, count, work, stride):  # type: ignore[no-untyped-def]
    pass


@helper
def offset(address, by):  # type: ignore[no-untyped-def]
    """An address further on; that of an absent operand stays 0."""
    return address + by if address != 0 else address


@helper
def begin_states(start, count, row, target, stride, hidden):  # type: ignore[no-untyped-def]
    """The states of `count` sequences before the first step; start: those of the first, the next `row` bytes on."""
    for r in range(count):
        _begin(offset(start, r * row), target + r * stride, hidden)


@helper
def copy_states(source, stride, count, row, target, hidden):  # type: ignore[no-untyped-def]
    """The states of `count` sequences after the last step, where they are asked for."""
    if target != 0:
        for r in range(count):
            _copy(source + r * stride, target + r * row, hidden)


def layer(F: Any, lines: int, own: Any, step: Any, end: Any = _nothing_more) -> Any:
    """The kernel of a recurrent layer whose record has the fields F.

    A sequence has `lines` times its padded hidden units of scratch: its state before and after a step, then `work`.
    own(record, place, count, work, stride, w) -> a tuple of what steps need besides, read once per group of sequences;
    `place` is where the first one's states are in operands, w the weights of its direction.
    step(own, count, now, made, work, pad, stride, x, x_row, w, hidden, y, y_row): one step of `count` sequences, from
    the states `now` to those `made`; y is 0 where no sequence of outputs is asked for. end(record, place, count, work,
    stride): after the last one."""

    @helper
    def sequences(record, direction, b, count, length, scratch):  # type: ignore[no-untyped-def]
        hidden, h_row, x_row = load_i32(record + F.hidden), load_i32(record + F.h_row), load_i32(record + F.x_row)
        pad = 64 * udiv(hidden + 15, 16)
        stride, work = lines * pad, scratch + 2 * pad
        place = direction * load_i32(record + F.h_direction) + b * h_row
        begin_states(offset(load_i64(record + F.h0), place), count, h_row, scratch, stride, hidden)
        x = load_i64(record + F.x) + direction * load_i32(record + F.x_direction) + b * x_row
        w = load_i64(record + F.w) + direction * load_i32(record + F.w_direction)
        y_row, y_step, x_step = load_i32(record + F.y_row), load_i32(record + F.y_step), load_i32(record + F.x_step)
        y = offset(load_i64(record + F.y), direction * load_i32(record + F.y_direction) + b * y_row)
        more = own(record, place, count, work, stride, w)
        backward = load_i32(record + F.reverse) + direction
        for s in range(length):
            t = length - 1 - s if backward != 0 else s
            now, made = scratch + pad * (s & 1), scratch + pad * (1 - (s & 1))
            at, out = x + t * x_step, offset(y, t * y_step)
            step(more, count, now, made, work, pad, stride, at, x_row, w, hidden, out, y_row)
        for r in range(count):
            _clear(offset(y, r * y_row), length, load_i32(record + F.steps), y_step, hidden)
        y_h = offset(load_i64(record + F.y_h), place)
        copy_states(scratch + pad * (length & 1), stride, count, h_row, y_h, hidden)
        end(record, place, count, work, stride)

    return _by_chunks(sequences, F)
