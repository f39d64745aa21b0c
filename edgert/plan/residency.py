"""Which weights stay in memory and which are read again in every run, in which stages, and where each of them lies.

Sizes and places only; what reads them is edgert/stream.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import groupby

from edgert.errors import MemoryBudgetError
from edgert.format.parts import FilePart
from edgert.plan.budget import show_bytes
from edgert.stream.stages import PAGE, Division, Extent, Placed, Stage

SMALL = 64 << 10
"""Tensors below this stay: a read of so few bytes takes longer than its share of the bandwidth."""
STAGE = 1 << 20
"""Stages hold this much if the ring allows: reads of 1 MB and more reach what a disk gives."""
LARGEST_STAGE = 8 << 20
"""More in a stage gains nothing, and what is given free comes later."""
STAGES = 8
"""Stages in the ring: one is used while the others arrive."""
RING = 32 << 20
"""More than this evens out nothing: what is left of a budget keeps weights."""
RING_SHARE = 4
"""The ring takes at most this part of the space, unless its largest stages need more."""
REFINED = 3
"""Times that the ring is made as small as its laps are."""
LARGEST = 3
"""How many of the largest tensors may stay so that the ring need not hold one of them."""


@dataclass(frozen=True)
class _Unit:
    """A tensor: its parts go together. `single`: used at one place of a run."""

    parts: tuple[FilePart, ...]
    single: bool

    @cached_property
    def nbytes(self) -> int:
        """What it takes where it lies alone."""
        return sum(end - start for start, end in _ranges(self.parts))


def divide(parts: Sequence[FilePart], space: int, *, ring: int | None = None) -> Division:
    """What stays and what is streamed within `space` bytes. parts: in order of use, again for each use that others
    are between: such tensors stay, as all below SMALL do. ring: its bytes, default by the sizes of the stages.

    What stays is spread evenly among what is streamed, so that there is time to read everywhere in a run.
    Raises MemoryBudgetError for less than `least(parts)`.
    """
    units = _units(parts)
    if _pages(units) + 2 * PAGE <= space or not units:
        return Division(_home(units), (), 0)
    largest = sorted((unit for unit in units if _streams(unit)), key=lambda unit: -unit.nbytes)
    found = []
    for kept in range(LARGEST + 1):
        size = ring
        # Laps leave some of a ring over: with one that is as small, there is room for more to stay.
        for _ in range(REFINED):
            division = _divide(units, {unit.parts for unit in largest[:kept]}, space, size)
            if division is None:
                break
            found.append(division)
            size = division.ring
        if kept == len(largest) or 2 * largest[kept].nbytes <= min(RING, space // RING_SHARE):
            break  # the ring is as small as it would be without the next one
    if not found:
        raise MemoryBudgetError(
            f"expected {show_bytes(space)} or less for weights, found that the smallest that works is {least(parts)} "
            f"({show_bytes(least(parts))})"
        )
    hundredth = _pages(units) // 100
    return min(found, key=lambda division: (division.streamed_bytes // hundredth, len(division.stages)))


def least(parts: Sequence[FilePart]) -> int:
    """The smallest space that `divide` works with: what always stays, and room for the largest of the others."""
    units = _units(parts)
    everything = _pages(units) + 2 * PAGE if units else 0
    streamed = [unit.nbytes for unit in units if _streams(unit)]
    stays = [unit for unit in units if not _streams(unit)]
    if not streamed:
        return everything
    return min(everything, _home(stays).nbytes + 2 * PAGE * bool(stays) + max(streamed) + 2 * PAGE)


def merged(runs: Iterable[Sequence[FilePart]]) -> list[FilePart]:
    """What several kinds of runs use, for `divide`: in the order of the first, then what only others use. A tensor that
    any of them uses again, after others, is so in the result."""
    result: list[FilePart] = []
    every: dict[str, list[FilePart]] = {}
    for run in runs:
        fresh = [part for part in run if part.tensor not in every]
        for part in run:
            own = every.setdefault(part.tensor, [])
            if part not in own:
                own.append(part)
        result += fresh
        again = [unit.parts[0] for unit in _units(run) if not unit.single]
        result = [*again, *result, *again]
    # All parts of a tensor at its first use, whichever run uses them.
    tensors = [tensor for tensor, _ in groupby(part.tensor for part in result)]
    return [part for tensor in tensors for part in every[tensor]]


def _units(parts: Sequence[FilePart]) -> list[_Unit]:
    """The tensors in order of first use."""
    found: dict[str, list[FilePart]] = {}
    again: set[str] = set()
    before = ""
    for part in parts:
        own = found.setdefault(part.tensor, [])
        if own and before != part.tensor:
            again.add(part.tensor)
        if part not in own:
            own.append(part)
        before = part.tensor
    return [
        _Unit(tuple(sorted(own, key=lambda part: part.offset)), tensor not in again) for tensor, own in found.items()
    ]


def _streams(unit: _Unit) -> bool:
    return unit.single and unit.nbytes >= SMALL


def _ranges(parts: Iterable[FilePart]) -> list[tuple[int, int]]:
    """Pages of the file that have them, in the parts' order: those that meet or share a page are one range."""
    ranges: list[tuple[int, int]] = []
    for part in parts:
        start, end = part.offset // PAGE * PAGE, -(-(part.offset + part.nbytes) // PAGE) * PAGE
        if not part.nbytes:
            continue
        if ranges and ranges[-1][0] <= start <= ranges[-1][1]:
            first, last = ranges.pop()
            start, end = first, max(last, end)
        ranges.append((start, end))
    return ranges


