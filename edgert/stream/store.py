"""Weights that do not fit, read from their file ahead of their use: what runs ask for, and where parts lie.

What may be read when is ring.py, who reads readers.py, what stays and what is streamed edgert/plan/residency.py.
"""

from __future__ import annotations

import time
import weakref
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from edgert.errors import FormatError
from edgert.format.parts import FilePart
from edgert.stream.memory import Memory
from edgert.stream.readers import Checker, Checks, Lane, Shared
from edgert.stream.ring import Ring
from edgert.stream.source import Source
from edgert.stream.stages import PAGE, Division, Stage
from edgert.stream.statistics import Statistics

READERS = 4
"""Reads at a time. Measured by bench/stream/checks.py on a virtual disk: 1 gave 1.6 GB/s, 2 1.9, 4 and 8 2.1."""
BLOCK = 4 << 20
"""Bytes of a read, at most: for each, a thread has to be woken while all cores compute. There 256 KB gave 1.4 GB/s and
took 0.17 s of a processor per GB, 1 MB 2.0 GB/s and 0.07 s, 4 MB 2.1 GB/s and 0.03 s."""
HOME_PIECE = 8 << 20
"""Bytes of what stays that are checked together: several, so that readers check at the same time."""


class WeightStore:
    """The parts of `division`, read from `source`: those that stay at once, the others in the order of each run.

    checks: when the bytes of a part are compared with the checksum in the file: 'once', when it is first read, and
    again when the file's time of change has moved; 'always'; 'never', unless that time has moved. Measured, a CRC-32
    takes 0.2 s of a processor per GB, where reading takes 0.03 to 0.1: 'always' takes from compute, run after run, to
    find what the storage's own codes have missed since the first look; 'once' costs nothing after the first run. What
    kernels trust (the indices of sparse tensors) is checked at first sight whatever `checks` says. readers: reads at
    a time; block: bytes of a read.

    One run at a time uses it: begin, then acquire and release of the stages. A run that ends early (an error, Ctrl-C)
    need not tell: the next begin() starts anew. A forked child has its own copy.

    Raises FormatError where the file is too short or damaged, StorageError where it cannot be read, MemoryBudgetError
    where the system does not give the memory. The store owns `source`, and closes it.
    """

    def __init__(
        self,
        source: Source,
        division: Division,
        checker: Checker,
        *,
        checks: Checks = "once",
        readers: int = READERS,
        block: int = BLOCK,
    ) -> None:
        self.source, self.division = source, division
        try:
            if checks not in ("once", "always", "never") or readers < 1:
                raise ValueError(
                    f"checks={checks!r}, readers={readers}: expected 'once', 'always' or 'never', and 1 up"
                )
            home = _pieces(division.home, HOME_PIECE)
            self._home = _lane(source, home, division.resident_bytes, block)
            self._ring = _lane(source, division.stages, division.ring, block)
            home_address, ring_address = self._home.memory.address, self._ring.memory.address
            self._addresses = {placed.part: home_address + placed.at for placed in division.home.parts}
            for stage in division.stages:
                self._addresses |= {placed.part: ring_address + placed.at for placed in stage.parts}
            self._shared = Shared(
                readers=readers, source=source, lanes=(self._home, self._ring), checker=checker, checks=checks,
                stamp=source.stamp(),
            )  # fmt: skip
        except BaseException:
            source.close()
            raise
        self._finalizer: weakref.finalize[[], Any] = weakref.finalize(self, self._shared.stop)
        try:
            self._load_home()
        except BaseException:
            self.close()
            raise

    def _load_home(self) -> None:
        order = range(len(self._home.stages))
        if not order:
            return
        with self._shared.lock:
            self._home.ring.begin(order)
        self._shared.start()
        for stage in order:
            self._wait(self._home, stage)

    @property
    def statistics(self) -> Statistics:
        """What was done so far."""
        with self._shared.lock:
            return replace(self._shared.statistics)

    def address(self, part: FilePart) -> int:
        """Where `part` lies: always, or between acquire and release of its stage. Good until close(). Raises KeyError
        for a part of another division."""
        return self._addresses[part]

    def begin(self, stages: Sequence[int]) -> None:
        """A run that uses `stages`, in this order, starts. What was read ahead and is soon needed is kept; from the end
        of the run on, the readers go on with its beginning. Raises RuntimeError after close()."""
        shared = self._shared
        self._check_open()
        shared.start()
        with shared.lock:
            self._ring.ring.begin(stages)
            shared.paused = False
            shared.statistics.laps += 1
            shared.wake()

    def acquire(self, stage: int) -> None:
        """Waits until `stage`, the next one of the run, is there; it then stays until release(). Ctrl-C interrupts.

        Raises what kept it away: FormatError, StorageError, or what the source or the checker raised; RuntimeError
        where it is not the next one, or its place is that of a stage that this run holds, or the store is closed.
        """
        with self._shared.lock:
            self._check_open()
            if self._ring.ring.take(stage):
                return
        start = time.perf_counter()
        try:
            self._wait(self._ring, stage)
        finally:
            statistics = self._shared.statistics
            statistics.waited += time.perf_counter() - start
            statistics.waits += 1

    def release(self, stage: int) -> None:
        """The run no longer needs `stage`: its place may be overwritten."""
        shared = self._shared
        with shared.lock:
            self._ring.ring.release(stage)
            shared.wake()

    def _wait(self, lane: Lane, stage: int) -> None:
        shared = self._shared
        while True:
            with shared.lock:
                self._check_open()
                if lane.ring.take(stage):
                    return
                shared.wake()
                ticket = shared.news.ticket()
            ticket.acquire()

    def _check_open(self) -> None:
        if self._shared.stopped:
            raise RuntimeError("the weight store is closed")

    def quiesce(self) -> None:
        """Returns once no reader writes into memory; none does before the next begin()."""
        with self._shared.lock:
            self._shared.paused = True
        self._shared.silence()

    def close(self) -> None:
        """Waits for the reads under way, stops the readers, gives memory and file back. May be called again."""
        self._finalizer()


