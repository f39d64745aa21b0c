"""A plan on an OpenCL device: its parts there and on the processor, in turn, over memory that both see.

Where an op runs is decided in plan/devices.py; the parts on the processor run as executable.py runs them.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import numpy as np

from edgert.graph.ir import Array
from edgert.kernels_cpu.library import KernelLibrary, Progress
from edgert.kernels_gpu.launch import Command, Place, commands_of
from edgert.kernels_gpu.memory import Mirror, Weights, require
from edgert.kernels_gpu.programs import Programs, with_tile
from edgert.kernels_gpu.replay import Enqueuer
from edgert.kernels_gpu.sequence import Sequence, record
from edgert.kernels_gpu.table import twins
from edgert.kernels_gpu.tune import Tuner
from edgert.plan.devices import Bytes, Part, Placement
from edgert.plan.emitter import ARENA, REGISTER_BYTES, REGISTERS, STATE
from edgert.plan.plan import NativeRun, Slot
from edgert.plan.ranges import common, united
from edgert.program import Op, Operand
from edgert.runtime.executable import Executable, OpTime
from edgert.runtime.pool import WorkerPool
from edgert.runtime.trials import Trials, fixed_places, op_case, within


class GpuExecutable(Executable):
    """Memory for a placed plan on both sides, its ops recorded or linked, and the parts in order.

    weights: of the model, shared by its executables. tuner: of the device. state: the memory of the plan's states,
    shared with other plans. form, enqueuer: how commands are enqueued, see sequence.Sequence. on_build: called with
    (ops ready, ops). Raises DeviceError, KernelError, MemoryBudgetError.
    """

    def __init__(
        self, placement: Placement, library: KernelLibrary | None, pool: WorkerPool | None, programs: Programs,
        weights: Weights, tuner: Tuner, state: Mirror | None = None, form: str = "",
        on_build: Progress | None = None, enqueuer: Enqueuer | None = None,
    ) -> None:  # fmt: skip
        plan = placement.plan
        self.placement, self.context, self._programs = placement, programs.context, programs
        self._tuner, self._recorded = tuner, (form, enqueuer)
        device = [op for op, why in zip(plan.program.ops, placement.reasons, strict=True) if not why]
        used = sorted({o.segment for op in device for o in op.operands.values() if o is not None} | {ARENA, STATE})
        require(self.context, sum(plan.program.segments[index].nbytes for index in used), "the plan")
        self.mirrors = {
            ARENA: Mirror(self.context, plan.memory.arena, "the arena"),
            STATE: state if state is not None else Mirror(self.context, plan.memory.state, "the state"),
        }
        self._register_mirror = Mirror(self.context, REGISTER_BYTES, "registers")
        self._fixed = fixed_places(plan, weights, device)
        self._trials = Trials(plan, programs, self._fixed)
        self._workspace: Any = None
        self._counted = Counted(on_build, len(device))
        self._inputs_at = {ARENA: tuple((s.offset, s.offset + s.type.nbytes) for s in plan.inputs.values())}
        self._handed: dict[tuple[str, ...], tuple[Bytes, Bytes]] = {}
        self._results = self._all_results = tuple(plan.outputs)
        super().__init__(
            plan, library, pool, self.mirrors[STATE].host[: plan.memory.state],
            arena=self.mirrors[ARENA].host[: plan.memory.arena],
        )  # fmt: skip
        self._trials = Trials(plan, programs, {})  # their memory goes

    @property
    def native_kernels(self) -> tuple[str, ...]:
        """Those of the ops that the processor runs."""
        return native_kernels(self.placement)

    def _scheduled(self) -> Iterator[Any]:
        self._parts = [
            _OnDevice(self, part) if part.on_device else _OnHost(self, part) for part in self.placement.parts
        ]
        yield from self._parts

    # ---- what a run is
    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """All outputs by name, as arrays of their own."""
        self._lend(self._inputs_at, {})
        return super().run(feeds)

    def run_rows(
        self, rows: int, feeds: Mapping[str, Array], names: Collection[str] | None = None
    ) -> dict[str, Array]:  # fmt: skip
        """See Executable.run_rows. Outputs that are not in `names` stay on the device."""
        self._results = self._all_results if names is None else tuple(names)
        self._lend(self._inputs_at, {})
        try:
            return super().run_rows(rows, feeds, names)
        finally:
            self._results = self._all_results

    def _handing(self, names: tuple[str, ...]) -> tuple[Bytes, Bytes]:
        """(where these outputs are, what of that the host does not have yet) after a run."""
        if names not in self._handed:
            slots = [s for s in map(self.plan.outputs.__getitem__, names) if isinstance(s, Slot)]
            places = united((s.offset, s.offset + s.type.nbytes) for s in slots)
            made = common(places, self.placement.returns.get(ARENA, ()))
            self._handed[names] = {ARENA: places}, {ARENA: made}
        return self._handed[names]

    def _run(self) -> None:
        """In Python: a few calls for each part, and for each place of memory that changes hands before it. What is in a
        part is one call, on the device (sequence.py) as on the processor, but for nodes that run in NumPy."""
        self._begin()
        self._push_registers()
        for call in self._calls:
            call()
        self._end()

    def _end(self) -> None:
        if self.placement.settles:
            self.take(self.placement.settles)
        self._lend(*self._handing(self._results))
        self._unfinished = False

    def _push_registers(self) -> None:
        mirror, now = self._register_mirror, self._registers.view(np.uint8)
        if not np.array_equal(mirror.host[:REGISTER_BYTES], now):
            mirror.to_host([(0, REGISTER_BYTES)])
            mirror.host[:REGISTER_BYTES] = now
            mirror.to_device([(0, REGISTER_BYTES)])

    def _lend(self, touched: Bytes, arrives: Bytes) -> None:
        """The host may use `touched` until the device's next part; `arrives` is what it does not have yet."""
        self.context.check_process()
        for segment, ranges in touched.items():
            mirror = self.mirrors[segment]
            mirror.to_host(ranges if mirror.shared else arrives.get(segment, ()))

    def take(self, arrives: Bytes) -> None:
        """The device may use all memory, with `arrives` of the host."""
        for segment, mirror in self.mirrors.items():
            mirror.to_device(arrives.get(segment, ()))

    # ---- commands
    def commands(self, op: Op) -> list[Command]:
        """Those of one op that runs on the device."""
        twin, case = twins()[op.kernel], op_case(self.plan, self._programs, op)
        tile = self._tuner.tile(twin, case, lambda trial: self._trials.commands(twin, trial, op))
        places = {name: self._place(operand) for name, operand in op.operands.items()}
        commands = commands_of(self._programs, twin, with_tile(case, tile), places, self._working)
        self._counted.one()
        return commands

    def _place(self, operand: Operand | None) -> Place | None:
        if operand is None:
            return None
        if operand.segment in self.mirrors:
            return self.mirrors[operand.segment].place(operand.offset, operand.nbytes)
        if operand.segment == REGISTERS:
            return self._register_mirror.place(operand.offset, operand.nbytes)
        return within(self._fixed[operand.segment], operand)

    def _working(self, nbytes: int) -> Any:
        """Memory between the functions of one op: ops follow each other, so the largest one serves all."""
        if self._workspace is None or self._workspace.size < nbytes:
            self._workspace = self.context.cl.Buffer(self.context.handle, self.context.cl.mem_flags.READ_WRITE, nbytes)
        return self._workspace

    def record(self, commands: list[Command]) -> Sequence:
        return record(self.context, commands, *self._recorded)

    # ---- measuring
    def profile(self, feeds: Mapping[str, Array]) -> list[OpTime]:
        """Runs op by op and measures every step that does work: on the device by its clock, so that the sum is below
        that of run(), which also waits for it and hands bytes over."""
        self._lend(self._inputs_at, {})
        for name, view in self._inputs.items():
            np.copyto(view, feeds[name])
        self._begin()
        self._push_registers()
        spent: dict[int, float] = {}
        for part in self._parts:
            for index, us in part.measured():
                spent[index] = spent.get(index, 0.0) + us
        self._end()
        times, start = [], 0.0
        for index, us in sorted(spent.items()):
            step = self.plan.steps[index]
            times.append(OpTime(step.node, step.op, step.kernel, start, us, step.predicted_us))
            start += us
        return times

    def step_of(self, op: int) -> int:
        """Index of the step that op number `op` belongs to."""
        return next(i for i, s in enumerate(self.plan.steps) if s.first_op <= op < s.first_op + s.ops)


