"""Sets of bytes: sorted, disjoint (first, one after the last) pairs within a segment.

Which bytes must move between a device and its host is devices.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

Range = tuple[int, int]
Ranges = tuple[Range, ...]


def united(*sets: Iterable[Range]) -> Ranges:
    """Bytes that are in any of `sets`, whose ranges may come in any order; empty ones are dropped."""
    whole: list[list[int]] = []
    for start, stop in sorted(r for one in sets for r in one if r[0] < r[1]):
        if whole and start <= whole[-1][1]:
            whole[-1][1] = max(whole[-1][1], stop)
        else:
            whole.append([start, stop])
    return tuple((start, stop) for start, stop in whole)


def common(a: Ranges, b: Ranges) -> Ranges:
    """Bytes in both."""
    return united(_overlaps(a, b))


def without(a: Ranges, b: Ranges) -> Ranges:
    """Bytes of `a` that are not in `b`."""
    rest: list[Range] = []
    for start, stop in a:
        at = start
        for low, high in b:
            if high <= at or low >= stop:
                continue
            if low > at:
                rest.append((at, low))
            at = high
        if at < stop:
            rest.append((at, stop))
    return united(rest)


def size(ranges: Ranges) -> int:
    """How many bytes."""
    return sum(stop - start for start, stop in ranges)


def _overlaps(a: Ranges, b: Ranges) -> Iterator[Range]:
    for start, stop in a:
        for low, high in b:
            if max(start, low) < min(stop, high):
                yield max(start, low), min(stop, high)
