"""An OpenCL device at the service of sessions: its context, programs and weights, and executables on it.

Imported only where a device is asked for. Which ops run there is decided in plan/devices.py.
"""

from __future__ import annotations

from collections.abc import Callable

from edgert.cache import cache_root
from edgert.errors import InputError
from edgert.kernels_cpu.installed import Choice, chosen
from edgert.kernels_cpu.levels import host_levels
from edgert.kernels_cpu.library import KernelLibrary
from edgert.kernels_gpu.context import Context
from edgert.kernels_gpu.device import choose
from edgert.kernels_gpu.memory import Mirror, Weights
from edgert.kernels_gpu.programs import Programs
from edgert.plan.devices import place, wherever_possible
from edgert.plan.plan import Plan
from edgert.runtime.gpu_executable import GpuExecutable, native_kernels
from edgert.runtime.pool import WorkerPool

Native = Callable[[tuple[str, ...], Plan], tuple[KernelLibrary | None, WorkerPool | None]]
"""(kernels, plan) -> the library that has them, and workers where the plan takes any."""


class Accelerator:
    """The device that `spec` names ('opencl' or 'opencl:1'). Raises DeviceError."""

    def __init__(self, spec: str) -> None:
        self.device = choose(spec)
        self.context = Context(self.device)
        self.programs = Programs(self.context, cache_root() / "opencl")
        self.weights = Weights(self.context)

    def native(self) -> Choice:
        """Where the kernels of the ops that stay on the processor come from: tiles of AMX have no form here, and both
        sides use the same bytes."""
        choice = chosen()
        if "amx" not in choice.level.features:
            return choice
        return chosen(next(level for level in reversed(host_levels()) if "amx" not in level.features))

    def executable(self, plan: Plan, native: Native, state: Mirror | None = None) -> GpuExecutable:
        """`plan` with everything on the device that can run there. Raises DeviceError, KernelError,
        MemoryBudgetError."""
        placement = place(plan, wherever_possible(self.device.capabilities, plan.level.act_signed))
        kernels = native_kernels(placement)
        library, pool = native(kernels, placement.plan) if kernels else (None, None)
        return GpuExecutable(placement, library, pool, self.programs, self.weights, state)


def open_accelerator(device: str) -> Accelerator | None:
    """What `device` names: None for 'cpu'. Raises InputError for other words, DeviceError."""
    if device == "cpu":
        return None
    if device.partition(":")[0] != "opencl":
        raise InputError(f"device: expected 'cpu', 'opencl' or 'opencl:N', found {device!r}")
    return Accelerator(device)