class Counted:
    """Tells `progress` of ops that are ready, of `total`."""

    def __init__(self, progress: Progress | None, total: int) -> None:
        self._progress, self._done, self._total = progress, 0, total
        self._tell()

    def one(self) -> None:
        """One more."""
        self._done += 1
        self._tell()

    def _tell(self) -> None:
        if self._progress is not None and self._total:
            self._progress(self._done, self._total)


def native_kernels(placement: Placement) -> tuple[str, ...]:
    """CPU kernels that a placed plan runs, each once."""
    ops = zip(placement.plan.program.ops, placement.reasons, strict=True)
    return tuple(dict.fromkeys(op.kernel for op, why in ops if why))


class _OnDevice:
    """Ops one after the other on the device."""

    def __init__(self, executable: GpuExecutable, part: Part) -> None:
        self._executable, self._part = executable, part
        ops = executable.plan.program.ops
        by_op = [(index, executable.commands(ops[index])) for index in range(part.first, part.first + part.count)]
        self._steps = [executable.step_of(index) for index, commands in by_op for _ in commands]
        self._sequence = executable.record([command for _, commands in by_op for command in commands])

    def __call__(self) -> None:
        self._executable.take(self._part.arrives)
        self._sequence.enqueue()

    def measured(self) -> Iterator[tuple[int, float]]:
        """(step, microseconds) of each command."""
        self._executable.take(self._part.arrives)
        yield from zip(self._steps, self._sequence.profile(), strict=True)

    def reset(self) -> None:
        pass


class _OnHost:
    """Native and NumPy calls, once the bytes they touch are the host's."""

    def __init__(self, executable: GpuExecutable, part: Part) -> None:
        self._executable, self._part = executable, part
        self._calls = [made for call in part.calls for made in executable._made(call)]
        self._single: list[tuple[int, Any]] | None = None

    def __call__(self) -> None:
        self._executable._lend(self._part.touches, self._part.arrives)
        for call in self._calls:
            call()

    def measured(self) -> Iterator[tuple[int, float]]:
        """(step, microseconds) of each call, native ones op by op."""
        if self._single is None:
            self._single = list(self._one_by_one())
        self._executable._lend(self._part.touches, self._part.arrives)
        for step, call in self._single:
            start = time.perf_counter()
            call()
            yield step, 1e6 * (time.perf_counter() - start)

    def _one_by_one(self) -> Iterator[tuple[int, Any]]:
        executable = self._executable
        for call in self._part.calls:
            if not isinstance(call, NativeRun):
                yield from ((call.step, made) for made in executable._made(call))
                continue
            for op in range(call.first, call.first + call.count):
                yield from ((executable.step_of(op), made) for made in executable._made(NativeRun(op, 1)))

    def reset(self) -> None:
        for call in [*self._calls, *(call for _, call in self._single or [])]:
            call.reset()