def _pages(units: Iterable[_Unit]) -> int:
    """Bytes of the units where each lies alone: together they never take more."""
    return sum(unit.nbytes for unit in units)


def _stage(index: int, units: Iterable[_Unit], place: int) -> Stage:
    parts = sorted((part for unit in units for part in unit.parts), key=lambda part: part.offset)
    extents: list[Extent] = []
    at = place
    for start, end in _ranges(parts):
        extents.append(Extent(start, end, at))
        at += end - start
    placed = []
    for part in parts:
        found = bisect_right(extents, part.offset, key=lambda extent: extent.start) - 1
        placed.append(Placed(part, extents[found].at + part.offset - extents[found].start if part.nbytes else place))
    return Stage(index, tuple(extents), tuple(placed), place, at - place)


def _home(units: Iterable[_Unit]) -> Stage:
    return _stage(-1, units, PAGE)


def _divide(units: list[_Unit], kept: set[tuple[FilePart, ...]], space: int, ring: int | None) -> Division | None:
    """With the tensors of `kept` in memory; None if that takes too much."""
    stays = [unit.parts in kept or not _streams(unit) for unit in units]
    others = [unit for unit, stay in zip(units, stays, strict=True) if not stay]
    if not others:
        return None
    left = space - _home(unit for unit, stay in zip(units, stays, strict=True) if stay).nbytes - 2 * PAGE * any(stays)
    largest = max(unit.nbytes for unit in others)
    smallest_ring = largest + 2 * PAGE
    if ring is None:
        wanted = max(2 * largest, min(RING, space // RING_SHARE)) + 2 * PAGE
        ring = max(smallest_ring, min(wanted, left))
    if ring < smallest_ring or ring > left:
        return None
    left -= ring + 2 * PAGE * (not any(stays))
    target = min(max(STAGE, min(LARGEST_STAGE, ring // STAGES)), ring - 2 * PAGE)
    more = _spread(_grouped(others, target), left)
    home = [unit for unit, stay in zip(units, stays, strict=True) if stay or unit.parts in more]
    streamed = [unit for unit in others if unit.parts not in more]
    if not streamed:
        return Division(_home(units), (), 0)
    stages = _around([_stage(0, group, 0) for group in _grouped(streamed, target)], ring - 2 * PAGE)
    return Division(_home(home), stages, max(stage.end for stage in stages) + PAGE)


def _grouped(units: Sequence[_Unit], target: int) -> list[list[_Unit]]:
    """Neighbours together until they are `target` bytes; more only where one tensor is."""
    groups: list[list[_Unit]] = []
    filled = target
    for unit in units:
        if filled + unit.nbytes > target:
            groups.append([])
            filled = 0
        groups[-1].append(unit)
        filled += unit.nbytes
    return groups


def _spread(groups: Sequence[list[_Unit]], space: int) -> set[tuple[FilePart, ...]]:
    """Which tensors stay in `space` bytes: whole groups at even distances, then single ones where room is left."""
    kept: set[tuple[FilePart, ...]] = set()
    total = sum(_pages(group) for group in groups)
    left, credit = space, 0.0
    for group in groups:
        size = _pages(group)
        credit += size * max(0, space) / total
        if size <= min(credit, left):
            kept |= {unit.parts for unit in group}
            left, credit = left - size, credit - size
    for unit in (unit for group in groups for unit in group):
        if unit.parts not in kept and unit.nbytes <= left:
            kept.add(unit.parts)
            left -= unit.nbytes
    return kept


def _around(stages: Sequence[Stage], capacity: int) -> tuple[Stage, ...]:
    """The stages at their places, one after the other in laps around a ring of `capacity` bytes. The laps are about
    equally long: so the last stage of a run lies far from the first, which is read while the last is used."""
    sizes = [stage.nbytes for stage in stages]
    laps = len(_laps(sizes, capacity))
    low, high = max(sizes) // PAGE, capacity // PAGE
    while low < high:
        middle = (low + high) // 2
        if len(_laps(sizes, middle * PAGE)) > laps:
            low = middle + 1
        else:
            high = middle
    placed: list[Stage] = []
    for lap in _laps(sizes, low * PAGE):
        at = PAGE
        for index in lap:
            placed.append(_moved(stages[index], index, at))
            at += sizes[index]
    return tuple(placed)


def _laps(sizes: Sequence[int], capacity: int) -> list[list[int]]:
    laps: list[list[int]] = [[]]
    filled = 0
    for index, size in enumerate(sizes):
        if filled + size > capacity:
            laps.append([])
            filled = 0
        laps[-1].append(index)
        filled += size
    return laps


def _moved(stage: Stage, index: int, place: int) -> Stage:
    by = place - stage.place
    extents = tuple(replace(extent, at=extent.at + by) for extent in stage.extents)
    parts = tuple(replace(placed, at=placed.at + by) for placed in stage.parts)
    return Stage(index, extents, parts, place, stage.nbytes)
