"""Worker threads of one session: they live in native code, parked until a program is published.

What they do there is kernels_cpu/engine.py; this file owns the control block, starts them and lets them go.
"""

from __future__ import annotations

import ctypes
import os
import platform
import threading
import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from edgert.device.cpu import usable_cores
from edgert.kernels_cpu import control as layout
from edgert.kernels_cpu.levels import host_arch
from edgert.kernels_cpu.library import KernelLibrary
from edgert.program.assembler import aligned_bytes
from edgert.threads import launch

SPIN_IDLE = 20_000
"""Pauses before an idle worker sleeps: about half a millisecond, the gap between two runs of a busy loop."""
SPIN_OP = 2_000
"""Pauses at the end of an op before giving up the core: a chunk of another thread takes tens of microseconds."""
SPIN_CROWDED = 16
"""Either, when there are more threads than cores: spinning would keep the others from working."""
_SYSTEM_CALLS = {"x86_64": (202, 24), "aarch64": (98, 124), "armv7": (240, 158)}
"""Architecture of this process -> (futex, sched_yield)."""
_LINUX = ("Linux", "Android")
"""What systems with these calls are named; Python 3.13 and newer tell Android from Linux, older ones do not."""
STOP_POLL = 0.02
"""Seconds between two calls to stop: a worker that was just starting may have missed the first."""

_NativeWorker = ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * 2)
_NativeRun = ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * 8)


@dataclass(frozen=True, eq=False)
class Job:
    """A native run for all threads, as addresses: see engine.run. memory: the arrays behind them."""

    program: int
    sync: int
    ops: int
    table: int
    scratch: int
    stride: int
    memory: tuple[npt.NDArray[Any], ...] = ()


EMPTY = Job(0, 0, 0, 0, 0, 0)


@dataclass
class _State:
    """What the workers share. They hold this and not the pool, so that a forgotten pool can be collected."""

    control: npt.NDArray[np.uint8]
    run: Callable[..., None]
    work: Callable[..., None]
    lock: threading.Lock = field(default_factory=threading.Lock)
    threads: list[threading.Thread] = field(default_factory=list)
    starting: threading.RLock = field(default_factory=threading.RLock)
    """Guards the list of threads. One that its thread may take again: the collector may end a pool anywhere."""
    published: set[Job] = field(default_factory=set)
    """Jobs that a late worker may still be inside; this keeps their memory."""
    process: int = field(default_factory=os.getpid)

    @property
    def address(self) -> int:
        return int(self.control.ctypes.data)

    def word(self, offset: int) -> npt.NDArray[np.int64]:
        return self.control[offset : offset + 8].view(np.int64)

    def publish(self, job: Job, epoch: int) -> None:
        self.run(self.address, job.program, job.sync, job.ops, job.table, job.scratch, job.stride, epoch)


class WorkerPool:
    """`threads` - 1 workers beside the calling thread. They start with the first run, and stop with close(),
    with the pool's end of life, or at interpreter exit.

    After a fork the child has no workers; `restart()` makes the pool usable there.
    """

    def __init__(self, library: KernelLibrary, threads: int) -> None:
        self.threads = threads
        self._run: Callable[..., None] = _NativeRun(library.engine("edgert_run"))
        self._work: Callable[..., None] = _NativeWorker(library.engine("edgert_worker"))
        self.restart()

    def restart(self) -> None:
        """A new control block and no workers yet. Only for a new pool, or in a forked child."""
        control = aligned_bytes(layout.CONTROL_BYTES)
        self._state = state = _State(control, self._run, self._work)
        futex, sched_yield = _SYSTEM_CALLS.get(host_arch(), (0, 0))
        if futex and platform.system() in _LINUX:
            state.word(layout.SYSCALL)[0] = ctypes.cast(ctypes.CDLL(None).syscall, ctypes.c_void_p).value or 0
        state.word(layout.FUTEX_NUMBER)[0], state.word(layout.YIELD_NUMBER)[0] = futex, sched_yield
        crowded = self.threads > usable_cores()
        state.word(layout.SPIN_IDLE)[0] = SPIN_CROWDED if crowded else SPIN_IDLE
        state.word(layout.SPIN_OP)[0] = SPIN_CROWDED if crowded else SPIN_OP
        self._finalizer: weakref.finalize[[_State], Any] = weakref.finalize(self, _stop, state)

    def run(self, job: Job, epoch: int) -> None:
        """Runs `job` on all threads; its sync words must be at `epoch`. Returns when it is done."""
        state = self._state
        with state.lock:
            if len(state.threads) < self.threads - 1:
                launch(partial(_start, state, self.threads - 1))
            state.published.add(job)
            state.publish(job, epoch)

    def quiesce(self) -> None:
        """Returns once no worker can be inside a job published before, and lets go of their memory."""
        state = self._state
        with state.lock:
            if not state.threads:
                return
            state.publish(EMPTY, 0)
            while int(state.word(layout.ACTIVE)[0]):
                time.sleep(0)
            state.published.clear()

    def close(self) -> None:
        """Stops the workers and waits for them. The pool may be used again: they are started anew."""
        self._finalizer()
        self.restart()


def _start(state: _State, workers: int) -> None:
    """Starts those of `workers` workers that are missing. Each has a number of its own, from 1 on."""
    with state.starting:
        for number in range(len(state.threads) + 1, workers + 1):
            if int(state.word(layout.STOP)[0]):
                return
            thread = threading.Thread(target=_live, args=(state, number), name=f"edgert-{number}", daemon=True)
            thread.start()
            state.threads.append(thread)


def _live(state: _State, number: int) -> None:
    state.work(state.address, number)


def _stop(state: _State) -> None:
    if state.process != os.getpid():
        return  # workers of the parent, which do not exist here
    with state.lock, state.starting:
        state.word(layout.STOP)[0] = 1
        for thread in state.threads:
            while thread.is_alive():
                state.publish(EMPTY, 0)
                thread.join(STOP_POLL)
        state.threads.clear()
