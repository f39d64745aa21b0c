"""The arena: where each intermediate tensor lies, so that tensors which are never alive together share bytes.

Only offsets are computed here; nothing is allocated, and so the peak is known before anything is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

ALIGNMENT = 64
"""A cache line, and the widest vector."""
READ_AROUND = 1024
"""Kernels may read (never write, never use) this far around a buffer: borders of padded rows, tails of vectors.
So much is left before the first block and after the last."""


@dataclass(frozen=True)
class Block:
    """Bytes needed from step `first` to step `last`, both included."""

    nbytes: int
    first: int
    last: int


@dataclass(frozen=True)
class Arrangement:
    """offsets[i]: of block i. nbytes: the arena. bound: no arrangement can be smaller."""

    offsets: tuple[int, ...]
    nbytes: int
    bound: int


def round_up(nbytes: int) -> int:
    return -(-nbytes // ALIGNMENT) * ALIGNMENT


def arrange(blocks: Sequence[Block]) -> Arrangement:
    """Offsets, multiples of ALIGNMENT, such that blocks alive at the same step do not overlap.

    Greedy by size and by time, each into the best-fitting gap; the smaller result is taken.
    Source: Pisarchyk and Lee 2020, "Efficient memory management for deep neural net inference", section 5.
    """
    by_size = sorted(range(len(blocks)), key=lambda i: (-blocks[i].nbytes, blocks[i].first))
    by_time = sorted(range(len(blocks)), key=lambda i: (blocks[i].first, -blocks[i].nbytes))
    found = min((_place(blocks, order) for order in (by_size, by_time)), key=lambda pair: pair[1])
    if not blocks:
        return Arrangement((), 0, 0)
    offsets = tuple(READ_AROUND + offset for offset in found[0])
    return Arrangement(offsets, found[1] + 2 * READ_AROUND, live_peak(blocks) + 2 * READ_AROUND)


def live_peak(blocks: Sequence[Block]) -> int:
    """The most bytes alive at one step."""
    change: dict[int, int] = {}
    for block in blocks:
        change[block.first] = change.get(block.first, 0) + round_up(block.nbytes)
        change[block.last + 1] = change.get(block.last + 1, 0) - round_up(block.nbytes)
    live = peak = 0
    for step in sorted(change):
        live += change[step]
        peak = max(peak, live)
    return peak


def _place(blocks: Sequence[Block], order: Sequence[int]) -> tuple[list[int], int]:
    offsets = [0] * len(blocks)
    placed: list[int] = []
    total = 0
    for index in order:
        block = blocks[index]
        size = round_up(block.nbytes)
        taken = sorted(
            (offsets[other], offsets[other] + round_up(blocks[other].nbytes))
            for other in placed
            if blocks[other].first <= block.last and block.first <= blocks[other].last
        )
        offsets[index] = _best_gap(taken, size)
        placed.append(index)
        total = max(total, offsets[index] + size)
    return offsets, total


def _best_gap(taken: Sequence[tuple[int, int]], size: int) -> int:
    """Start of the smallest gap of at least `size` between the intervals `taken`, or of the open end."""
    best, best_gap, end = -1, 0, 0
    for start, stop in taken:
        gap = start - end
        if gap >= size and (best < 0 or gap < best_gap):
            best, best_gap = end, gap
        end = max(end, stop)
    return best if best >= 0 else end
