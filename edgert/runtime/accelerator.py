"""An OpenCL device at the service of sessions: its context, programs and weights, and executables on it.

Imported only where a device is asked for. Which ops run there is decided in plan/devices.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cached_property

from edgert.cache import cache_root
from edgert.errors import DeviceError, KernelError
from edgert.kernels_cpu.installed import Choice, chosen
from edgert.kernels_cpu.levels import host_levels
from edgert.kernels_cpu.library import KernelLibrary, Progress, load_library
from edgert.kernels_gpu.context import Context
from edgert.kernels_gpu.device import DeviceInfo, choose, halving
from edgert.kernels_gpu.memory import Mirror, Weights
from edgert.kernels_gpu.programs import Programs
from edgert.kernels_gpu.replay import Enqueuer
from edgert.kernels_gpu.survey import check_drivers
from edgert.kernels_gpu.table import twins
from edgert.kernels_gpu.tune import Tuner
from edgert.plan.budget import show_bytes
from edgert.plan.devices import Choose, Placement, place, wherever_possible
from edgert.plan.plan import Plan
from edgert.plan.split_devices import Crossing, cheapest
from edgert.program import Op
from edgert.runtime.gpu_executable import Counted, GpuExecutable, native_kernels
from edgert.runtime.options import Precision
from edgert.runtime.pool import WorkerPool
from edgert.runtime.trials import Trials, fixed_places, op_case

Take = Callable[[tuple[str, ...], Plan], tuple[KernelLibrary | None, WorkerPool | None]]
"""(kernels, plan) -> the library that has them, and workers where the plan takes any."""


class Accelerator:
    """The device that `spec` names ('opencl' or 'opencl:1'), for all that can run there; or 'auto', the device of
    'opencl' for what is predicted to be the faster for it. on_build: called with (ops that are ready, ops), first with
    0, while their programs are built and tiles are searched. precision: of products of floats. Raises DeviceError,
    KernelError."""

    def __init__(self, spec: str, on_build: Progress | None = None, precision: Precision = "fp32") -> None:
        self.auto, self.on_build = spec == "auto", on_build
        self.context = Context(choose_for(precision, "opencl" if self.auto else spec))
        self.programs = Programs(self.context, cache_root() / "opencl")
        self.weights = Weights(self.context)
        self.tuner = Tuner(self.context, cache_root() / "opencl")
        self.tuner.settle(self.programs)
        self.device = self.context.device
        self.choice = native_choice()
        self.by_python = ""
        """Why commands are enqueued by Python: '' where they are not, and before there is an executable."""

    @cached_property
    def enqueuer(self) -> Enqueuer | None:
        """What enqueues whole sequences natively; None where `by_python` says why not."""
        try:
            return Enqueuer(load_library(self.choice, cache_root()))
        except (DeviceError, KernelError) as error:
            self.by_python = str(error).splitlines()[0].partition("; ")[0]
            return None

    @property
    def short(self) -> str:
        """The device, and why its commands are enqueued one by one where they are."""
        return f"{self.device.short} (enqueued by Python: {self.by_python})" if self.by_python else self.device.short

    @property
    def kernels(self) -> frozenset[str]:
        """Those that plans for it prefer: what it has, but where times decide."""
        return frozenset() if self.auto else frozenset(twins())

    def mirror(self, nbytes: int, what: str) -> Mirror:
        """Memory for the states that several plans share. Raises DeviceMemoryError."""
        return Mirror(self.context, nbytes, what)

    def executable(self, plan: Plan, native: Take, state: Mirror | None = None) -> GpuExecutable:
        """`plan` with all ops on the device that are to run there. Raises DeviceError, KernelError,
        MemoryBudgetError."""
        placement = self.placement(plan)
        kernels = native_kernels(placement)
        library, pool = native(kernels, placement.plan) if kernels else (None, None)
        return GpuExecutable(
            placement, library, pool, self.programs, self.weights, self.tuner, state, on_build=self.on_build,
            enqueuer=self.enqueuer,
        )  # fmt: skip

    def placement(self, plan: Plan) -> Placement:
        """Where the ops of `plan` run. With 'auto' that is measured: its weights are placed on the device for it."""
        can = self.device.capabilities
        possible = wherever_possible(can, plan.level.act_signed)
        return place(plan, self._cheapest(plan, possible) if self.auto else possible, can.half_math)

    def _cheapest(self, plan: Plan, possible: Choose) -> Choose:
        """By times that are measured here, once for every op and shape."""
        ops = plan.program.ops
        reasons = [possible(index, op) for index, op in enumerate(ops)]
        here = [op for op, why in zip(ops, reasons, strict=True) if not why]
        trials = Trials(plan, self.programs, fixed_places(plan, self.weights, here))
        times = [math.inf] * len(ops)
        counted = Counted(self.on_build, len(here))
        for index, (op, why) in enumerate(zip(ops, reasons, strict=True)):
            if not why:
                times[index] = self._time(plan, trials, op)
                counted.one()
        return cheapest(plan, times, Crossing(*self.tuner.crossing()), reasons)

    def _time(self, plan: Plan, trials: Trials, op: Op) -> float:
        twin, case = twins()[op.kernel], op_case(plan, self.programs, op)
        return self.tuner.time(twin, case, lambda trial: trials.commands(twin, trial, op))


def native_choice() -> Choice:
    """Where the kernels of ops that stay on the processor come from: tiles of AMX have no form on a device, and both
    sides use the same bytes."""
    choice = chosen()
    if "amx" not in choice.level.features:
        return choice
    return chosen(next(level for level in reversed(host_levels()) if "amx" not in level.features))


def choose_for(precision: Precision, spec: str) -> DeviceInfo:
    """The device of `spec`, as it is to multiply floats. Raises DeviceError."""
    check_drivers(cache_root() / "opencl")
    return halving(choose(spec)) if precision == "fp16" else choose(spec)


def possible_placement(plan: Plan, device: str, precision: Precision = "fp32") -> tuple[DeviceInfo, Placement]:
    """What can run on `device` of `plan`, without taking memory of it or building programs. Raises DeviceError."""
    found = choose_for(precision, device)
    can = found.capabilities
    return found, place(plan, wherever_possible(can, plan.level.act_signed), can.half_math)


def described(device: DeviceInfo, placement: Placement) -> str:
    """The device, and what changes hands there."""
    copied = "mapped" if device.capabilities.unified else "copied"
    return (
        f"{device.short}, {placement.ops_on_device} of {len(placement.reasons)} ops there, {placement.crossings} waits "
        f"and {show_bytes(placement.transferred)} {copied} per run"
    )
