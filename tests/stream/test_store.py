"""The store with its threads: bytes are right when they are used, reads run ahead, and nothing is left behind.

What goes wrong is test_faults.py.
"""

from __future__ import annotations

import ctypes
import gc
import os
import random
import time
import weakref
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from streamed_files import KB, Checks, Streamed, Trouble, division_of, jitter, parts_of, readers, stage_of

from edgert.format.parts import FilePart
from edgert.stream import store as store_module
from edgert.stream.source import DirectSource
from edgert.stream.stages import PAGE
from edgert.stream.store import WeightStore


def seen(store: WeightStore, part: FilePart) -> bytes:
    return ctypes.string_at(store.address(part), part.nbytes)


def run(store: WeightStore, streamed: Streamed, order: list[int]) -> None:
    """One run that looks at what it acquires."""
    store.begin(order)
    for stage in order:
        store.acquire(stage)
        for part in streamed.streamed(stage):
            assert seen(store, part) == streamed.bytes_of(part)
        store.release(stage)


@pytest.mark.parametrize("direct", [True, False], ids=["direct", "buffered"])
@pytest.mark.parametrize("readers", [1, 3])
def test_every_part_is_there_when_it_is_used(streamed: Streamed, direct: bool, readers: int) -> None:
    store = WeightStore(streamed.source(direct=direct), streamed.division, Checks(), readers=readers, block=8 * PAGE)
    for _ in range(4):
        run(store, streamed, [0, 1, 2, 3, 4])
    run(store, streamed, [1, 4])
    run(store, streamed, [2, 2, 0])
    run(store, streamed, [])
    part = streamed.parts[0]
    assert seen(store, part) == streamed.bytes_of(part)
    assert all((store.address(part) - part.offset) % PAGE == 0 for part in streamed.parts)
    statistics = store.statistics
    assert statistics.laps == 7
    assert statistics.reads > 20
    assert statistics.bytes_read >= 4 * sum(part.nbytes for part in streamed.parts[1:])
    assert statistics.waits > 0
    assert statistics.waited > 0
    assert statistics.reading > 0
    store.close()


def test_readers_run_ahead_into_the_next_run(streamed: Streamed) -> None:
    source = streamed.source()
    store = WeightStore(source, streamed.division, Checks())
    run(store, streamed, [0, 1, 2, 3, 4])
    settle(source)
    waits, count = store.statistics.waits, len(source.reads)
    store.begin([0, 1, 2, 3, 4])
    store.acquire(0)
    assert store.statistics.waits == waits
    assert len(source.reads) == count
    store.close()


def settle(source: Trouble) -> None:
    """Until no new read begins."""
    count = -1
    while count != len(source.reads):
        count = len(source.reads)
        time.sleep(0.03)


