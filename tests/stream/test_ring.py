"""The states of stages without threads: what is there is whole, nothing is overwritten, nothing waits for ever."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgert.stream import ring as ring_module
from edgert.stream.ring import Block, Phase, Ring, blocks_of
from edgert.stream.stages import PAGE, Extent, Stage


def stages_of(sizes: list[int], places: list[int]) -> list[Stage]:
    """Stages of sizes[i] pages at page places[i], one after the other in a file."""
    stages, start = [], 0
    for index, (size, place) in enumerate(zip(sizes, places, strict=True)):
        extent = Extent(start, start + size * PAGE, place * PAGE)
        stages.append(Stage(index, (extent,), (), place * PAGE, size * PAGE))
        start = extent.end
    return stages


class World:
    """Readers in any order and a run, with a note for each page of the memory of what it holds."""

    def __init__(self, stages: list[Stage], block: int, seed: int) -> None:
        self.stages, self.random = stages, random.Random(seed)
        self.ring = Ring(stages, max(stage.extents[-1].end for stage in stages), block * PAGE)
        self.pages: dict[int, int | None] = {}
        self.under_way: list[Block] = []
        self.checking: list[int] = []
        self.failing = 0.0

    def step(self) -> bool:
        """One thing a reader does; False if there is nothing to do."""
        ring, choices = self.ring, []
        if len(self.under_way) + len(self.checking) < 4:
            choices.append("claim")
        choices += ["arrive"] * bool(self.under_way) + ["check"] * bool(self.checking)
        choice = self.random.choice(choices)
        if choice == "claim":
            block = ring.claim()
            if block is None:
                return bool(self.under_way or self.checking)
            self.write(block, whole=False)
            self.under_way.append(block)
        elif choice == "arrive":
            block = self.under_way.pop(self.random.randrange(len(self.under_way)))
            if self.random.random() < self.failing:
                ring.failed(block.stage, OSError("bad"))
                return True
            self.write(block, whole=True)
            if ring.arrived(block.stage):
                self.checking.append(block.stage)
        else:
            ring.checked(self.checking.pop())
        return True

    def write(self, block: Block, *, whole: bool) -> None:
        """A read that began may write at any time until it is over: its pages are nobody's."""
        for page in range(block.nbytes // PAGE):
            self.pages[block.at // PAGE + page] = block.start // PAGE + page if whole else None

    def go(self, order: list[int], *, traced: bool = False) -> None:
        """A run that holds one stage at a time. traced: only what the computing thread does is."""
        trace = sys.gettrace() if traced else None

        def read() -> bool:
            sys.settrace(None)
            done = any([self.step() for _ in range(self.random.randrange(1, 4))])
            sys.settrace(trace)
            return done

        self.ring.begin(order)
        for stage in order:
            while not self.ring.take(stage):
                assert read(), "nothing to do, but a stage is missing"
            self.check(stage)
            self.ring.release(stage)
            read()

    def check(self, stage: int) -> None:
        (extent,) = self.stages[stage].extents
        found = [self.pages.get(extent.at // PAGE + page) for page in range(extent.nbytes // PAGE)]
        assert found == list(range(extent.start // PAGE, extent.end // PAGE))


@st.composite
def worlds(draw: st.DrawFn) -> tuple[World, list[list[int]]]:
    count = draw(st.integers(1, 7))
    sizes = draw(st.lists(st.integers(1, 5), min_size=count, max_size=count))
    places = draw(st.lists(st.integers(0, 8), min_size=count, max_size=count))
    world = World(stages_of(sizes, places), draw(st.integers(1, 3)), draw(st.integers(0, 999)))
    orders = st.lists(st.integers(0, count - 1), min_size=1, max_size=9)
    return world, draw(st.lists(orders, min_size=1, max_size=4))


@settings(max_examples=300, deadline=None)
@given(worlds(), st.data())
def test_runs_see_what_they_asked_for(made: tuple[World, list[list[int]]], data: st.DataObject) -> None:
    """Any places, orders, speeds, errors and early ends; up to two stages held at a time where their places differ."""
    world, orders = made
    ring, rng = world.ring, world.random
    for order in orders:
        world.failing = rng.choice([0.0, 0.0, 0.1])
        for _ in range(rng.randrange(3)):  # the same order again: reading goes on across runs
            ring.begin(order)
            held: list[int] = []
            try:
                for index, stage in enumerate(order):
                    if index and rng.random() < 0.03:
                        raise KeyboardInterrupt
                    overlapping = any(other in held for other in ring._overlapping[stage])
                    while held and (overlapping or len(held) > 1 or rng.random() < 0.5):
                        gone = held.pop(0)
                        world.check(gone)
                        ring.release(gone)
                        overlapping = any(other in held for other in ring._overlapping[stage])
                    while not ring.take(stage):
                        assert world.step(), "nothing to do, but a stage is missing"
                    world.check(stage)
                    held.append(stage)
                    for _ in range(rng.randrange(8)):
                        world.step()
                    for other in held:
                        world.check(other)
                for stage in held:
                    ring.release(stage)
            except (OSError, KeyboardInterrupt):
                break
            for _ in range(rng.randrange(20)):
                world.step()


def test_reads_go_on_with_the_next_run() -> None:
    world = World(stages_of([2, 2, 2], [0, 2, 0]), 1, 0)
    ring = world.ring
    ring.begin([0, 1, 2])
    for stage in (0, 1, 2):
        while not ring.take(stage):
            world.step()
        ring.release(stage)
    for _ in range(50):
        world.step()
    assert [phase is Phase.LOADED for phase in ring.phase] == [True, True, False]
    ring.begin([0, 1, 2])
    assert ring.take(0)


def test_another_order_keeps_what_it_needs_soon() -> None:
    world = World(stages_of([2, 2, 2], [0, 2, 0]), 1, 0)
    ring = world.ring
    ring.begin([0, 1, 2])
    for _ in range(50):
        world.step()
    ring.begin([1, 2])
    assert ring.phase[1] is Phase.LOADED
    assert ring.phase[0] is not Phase.LOADED, "its place is that of stage 2"
    ring.begin([2, 1])
    assert ring.take(2) is False
    for _ in range(50):
        world.step()
    assert ring.take(2)


def test_a_stage_in_use_is_not_overwritten() -> None:
    world = World(stages_of([2, 2], [0, 1]), 2, 0)
    world.ring.begin([0, 1])
    while not world.ring.take(0):
        world.step()
    assert world.ring.claim() is None
    world.ring.release(0)
    assert world.ring.claim() is not None


def test_misuse_is_told_and_does_not_wait() -> None:
    ring = Ring(stages_of([2, 2], [0, 1]), 4 * PAGE, PAGE)
    with pytest.raises(RuntimeError, match="not the next one"):
        ring.take(0)
    ring.begin([0, 1])
    with pytest.raises(RuntimeError, match="not acquired"):
        ring.release(1)
    with pytest.raises(RuntimeError, match="not the next one"):
        ring.take(1)
    world = World(stages_of([2, 2], [0, 1]), 2, 0)
    world.ring.begin([0, 1])
    while not world.ring.take(0):
        world.step()
    with pytest.raises(RuntimeError, match=r"while stages \[0\]"):
        world.ring.take(1)
    with pytest.raises(ValueError, match="multiple of 4096"):
        Ring([], 0, 1000)
    with pytest.raises(ValueError, match="without bytes"):
        Ring([Stage(0, (), (), 0, 0)], 0, PAGE)


def test_blocks_end_where_the_file_ends() -> None:
    stage = Stage(0, (Extent(PAGE, 4 * PAGE, 0), Extent(6 * PAGE, 7 * PAGE, 3 * PAGE)), (), 0, 4 * PAGE)
    assert blocks_of(stage, 0, 2 * PAGE, 6 * PAGE + 10) == (
        Block(0, PAGE, 0, 2 * PAGE, 2 * PAGE),
        Block(0, 3 * PAGE, 2 * PAGE, PAGE, PAGE),
        Block(0, 6 * PAGE, 3 * PAGE, PAGE, 10),
    )


def test_every_method_may_be_cut_in_two() -> None:
    """An interrupt before each line of ring.py in turn: the next run is right."""

    class Cut(Exception):
        pass

    def lines_until(count: int) -> Callable[..., Any]:
        left = count

        def trace(frame: FrameType, event: str, argument: object) -> Any:
            nonlocal left
            if frame.f_code.co_filename != ring_module.__file__:
                return None
            if event == "line":
                left -= 1
                if left == 0:
                    raise Cut
            return trace

        return trace

    count, finished = 0, False
    while not finished:
        count += 1
        world = World(stages_of([3, 2, 3, 2], [0, 3, 1, 4]), 1, count)
        try:
            sys.settrace(lines_until(count))
            world.go([0, 1, 2, 3], traced=True)
            world.go([0, 1, 2, 3], traced=True)
            world.go([2, 0], traced=True)
            finished = True
        except Cut:
            pass
        finally:
            sys.settrace(None)
        same = list(world.ring.order)
        for order in (same, same, [3, 0, 1]):
            world.go(order)
    assert count > 500