def _lane(source: Source, stages: tuple[Stage, ...], nbytes: int, block: int) -> Lane:
    """Memory for `stages`, once it is known that reads stay inside it. Raises FormatError if the file ends too early,
    ValueError for stages that do not fit."""
    for index, stage in enumerate(stages):
        for extent in stage.extents:
            if (extent.start | extent.end | extent.at) % PAGE or not 0 <= extent.at <= nbytes - extent.nbytes:
                raise ValueError(f"stage {index}: {extent} does not fit into {nbytes} bytes of pages")
        for placed in stage.parts:
            part = placed.part
            if part.offset + part.nbytes > source.size:
                what = f"{part.nbytes} bytes of {part.tensor!r} {part.role}"
                found = f"the end of the file at {source.size}"
                raise FormatError(source.file, part.offset, what, found, "it is truncated: copy or convert it again")
            if part.nbytes and not any(
                extent.start <= part.offset
                and part.offset + part.nbytes <= extent.end
                and placed.at - extent.at == part.offset - extent.start
                for extent in stage.extents
            ):
                raise ValueError(f"stage {index}: {placed} is in no extent of it")
    return Lane(stages, Memory(nbytes), Ring(stages, source.size, block))


def _pieces(stage: Stage, least: int) -> tuple[Stage, ...]:
    """`stage` as several of `least` bytes or more, where it can be cut: between extents, but not inside a tensor."""
    extents = sorted(stage.extents, key=lambda extent: extent.at)
    starts = [extent.at for extent in extents]
    inside: list[list[int]] = [[] for _ in extents]
    until: dict[str, int] = {}
    for number, placed in enumerate(stage.parts):
        index = bisect_right(starts, placed.at) - 1
        inside[index].append(number)
        until[placed.part.tensor] = max(index, until.get(placed.part.tensor, 0))
    result: list[Stage] = []
    first = reach = 0
    for index, extent in enumerate(extents):
        reach = max([reach, index, *(until[stage.parts[number].part.tensor] for number in inside[index])])
        nbytes = extent.at + extent.nbytes - starts[first]
        if index == len(extents) - 1 or (reach == index and nbytes >= least):
            numbers = sorted(number for group in inside[first : index + 1] for number in group)
            parts = tuple(stage.parts[number] for number in numbers)
            result.append(Stage(len(result), tuple(extents[first : index + 1]), parts, starts[first], nbytes))
            first = index + 1
    return tuple(result)