@pytest.mark.parametrize(
    ("checks", "expected"), [("once", [True]), ("always", [True] * 3), ("never", [False])], ids=str
)
def test_checks(streamed: Streamed, checks: store_module.Checks, expected: list[bool]) -> None:
    checker = Checks()
    store = WeightStore(streamed.source(), streamed.division, checker, checks=checks)
    for _ in range(3):
        run(store, streamed, [0, 1, 2, 3, 4])
    assert [crc for tensor, crc in checker.seen if tensor == "t3"][:3] == expected
    assert [crc for tensor, crc in checker.seen if tensor == "t0"] == [checks != "never"]
    store.close()


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_any_division_order_and_speed(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """Also with runs that end early, and stages held longer than others need."""
    path = tmp_path_factory.getbasetemp() / "random.bin"
    sizes = data.draw(st.lists(st.integers(1, 40 * KB), min_size=2, max_size=9))
    parts, content = parts_of(path, sizes)
    path.write_bytes(content)
    kept = data.draw(st.integers(0, len(parts) - 1))
    groups, rest = [], parts[kept:]
    while rest:
        count = data.draw(st.integers(1, 3))
        groups.append(rest[:count])
        rest = rest[count:]
    smallest = max(sum(-(-part.nbytes // PAGE) + 1 for part in group) for group in groups) + 2
    ring = (smallest + data.draw(st.integers(0, 20))) * PAGE
    streamed = Streamed(path, parts, content, division_of(parts[:kept], groups, ring))
    source = streamed.source()
    seed = data.draw(st.integers(0, 99))
    source.delay = jitter(seed, 0.002)
    store = WeightStore(
        source,
        streamed.division,
        Checks(),
        readers=data.draw(st.integers(1, 4)),
        block=data.draw(st.integers(1, 5)) * PAGE,
    )
    stages = st.integers(0, len(groups) - 1)
    rng = random.Random(seed)
    for order in data.draw(st.lists(st.lists(stages, min_size=1, max_size=8), min_size=1, max_size=4)):
        for _ in range(2):
            hold_some(store, streamed, order, rng)
    for part in parts[:kept]:
        assert seen(store, part) == streamed.bytes_of(part)
    store.close()


def hold_some(store: WeightStore, streamed: Streamed, order: list[int], rng: random.Random) -> None:
    stages = streamed.division.stages
    held: list[int] = []
    store.begin(order)
    for stage in order:
        if rng.random() < 0.05:
            return
        place = stages[stage]
        for other in list(held):
            if (other != stage and stages[other].place < place.end and place.place < stages[other].end) or (
                rng.random() < 0.5
            ):
                held.remove(other)
                store.release(other)
        store.acquire(stage)
        held.append(stage)
        for other in held:
            for part in streamed.streamed(other):
                assert seen(store, part) == streamed.bytes_of(part)
    for other in held:
        store.release(other)


def test_quiet_until_the_next_run(streamed: Streamed) -> None:
    source = streamed.source()
    source.delay = lambda: 0.005
    store = WeightStore(source, streamed.division, Checks(), block=4 * PAGE)
    store.begin([0, 1, 2, 3, 4])
    store.quiesce()
    count = len(source.reads)
    time.sleep(0.03)
    assert len(source.reads) == count
    run(store, streamed, [0, 1, 2, 3, 4])
    store.close()


def test_close_waits_for_reads_and_may_be_repeated(streamed: Streamed) -> None:
    source = streamed.source()
    store = WeightStore(source, streamed.division, Checks())
    source.delay = lambda: 0.02
    store.begin([0, 1])
    wait_for(lambda: store._shared.busy > 0)
    store.close()
    assert readers() == 0
    assert source.closed == 1
    store.close()
    for call in (lambda: store.begin([0]), lambda: store.acquire(0)):
        with pytest.raises(RuntimeError, match="closed"):
            call()


def test_a_forgotten_store_stops_its_readers(streamed: Streamed) -> None:
    source = streamed.source()
    store = WeightStore(source, streamed.division, Checks())
    run(store, streamed, [0, 1])
    known = weakref.ref(store)
    del store
    gc.collect()
    assert known() is None
    assert readers() == 0
    assert source.closed == 1


def test_the_collector_may_find_it_in_a_reader(streamed: Streamed) -> None:
    source = streamed.source()
    store = WeightStore(source, streamed.division, Checks(), block=4 * PAGE)
    store.itself = store  # type: ignore[attr-defined]
    source.open.clear()
    store.begin([0, 1])
    del store

    def collect() -> float:
        gc.collect()
        return 0.0

    source.delay = collect
    gc.disable()
    try:
        source.open.set()
        wait_for(lambda: source.closed == 1)
    finally:
        gc.enable()


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def test_memory_is_given_back(tmp_path: Path) -> None:
    path = tmp_path / "weights.bin"
    parts, content = parts_of(path, [8 << 20] * 3)
    path.write_bytes(content)
    division = division_of(parts[:1], [[part] for part in parts[1:]], (9 << 20))
    before = resident()
    for _ in range(5):
        store = WeightStore(DirectSource(path), division, Checks())
        for _ in range(2):
            store.begin([0, 1])
            for stage in (0, 1):
                store.acquire(stage)
                store.release(stage)
        assert resident() - before < division.held + (4 << 20)
        store.close()
    assert resident() - before < 4 << 20


def resident() -> int:
    """Bytes of memory of this process; 0 where the system does not tell."""
    status = Path("/proc/self/statm")
    return int(status.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") if status.exists() else 0


def test_the_home_is_checked_in_pieces(streamed: Streamed) -> None:
    """Between extents, never inside a tensor, and nothing is forgotten."""
    home = stage_of(-1, streamed.parts, PAGE)
    whole = store_module._pieces(home, 1 << 30)
    assert [piece.parts for piece in whole] == [home.parts]
    pieces = store_module._pieces(home, 1)
    assert len(pieces) == len(home.extents)
    assert tuple(placed for piece in pieces for placed in piece.parts) == home.parts
    assert [piece.extents[0] for piece in pieces] == list(home.extents)
    tied = [replace(part, tensor="same") if index in (1, 3) else part for index, part in enumerate(streamed.parts)]
    pieces = store_module._pieces(stage_of(-1, tied, PAGE), 1)
    assert [[placed.part.tensor for placed in piece.parts] for piece in pieces] == [
        ["t0"], ["same", "t2", "same"], ["t4"], ["t5"],
    ]  # fmt: skip


def test_wrong_divisions_are_refused(streamed: Streamed) -> None:
    small = replace(streamed.division, ring=20 * PAGE)
    with pytest.raises(ValueError, match="does not fit"):
        WeightStore(streamed.source(), small, Checks())
    stages = streamed.division.stages
    mixed = replace(streamed.division, stages=(replace(stages[0], parts=stages[1].parts), *stages[1:]))
    with pytest.raises(ValueError, match="in no extent"):
        WeightStore(streamed.source(), mixed, Checks())
    with pytest.raises(ValueError, match="expected 'once'"):
        WeightStore(streamed.source(), streamed.division, Checks(), readers=0)
