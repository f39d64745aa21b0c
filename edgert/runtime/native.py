"""The processor's side of a session: its kernels and its worker threads, taken when a plan first needs them.

What the workers do is pool.py, where kernels come from kernels_cpu/library.py.
"""

from __future__ import annotations

from collections.abc import Sequence

from edgert.cache import cache_root
from edgert.kernels_cpu.installed import Choice
from edgert.kernels_cpu.library import KernelLibrary, Progress, load_library
from edgert.plan.plan import Plan
from edgert.runtime.pool import WorkerPool


class Native:
    """One kernel library and one pool of `threads` threads for all plans of a session. Nothing is loaded before a plan
    asks. For one thread at a time."""

    def __init__(self, choice: Choice, threads: int, on_compile: Progress | None = None) -> None:
        self._choice, self._threads, self._on_compile = choice, threads, on_compile
        self._library: KernelLibrary | None = None
        self._pool: WorkerPool | None = None

    def take(self, kernels: Sequence[str], plan: Plan) -> tuple[KernelLibrary | None, WorkerPool | None]:
        """The library with `kernels`, those that `plan` has on the processor, and the workers, where it takes any.
        Raises KernelError."""
        if kernels:
            if self._library is None:
                self._library = load_library(self._choice, cache_root())
            self._library.prepare(kernels, self._on_compile)
            if plan.threads > 1 and self._pool is None:
                self._pool = WorkerPool(self._library, self._threads)
        return self._library, self._pool

    @property
    def origin(self) -> str:
        """'JIT' or 'AOT', and '' while no kernel is in use."""
        return self._library.origin if self._library is not None else ""

    @property
    def described(self) -> str:
        """`origin` and what is to be said of the choice of the library."""
        return self.origin and self.origin + self._choice.note

    def quiesce(self) -> None:
        """Returns once no worker can be inside a run that was published before."""
        if self._pool is not None:
            self._pool.quiesce()

    def close(self) -> None:
        """Ends the workers; the next plan that takes any has new ones."""
        if self._pool is not None:
            self._pool.close()
        self._pool = None

    def after_fork(self) -> None:
        """In the child, which has no workers yet."""
        if self._pool is not None:
            self._pool.restart()
