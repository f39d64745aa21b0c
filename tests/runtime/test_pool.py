"""The worker pool under stress: programs swapped and freed while late workers may still look at them."""

from __future__ import annotations

import gc
import threading
import time

import numpy as np
import pytest

from edgert.cache import cache_root
from edgert.kernels_cpu.control import ACTIVE, FUTEX_NUMBER, SLEEPERS, SYNC_BYTES, SYSCALL, YIELD_NUMBER
from edgert.kernels_cpu.levels import active_level
from edgert.kernels_cpu.library import KernelLibrary, kernel_table, open_library
from edgert.program import Op, Operand, Program, Segment, assemble, link
from edgert.program.assembler import aligned_bytes
from edgert.runtime.pool import Job, WorkerPool

THREADS = 4
"""More than this machine may have: workers are descheduled in the middle of a walk."""


@pytest.fixture(scope="module")
def library() -> KernelLibrary:
    found = open_library(active_level(), cache_root())
    found.prepare(["fill_row"])
    return found


class Filler:
    """A program of `ops` fills: op i writes its pattern to its own part of the arena, in `chunks` pieces."""

    def __init__(self, library: KernelLibrary, ops: int, chunks: int, nbytes: int = 256) -> None:
        self.ops, self.nbytes = ops, nbytes
        self.arena = aligned_bytes(ops * nbytes + 64)
        program = Program(
            tuple(
                Op("fill_row", {"y": Operand(0, i * nbytes, nbytes)}, {"nbytes": nbytes, "pattern": i + 1}, chunks)
                for i in range(ops)
            ),
            (Segment("arena", self.arena.nbytes),),
        )
        self.records = link(assemble(program), [self.arena.ctypes.data])
        self.table = kernel_table(library, ["fill_row"])
        self.sync = aligned_bytes(SYNC_BYTES * ops)
        self.job = Job(
            self.records.ctypes.data, self.sync.ctypes.data, ops, self.table.ctypes.data, 0, 0,
            (self.arena, self.records, self.table, self.sync),
        )  # fmt: skip
        self.epoch = 0

    def run(self, pool: WorkerPool) -> None:
        self.arena[:] = 0
        pool.run(self.job, self.epoch)
        self.epoch += 1
        words = self.arena[: self.ops * self.nbytes].view(np.int32).reshape(self.ops, -1)
        assert (words == np.arange(1, self.ops + 1)[:, None]).all()


def test_many_tiny_programs_swapped(library: KernelLibrary) -> None:
    pool = WorkerPool(library, THREADS)
    fillers = [Filler(library, ops, chunks) for ops, chunks in ((1, 1), (3, 4), (1, 7), (20, 2), (2, 64))]
    for i in range(4000):
        fillers[i * 7 % len(fillers)].run(pool)
    pool.close()


def test_programs_are_freed_after_quiescing(library: KernelLibrary) -> None:
    pool = WorkerPool(library, THREADS)
    for i in range(300):
        filler = Filler(library, 1 + i % 5, 1 + i % 3)
        filler.run(pool)
        if i % 3 == 0:
            pool.quiesce()
            assert not pool._state.published
            # a worker that wakes only now is counted once more, with the empty program, and must leave it
            deadline = time.monotonic() + 10
            while int(pool._state.word(ACTIVE)[0]):
                assert time.monotonic() < deadline, "a worker stays in a program after quiescing"
                time.sleep(0)
            for memory in (filler.records, filler.sync, filler.table):
                memory[:] = 0xFF if memory.dtype == np.uint8 else -1  # who is still inside would crash
    pool.close()


def test_jobs_keep_their_memory_until_then(library: KernelLibrary) -> None:
    pool = WorkerPool(library, 2)
    Filler(library, 1, 1).run(pool)
    assert len(pool._state.published) == 1
    pool.quiesce()
    assert not pool._state.published
    pool.close()


def test_closing_again_and_using_again(library: KernelLibrary) -> None:
    gc.collect()  # what earlier tests forgot
    before = threading.active_count()
    pool = WorkerPool(library, THREADS)
    filler = Filler(library, 3, 5)
    for _ in range(5):
        filler.run(pool)
        assert threading.active_count() == before + THREADS - 1
        pool.close()
        pool.close()
        assert threading.active_count() == before


def test_closing_at_once(library: KernelLibrary) -> None:
    """Workers that had no time to arrive hear of it all the same."""
    for _ in range(50):
        pool = WorkerPool(library, THREADS)
        Filler(library, 1, 1).run(pool)
        pool.close()


@pytest.mark.parametrize("system", ["Linux", "Android"])
def test_idle_workers_sleep(library: KernelLibrary, system: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Android is a Linux; since Python 3.13 it goes by its own name."""
    monkeypatch.setattr("platform.system", lambda: system)
    pool = WorkerPool(library, 3)
    Filler(library, 1, 1).run(pool)
    deadline = threading.Event()
    for _ in range(200):
        if int(pool._state.word(SLEEPERS)[0]) == 2:
            break
        deadline.wait(0.02)
    assert int(pool._state.word(SLEEPERS)[0]) == 2
    Filler(library, 4, 9).run(pool)
    pool.close()


@pytest.mark.parametrize(
    ("arch", "numbers"), [("x86_64", (202, 24)), ("aarch64", (98, 124)), ("armv7", (240, 158)), ("mips", (0, 0))]
)
def test_numbers_of_system_calls_are_those_of_the_process(
    library: KernelLibrary, arch: str, numbers: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not of the machine: a 64-bit kernel runs 32-bit programs, whose calls have other numbers."""
    monkeypatch.setattr("edgert.runtime.pool.host_arch", lambda: arch)
    state = WorkerPool(library, 2)._state
    assert (int(state.word(FUTEX_NUMBER)[0]), int(state.word(YIELD_NUMBER)[0])) == numbers
    assert bool(state.word(SYSCALL)[0]) == (numbers != (0, 0))


def test_without_futexes_workers_spin(library: KernelLibrary, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "unknown")
    pool = WorkerPool(library, 2)
    filler = Filler(library, 2, 3)
    for _ in range(20):
        filler.run(pool)
    pool.close()
