"""Which stage may be read when: the states of stages that share places in a ring, and the reads that are due.

Numbers alone: no threads, no bytes. Every method is called with the lock of store.py held.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto

import numpy as np

from edgert.stream.stages import PAGE, Stage


class Phase(Enum):
    """What the place of a stage holds of it."""

    EMPTY = auto()
    READING = auto()
    """Reads are due or under way, or what arrived is being checked."""
    DRAINING = auto()
    """Given up, because of an error or another order, while some reads are still under way."""
    LOADED = auto()
    FAILED = auto()


@dataclass(frozen=True)
class Block:
    """One read: `nbytes` bytes from `start` of the file to `at` of the memory, of which the file has `expected`."""

    stage: int
    start: int
    at: int
    nbytes: int
    expected: int


def blocks_of(stage: Stage, index: int, block: int, size: int) -> tuple[Block, ...]:
    """The reads of a stage, each `block` bytes or less, from a file of `size` bytes."""
    blocks = []
    for extent in stage.extents:
        for start in range(extent.start, extent.end, block):
            end = min(start + block, extent.end)
            at = extent.at + start - extent.start
            blocks.append(Block(index, start, at, end - start, min(end, size) - start))
    return tuple(blocks)


class Ring:
    """The order of a run is a sequence of stages. They are read in this order, which goes on from its end with its
    beginning, each as soon as all stages that overlap its place and come before it have been released.

    An interrupt (Ctrl-C) may cut begin, take or release in two at any instruction. What readers have under way is
    counted by them alone, who are not interrupted, so that the next begin() can put everything else right.
    """

    def __init__(self, stages: Sequence[Stage], size: int, block: int) -> None:
        if block < PAGE or block % PAGE:
            raise ValueError(f"reads of {block} bytes: expected a multiple of {PAGE}")
        if not all(stage.extents for stage in stages):
            raise ValueError("a stage without bytes to read")
        count = len(stages)
        self.order: tuple[int, ...] = ()
        self.phase = [Phase.EMPTY] * count
        self.errors: list[BaseException | None] = [None] * count
        self.held = [0] * count
        """How often a stage was taken and not released."""
        self._blocks = [blocks_of(stage, index, block, size) for index, stage in enumerate(stages)]
        place, end = np.array([[stage.place, stage.end] for stage in stages], np.int64).reshape(-1, 2).T
        meet = (place[:, None] < end) & (place < end[:, None])
        np.fill_diagonal(meet, False)
        self._overlapping: list[list[int]] = [np.flatnonzero(row).tolist() for row in meet]
        self._claimed = [0] * count
        """How many blocks of a stage readers have taken since its reading began."""
        self._busy = [0] * count
        """How many of them are under way; a stage that is being checked counts as one."""
        self._wanted = [0] * count
        """How often a stage lies between what was planned and what was released."""
        self._due: deque[int] = deque()
        """Stages with blocks to claim, in order; one may be there twice."""
        self._planned = self._taken = self._released = 0
        """Counted along the order, from the last begin() that changed something."""
        self._whole = True
        """False while a method that may be interrupted is at work, and so after it was."""

    # Of the thread that computes.

    def begin(self, order: Sequence[int]) -> None:
        """What the next run uses, from its first stage. What is there, or on its way and soon needed, stays."""
        order = tuple(order)
        between = bool(order) and self._taken == self._released and self._taken % len(order) == 0
        if self._whole and between and order == self.order and Phase.FAILED not in self.phase:
            return
        self._whole = False
        self.order = order
        self._planned = self._taken = self._released = 0
        self._due.clear()
        for stage, phase in enumerate(self.phase):
            self.held[stage] = self._wanted[stage] = 0
            self.errors[stage] = None
            if phase is Phase.FAILED or (phase is Phase.DRAINING and not self._busy[stage]):
                self.phase[stage] = Phase.EMPTY
        self.advance()
        for stage, phase in enumerate(self.phase):
            if phase is Phase.READING and not self._wanted[stage]:
                self._give_up(stage)
        self.advance()
        self._whole = True

    def take(self, stage: int) -> bool:
        """Whether `stage`, the next of the order, is there; then it is held. Raises the error that kept it away, once;
        RuntimeError where it is not the next, or can never come: mistakes of the caller."""
        expected = self.order[self._taken % len(self.order)] if self.order else None
        if stage != expected:
            raise RuntimeError(f"stage {stage} is not the next one of this run's order, which is {expected}")
        phase = self.phase[stage]
        self._whole = False
        if phase is Phase.LOADED:
            self.held[stage] += 1
            self._taken += 1
            self._whole = True
            return True
        if phase is Phase.FAILED:
            error, self.errors[stage] = self.errors[stage], None  # which holds the frames it was raised through
            raise error or RuntimeError(f"stage {stage} could not be read; begin() tries again")
        self.advance()
        self._whole = True
        if self.phase[stage] is Phase.EMPTY and not self.busy and not self.due:
            holding = [other for other in self._overlapping[stage] if self.held[other]]
            raise RuntimeError(f"stage {stage} cannot come while stages {holding} in its place are not released")
        return False

    def release(self, stage: int) -> None:
        """What take() held may be overwritten."""
        if not self.held[stage]:
            raise RuntimeError(f"stage {stage} is released, but was not acquired")
        self._whole = False
        self.held[stage] -= 1
        self._wanted[stage] -= 1
        self._released += 1
        self.advance()
        self._whole = True

    # Of any thread.

    @property
    def busy(self) -> int:
        """Reads and checks under way."""
        return sum(self._busy)

    @property
    def due(self) -> bool:
        """Whether a reader would find something to claim."""
        return any(self._claimed[stage] < len(self._blocks[stage]) for stage in self._due)

    def advance(self) -> None:
        """Plans reads as far along the order as places are free, one whole run ahead at most."""
        count = len(self.order)
        while count and self._planned - self._released < count:
            stage = self.order[self._planned % count]
            phase = self.phase[stage]
            if phase is Phase.DRAINING:
                return
            if phase is Phase.EMPTY:
                for other in self._overlapping[stage]:
                    if self._wanted[other] or self.phase[other] in (Phase.READING, Phase.DRAINING):
                        return
                self._start(stage)
            elif phase is Phase.READING and not self._wanted[stage]:
                self._due.append(stage)  # on its way since before begin(), which forgot the order
            self._wanted[stage] += 1
            self._planned += 1

    def _start(self, stage: int) -> None:
        for other in self._overlapping[stage]:
            self.phase[other] = Phase.EMPTY
        self._claimed[stage] = self._busy[stage] = 0
        self.phase[stage] = Phase.READING
        self._due.append(stage)

    def _give_up(self, stage: int) -> None:
        self.phase[stage] = Phase.DRAINING
        self._settle(stage)

    def _settle(self, stage: int) -> None:
        """Ends DRAINING when nothing is under way any more."""
        if self.phase[stage] is Phase.DRAINING and not self._busy[stage]:
            self.phase[stage] = Phase.EMPTY if self.errors[stage] is None else Phase.FAILED
            self.advance()

    # Of readers.

    def claim(self) -> Block | None:
        """The next block to read, None if there is none. Its reader must call arrived or failed."""
        while self._due:
            stage = self._due[0]
            blocks, claimed = self._blocks[stage], self._claimed[stage]
            if self.phase[stage] is Phase.READING and claimed < len(blocks):
                self._claimed[stage] += 1
                self._busy[stage] += 1
                return blocks[claimed]
            self._due.popleft()
        return None

    def arrived(self, stage: int) -> bool:
        """A block of `stage` was read. True: it was the last; its reader must check the stage, and then call checked
        or failed."""
        last = self._busy[stage] == 1 and self._claimed[stage] == len(self._blocks[stage])
        if last and self.phase[stage] is not Phase.DRAINING:
            return True
        self._busy[stage] -= 1
        self._settle(stage)
        return False

    def checked(self, stage: int) -> None:
        """`stage` is there. Given up meanwhile or not: it is whole."""
        self._busy[stage] -= 1
        self.phase[stage] = Phase.LOADED
        self.advance()

    def failed(self, stage: int, error: BaseException) -> None:
        """A block of `stage` could not be read, or its check failed: take() raises `error`."""
        self._busy[stage] -= 1
        if self.phase[stage] is not Phase.DRAINING:  # else it has an error, or nobody waits for it
            self.phase[stage], self.errors[stage] = Phase.DRAINING, error
        self._settle(stage)

    def forget_reads(self) -> None:
        """For a forked child: nothing is under way here, what was is not there."""
        for stage, phase in enumerate(self.phase):
            self._busy[stage] = 0
            if phase in (Phase.READING, Phase.DRAINING):
                self.phase[stage] = Phase.EMPTY
        self._whole = False
