"""What stays and what is streamed: nothing lies on anything else, nothing is too large, nothing is forgotten."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgert.errors import MemoryBudgetError
from edgert.format.parts import FilePart
from edgert.plan.residency import SMALL, divide, least, merged
from edgert.stream.stages import PAGE, Division, Stage

FILE = Path("model.edge")
MB = 1 << 20


def parts_of(sizes: list[int], *, first: int = 12_352, together: int = 1) -> list[FilePart]:
    """Parts one after the other as the format has them; `together` of them make a tensor."""
    parts, offset = [], first
    for index, size in enumerate(sizes):
        parts.append(FilePart(FILE, offset, size, index, f"t{index // together}", f"part{index % together}"))
        offset += -(-size // 64) * 64
    return parts


@st.composite
def models(draw: st.DrawFn) -> list[FilePart]:
    """In an order of use that may be another than that of the file, some tensors used twice."""
    size = st.one_of(st.integers(0, 2 * SMALL), st.integers(SMALL, 3 * MB), st.just(MB), st.just(0))
    parts = parts_of(draw(st.lists(size, min_size=1, max_size=40)), together=draw(st.integers(1, 3)))
    if draw(st.booleans()):
        parts = draw(st.permutations(parts))
    again = draw(st.lists(st.sampled_from(parts), max_size=2))
    return [*parts, *again]


def check(division: Division, parts: list[FilePart]) -> None:
    """All that must hold for those who read into the places, and for those who compute from them."""
    stages = (division.home, *division.stages)
    placed = [part.part for stage in stages for part in stage.parts]
    assert len(placed) == len(set(placed)) and set(placed) == set(parts)
    owner = {part.part.tensor: stage.index for stage in stages for part in stage.parts}
    for stage in stages:
        assert all(owner[part.part.tensor] == stage.index for part in stage.parts), "a tensor is in one stage"
        check_stage(stage)
    assert [stage.index for stage in division.stages] == list(range(len(division.stages)))
    if division.stages:
        assert max(stage.end for stage in division.stages) + PAGE == division.ring
    used = {part.tensor: order for order, part in reversed(list(enumerate(parts)))}
    for before, after in zip(division.stages, division.stages[1:], strict=False):
        assert max(used[p.part.tensor] for p in before.parts) < min(used[p.part.tensor] for p in after.parts)


def check_stage(stage: Stage) -> None:
    assert stage.place >= PAGE and stage.place % PAGE == 0 and stage.nbytes % PAGE == 0
    at = stage.place
    for extent in stage.extents:
        assert extent.at == at and extent.start % PAGE == 0 and extent.end % PAGE == 0 and extent.start < extent.end
        at += extent.nbytes
    assert at == stage.end
    for before, after in zip(stage.extents, stage.extents[1:], strict=False):
        assert before.end < after.start, "nothing is read twice, and neighbours are one read"
    for placed in stage.parts:
        part = placed.part
        if part.nbytes:
            (home,) = (e for e in stage.extents if e.start <= part.offset and part.offset + part.nbytes <= e.end)
            assert placed.at - home.at == part.offset - home.start and placed.at % 64 == part.offset % 64


@settings(max_examples=150, deadline=None)
@given(models(), st.floats(0, 1.2), st.one_of(st.none(), st.integers(1, 8 * MB)))
def test_every_division_is_sound(parts: list[FilePart], share: float, ring: int | None) -> None:
    smallest, everything = least(parts), sum(part.nbytes + 2 * PAGE for part in set(parts)) + 2 * PAGE
    space = smallest + round(share * max(0, everything - smallest))
    try:
        division = divide(parts, space, ring=ring)
    except MemoryBudgetError:
        assert ring is not None, "what least says works"
        return
    check(division, parts)
    assert division.held <= space
    assert ring is None or division.ring <= ring
    with pytest.raises(MemoryBudgetError, match=str(smallest)):
        divide(parts, smallest - 1)


@settings(max_examples=60, deadline=None)
@given(models(), st.integers(0, 20 * MB))
def test_more_space_is_never_worse(parts: list[FilePart], more: int) -> None:
    small, large = divide(parts, least(parts)), divide(parts, least(parts) + more)
    assert large.streamed_bytes <= small.streamed_bytes + sum(part.nbytes + 2 * PAGE for part in set(parts)) // 100


def test_everything_stays_where_it_fits() -> None:
    parts = parts_of([MB] * 10)
    division = divide(parts, 11 * MB)
    assert division.stages == () and division.ring == 0 and set(division.resident) == set(parts)
    assert len(division.home.extents) == 1, "one file, one read"


def test_small_parts_and_those_used_again_stay() -> None:
    parts = [*parts_of([MB, SMALL - 9000, 100, MB, MB, MB, MB, MB, MB])]
    division = divide([*parts, parts[0]], 5 * MB)
    assert {parts[0], parts[1], parts[2]} <= set(division.resident)
    next_to_each_other = [parts[0], parts[0], *parts[1:]]
    assert parts[0] not in set(divide(next_to_each_other, least(next_to_each_other)).resident)


def test_what_stays_is_spread_among_what_is_streamed() -> None:
    """A run never reads for long without having something to compute meanwhile."""
    parts = parts_of([512 << 10] * 100)
    division = divide(parts, 30 * MB)
    assert 0.85 * 30 * MB < division.held <= 30 * MB
    stays = set(division.resident)
    line = [part in stays for part in parts]
    share = sum(line) / len(line)
    for start in range(80):
        assert abs(sum(line[start : start + 20]) / 20 - share) < 0.25


def test_the_ring_has_room_to_read_ahead() -> None:
    """While any stage is used, the next ones have places of their own, also from the end of a run to the next."""
    division = divide(parts_of([MB // 2] * 200), 40 * MB)
    stages = division.stages
    for index, stage in enumerate(stages):
        following, taken = 0, [stage]
        while all(
            other.end <= (new := stages[(index + 1 + following) % len(stages)]).place or new.end <= other.place
            for other in taken
        ):
            taken.append(new)
            following += 1
        assert following >= 3


def test_a_large_tensor_stays_before_the_ring_must_hold_it() -> None:
    parts = parts_of([MB // 2] * 100 + [18 * MB])
    division = divide(parts, 40 * MB)
    assert max(part.nbytes for part in division.resident) == 18 * MB
    assert division.ring < 12 * MB
    tight = divide(parts, least(parts))
    assert max(part.part.nbytes for part in tight.stages[-1].parts) == 18 * MB


def test_stages_are_large_reads() -> None:
    division = divide(parts_of([200 << 10] * 500), 60 * MB)
    sizes = [stage.nbytes for stage in division.stages]
    assert sum(size >= MB // 2 for size in sizes) > 0.9 * len(sizes)


def test_no_weights() -> None:
    assert divide([], 0) == divide([], 10) and least([]) == 0 and divide([], 0).held == 0


def test_several_kinds_of_runs_share_a_division() -> None:
    """In the order of the first; with parts that only others use, and what any of them uses twice."""
    parts = parts_of([MB] * 8, together=2)
    a, b, c, d = (parts[i : i + 2] for i in range(0, 8, 2))
    found = merged([[a[0], b[0], c[0]], [a[1], b[0], b[1], d[0], c[0], c[1]]])
    assert found == [*a, *b, *c, d[0]]
    assert merged([found, found]) == found
    for runs in ([[*a, *b], [*b, *a, *b]], [[*a], [*b, *a, *b]], [[*b, *a, *b, *c]]):
        again = merged(runs)
        assert set(b) <= set(divide(again, least(again)).resident), runs
    assert merged([]) == []
