"""A plan with memory: arena, constants, linked program, and what runs it. One run at a time; Session holds the lock.

Inputs arrive checked; what they must be is inputs.py.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Protocol

import numpy as np

from edgert.errors import MemoryBudgetError, UnsupportedError
from edgert.format.parts import FilePart
from edgert.graph.ir import Array
from edgert.kernels_cpu.abi import RECORD_BYTES
from edgert.kernels_cpu.control import SYNC_BYTES
from edgert.kernels_cpu.library import KernelLibrary, kernel_table
from edgert.kernels_cpu.reference import evaluate
from edgert.plan.budget import show_bytes
from edgert.plan.emitter import REGISTER_BYTES, ROWS
from edgert.plan.plan import Call, HostCall, LookupCall, NativeRun, NeuronCall, Plan, Slot, Source
from edgert.program import assemble, link
from edgert.program.assembler import aligned_bytes
from edgert.runtime.pool import Job, WorkerPool

if TYPE_CHECKING:
    from edgert.stream.neurons import NeuronWindow
    from edgert.stream.store import WeightStore
    from edgert.stream.table import Table

_NativeSingle = ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * 4)


@dataclass(frozen=True)
class OpTime:
    """One measured op. start_us counts from the beginning of the run; kernel 'host:Conv' ran in NumPy."""

    node: str
    op: str
    kernel: str
    start_us: float
    us: float
    predicted_us: float


class _Call(Protocol):
    """A part of a run."""

    def __call__(self) -> None: ...

    def reset(self) -> None:
        """As if it had never run."""
        ...


class _Native:
    """Some consecutive ops, and how often they ran: their sync words count epochs."""

    def __init__(self, executable: Executable, first: int, count: int) -> None:
        self._executable, self._first, self._count = executable, first, count
        self._epoch = 0
        program = executable.program.ctypes.data + RECORD_BYTES * first
        table, scratch = executable.table.ctypes.data, executable.scratch.ctypes.data
        self._arguments = (program, count, table, scratch)
        if executable.pool is not None:
            # Of its own, so that ops may be run together or one by one.
            self._sync = aligned_bytes(SYNC_BYTES * count)
            stride = executable.plan.program.scratch
            memory = (self._sync, *executable.memory)
            self._job = Job(program, self._sync.ctypes.data, count, table, scratch, stride, memory)

    def __call__(self) -> None:
        pool = self._executable.pool
        if pool is None:
            self._executable.single(*self._arguments)
        else:
            self._epoch += 1
            pool.run(self._job, self._epoch - 1)

    def reset(self) -> None:
        """As if it had never run: after a run that did not end, such as one of another thread at a fork."""
        self._epoch = 0
        if self._executable.pool is not None:
            self._sync[:] = 0


class _Host:
    """One node in NumPy, from and to the arena."""

    def __init__(self, executable: Executable, call: HostCall) -> None:
        self._call, self._attrs = call, dict(call.node.attrs)
        self._inputs = [executable.value(source) for source in call.inputs]
        self._outputs = [executable.value(slot) for slot in call.outputs]

    def __call__(self) -> None:
        call = self._call
        results = evaluate(call.node.op, self._inputs, self._attrs, call.quant_in, call.quant_out, call.dtype_out)
        for target, result in zip(self._outputs, results, strict=False):
            if target is None:
                continue
            if target.shape != result.shape or target.dtype != result.dtype:
                raise UnsupportedError(
                    f"node {call.node.name!r} ({call.node.op}): expected {target.dtype} {list(target.shape)} as "
                    f"planned, computed {result.dtype} {list(result.shape)}"
                )
            np.copyto(target, result)

    def reset(self) -> None:
        pass


class Executable:
    """Memory for `plan`, its program linked to it, and the calls in order.

    state: the memory of the plan's states, shared with other plans; zeros of its own if not given. store: has the
    weights of a plan for streaming, for one run at a time; its owner closes it. tables: those that rows are looked up
    in; others are opened here. arena: its memory, where another user of it made it. window: has the neurons that the
    plan wants one by one. Raises MemoryBudgetError where the system does not give the memory.
    """

    def __init__(
        self,
        plan: Plan,
        library: KernelLibrary | None,
        pool: WorkerPool | None,
        state: Array | None = None,
        store: WeightStore | None = None,
        tables: Mapping[FilePart, Table] | None = None,
        arena: Array | None = None,
        window: NeuronWindow | None = None,
    ) -> None:
        self.plan, self.store, self._window = plan, store, window
        self.pool = pool if plan.threads > 1 else None
        try:
            self._arena = arena if arena is not None else aligned_bytes(plan.memory.arena)
            self._constants = aligned_bytes(plan.constants.nbytes)
            self.scratch = aligned_bytes(plan.threads * plan.program.scratch)
            self.state = state if state is not None else aligned_bytes(plan.memory.state)
        except MemoryError as error:
            raise MemoryBudgetError(
                f"the system has no {show_bytes(plan.memory.total)} for this plan; free some, use fewer threads "
                "or smaller shapes"
            ) from error
        self._constants[...] = plan.constants
        self._registers = aligned_bytes(REGISTER_BYTES).view(np.int32)
        weights = [part for part in plan.weights if not isinstance(part, FilePart)]
        segments = [self._arena, self._constants, self._registers, self.state, *weights]
        self.program = link(assemble(plan.program), [self._address(part) for part in (*segments[:4], *plan.weights)])
        self.table = np.zeros(1, np.int64)
        if library is not None:
            self.table = kernel_table(library, self.native_kernels)
            self.single: Callable[..., None] = _NativeSingle(library.engine("edgert_run_single"))
        self.memory = (*segments, self.program, self.table, self.scratch)
        self._inputs = {name: self._view(slot) for name, slot in plan.inputs.items()}
        self._outputs = {name: self.value(source) for name, source in plan.outputs.items()}
        self._gates = None
        if store is not None:
            from edgert.runtime.gates import Gates

            self._gates = Gates(plan, store)
        self._tables = tables or {}
        self._calls = list(self._scheduled())
        self._single_ops: list[tuple[int, list[_Call]]] | None = None
        self._unfinished = False

    def _address(self, part: Array | FilePart) -> int:
        if not isinstance(part, FilePart):
            return int(part.ctypes.data)
        if self._window is not None and part in self._window.parts:
            return self._window.address
        if self.store is None:
            raise ValueError("a plan for streaming needs a store")
        return self.store.address(part)

    @property
    def native_kernels(self) -> tuple[str, ...]:
        """Those of the library that it needs."""
        return self.plan.program.kernels

    def _scheduled(self) -> Iterator[_Call]:
        """Everything that a run calls, in order."""
        for call in self.plan.schedule:
            yield from self._made(call)

    def _made(self, call: Call) -> Iterator[_Call]:
        """What is called for an entry of the schedule."""
        if isinstance(call, HostCall):
            yield _Host(self, call)
        elif isinstance(call, LookupCall):
            from edgert.runtime.gates import Lookup
            from edgert.stream.table import Table

            table = self._tables.get(call.part) or Table(call.part)
            yield Lookup(call, table, self._arena, self._registers[ROWS:])
        elif isinstance(call, NeuronCall):
            from edgert.runtime.gates import Neurons

            if self._window is None:
                raise ValueError("a plan that reads neurons needs a window")
            yield Neurons(call, self._window, self._arena)
        elif self._gates is None:
            yield _Native(self, call.first, call.count)
        else:
            from edgert.runtime.gates import Gate

            free: list[int] = []
            for wanted, first, count, then in self._gates.cuts(call.first, call.count):
                if free or wanted:
                    yield Gate(self._gates.store, free, wanted)
                yield _Native(self, first, count)
                free = then
            if free:
                yield Gate(self._gates.store, free, [])

    def _begin(self) -> None:
        if self._unfinished:
            # An error or Ctrl-C ended the run before this one anywhere: epochs may be ahead of sync words or behind.
            if self.pool is not None:
                self.pool.quiesce()
            self.reset()
        self._unfinished = True
        if self._gates is not None:
            self._gates.store.begin(self._gates.order)

    def _run(self) -> None:
        self._begin()
        for call in self._calls:
            call()
        self._unfinished = False

    def _view(self, slot: Slot) -> Array:
        data = self._arena[slot.offset : slot.offset + slot.type.nbytes]
        return data.view(slot.type.np_dtype).reshape(slot.type.static_shape)

    def value(self, source: Source) -> Array | None:
        """The array behind a source: a view of the arena, or a constant."""
        return self._view(source) if isinstance(source, Slot) else source

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """All outputs by name, as arrays of their own."""
        for name, view in self._inputs.items():
            view[...] = feeds[name]  # a third of what np.copyto takes to begin
        self._run()
        return self.outputs()

    def outputs(self) -> dict[str, Array]:
        """All outputs of the latest run by name, as arrays of their own."""
        return {name: np.array(view) for name, view in self._outputs.items()}

    @property
    def held(self) -> int:
        """Bytes without the weights, which lie in the file and are shared."""
        return self.plan.memory.total - self.plan.memory.weights

    def run_rows(
        self, rows: int, feeds: Mapping[str, Array], names: Collection[str] | None = None
    ) -> dict[str, Array]:  # fmt: skip
        """The outputs of the first `rows` rows, or those in `names`, as views that the next run overwrites; each input
        has `rows` rows. For plans of varying rows."""
        for name, view in self._inputs.items():
            view[:rows] = feeds[name]
            view[rows:] = 0  # kernels that run all rows must find something there
        self._registers[ROWS] = rows
        self._run()
        wanted = self._outputs if names is None else names
        return {name: view[:rows] for name, view in self._outputs.items() if view is not None and name in wanted}

    def profile(self, feeds: Mapping[str, Array]) -> list[OpTime]:
        """Runs op by op, each a call of its own, and measures: microseconds for every step that does work."""
        if self._single_ops is None:
            self._single_ops = self._steps()
        for name, view in self._inputs.items():
            np.copyto(view, feeds[name])
        times = []
        begin = time.perf_counter()
        self._begin()
        for index, calls in self._single_ops:
            start = time.perf_counter()
            for call in calls:
                call()
            end = time.perf_counter()
            step = self.plan.steps[index]
            times.append(
                OpTime(step.node, step.op, step.kernel, 1e6 * (start - begin), 1e6 * (end - start), step.predicted_us)
            )
        self._unfinished = False
        return times

    def _steps(self) -> list[tuple[int, list[_Call]]]:
        """The calls of each step by itself; waiting for weights is part of the step that needs them."""
        calls: list[list[Call]] = [[] for _ in self.plan.steps]
        of_op = [index for index, step in enumerate(self.plan.steps) for _ in range(step.ops)]
        for call in self.plan.schedule:
            if isinstance(call, NativeRun):
                for index, ops in groupby(range(call.first, call.first + call.count), of_op.__getitem__):
                    first, *more = ops
                    calls[index].append(NativeRun(first, 1 + len(more)))
            else:
                calls[call.step].append(call)
        return [(index, [made for call in own for made in self._made(call)]) for index, own in enumerate(calls) if own]

    def reset(self) -> None:
        """See _Native.reset."""
        for call in [*self._calls, *(call for _, calls in self._single_ops or [] for call in calls)]:
            call.reset()
