"""What the readers of a store do: they read what is due, check what arrived, and tell who waits.

What is due is ring.py's decision, how threads live crew.py's; what runs ask for is store.py.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy.typing as npt

from edgert.format.parts import FilePart
from edgert.stream.crew import Crew
from edgert.stream.memory import Memory
from edgert.stream.ring import Block, Ring
from edgert.stream.source import Source, fill
from edgert.stream.stages import Stage
from edgert.stream.statistics import Statistics

Checks = Literal["once", "always", "never"]
Checker = Callable[[Mapping[FilePart, npt.NDArray[Any]], bool], None]
"""check(arrived, crc): raises FormatError unless the bytes that arrived, uint8 by part, are what the file promises;
crc: whether checksums are compared too. Called by several threads at once, each with all parts of some tensors. It must
neither hold the store nor keep the arrays."""


@dataclass(eq=False)
class Lane:
    """Stages and the memory they are read into. verified: those that were checked since the file last changed."""

    stages: tuple[Stage, ...]
    memory: Memory
    ring: Ring
    verified: set[int] = field(default_factory=set)


@dataclass(eq=False, kw_only=True)
class Shared(Crew[tuple[Lane, Block]]):
    """What readers and a store share."""

    source: Source
    lanes: tuple[Lane, ...]
    checker: Checker
    checks: Checks
    stamp: tuple[int, int]
    """Of the file when it was last known to be unchanged; see Source."""
    changed: bool = False
    paused: bool = False
    """No block is claimed: a store is quiet."""
    statistics: Statistics = field(default_factory=Statistics)

    @property
    def busy(self) -> int:
        """Reads and checks under way."""
        return sum(lane.ring.busy for lane in self.lanes)

    def claim(self) -> tuple[Lane, Block] | None:
        """The next read, for the caller to do."""
        if not self.paused:
            for lane in self.lanes:
                block = lane.ring.claim()
                if block is not None:
                    return lane, block
        return None

    def work(self, job: tuple[Lane, Block]) -> None:
        """Reads, and checks a stage that is complete."""
        lane, block = job
        complete = _settle(self, lane, block, _read(self, lane, block))
        if complete:
            error = _check(self, lane, block.stage)
            with self.lock:
                if error is None:
                    lane.ring.checked(block.stage)
                else:
                    lane.ring.failed(block.stage, error)
                _tell(self)

    def wake(self) -> None:
        """With the lock held, after whatever may have made reads due."""
        if any(lane.ring.due for lane in self.lanes):
            self.idle.ring()

    def forget(self) -> None:
        """In a forked child: reads of the parent do not arrive here."""
        for lane in self.lanes:
            lane.ring.forget_reads()

    def let_go(self) -> None:
        """Gives back file and memory."""
        self.source.close()
        for lane in self.lanes:
            lane.memory.close()


def _read(shared: Shared, lane: Lane, block: Block) -> BaseException | None:
    """Reads the block; what went wrong."""
    start = time.perf_counter()
    try:
        view = lane.memory.view[block.at : block.at + block.nbytes]
        count = fill(shared.source, view, block.start, block.expected)
    except BaseException as error:  # a reader that dies would leave the run waiting
        return without_frames(error)
    seconds = time.perf_counter() - start
    with shared.lock:
        shared.statistics.bytes_read += count
        shared.statistics.reads += 1
        shared.statistics.reading += seconds
    return None


def without_frames(error: BaseException) -> BaseException:
    """`error` to be raised in another thread: the frames of this one would keep alive what they use."""
    if error.__cause__ is not None:
        error.__cause__ = error.__cause__.with_traceback(None)
    error.__context__ = None
    return error.with_traceback(None)


def _settle(shared: Shared, lane: Lane, block: Block, error: BaseException | None) -> bool:
    """Notes that a read is over. Whether its stage is complete, and to be checked."""
    with shared.lock:
        complete = False
        if error is None:
            complete = lane.ring.arrived(block.stage)
        else:
            lane.ring.failed(block.stage, error)
        _tell(shared)
        return complete


def _tell(shared: Shared) -> None:
    shared.wake()
    shared.news.ring()


def _check(shared: Shared, lane: Lane, stage: int) -> BaseException | None:
    """Checks a stage that arrived, if it is to be; what is wrong with it."""
    try:
        stamp = shared.source.stamp()
        with shared.lock:
            if stamp != shared.stamp:
                shared.stamp, shared.changed = stamp, True
                for every in shared.lanes:
                    every.verified.clear()
            first = stage not in lane.verified
            crc = shared.checks == "always" or (first and (shared.checks == "once" or shared.changed))
        if first or crc:
            start = time.perf_counter()
            parts = lane.stages[stage].parts
            shared.checker({placed.part: lane.memory.array(placed.at, placed.part.nbytes) for placed in parts}, crc)
            seconds = time.perf_counter() - start
            with shared.lock:
                shared.statistics.checking += seconds
                lane.verified.add(stage)
    except BaseException as error:  # as in _read
        return without_frames(error)
    return None
