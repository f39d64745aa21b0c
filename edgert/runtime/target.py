"""What `device` asks for: the processor alone, or an OpenCL device beside it; and 'auto' where there is none.

The device itself is accelerator.py, imported only where one is asked for.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from edgert.errors import DeviceError, EdgertError, InputError, KernelError
from edgert.kernels_cpu.installed import Choice, chosen
from edgert.kernels_cpu.levels import Level
from edgert.kernels_cpu.library import Progress
from edgert.plan import explain
from edgert.plan.plan import Plan
from edgert.runtime.executable import Executable
from edgert.runtime.native import Native
from edgert.runtime.options import Precision, Stream, check_precision

if TYPE_CHECKING:
    from edgert.runtime.accelerator import Accelerator


class Target:
    """Where plans run. accelerator: the device for what it can, None where the processor runs all. choice: where the
    processor's kernels come from. prefer: kernels that plans prefer. stream: which weights are streamed. note: why
    'auto' has no device, for the first line of a run; else ''."""

    def __init__(
        self, device: str, *, stream: Stream = "never", shared: bool = False, level: Level | None = None,
        on_build: Progress | None = None, precision: Precision = "fp32",
    ) -> None:  # fmt: skip
        """shared: whether memory is of a budget that several divide. level: of the processor alone. on_build,
        precision: see `edgert.load`. Raises InputError for words that name no device and for what none of them does;
        DeviceError and KernelError but for 'auto'."""
        self.accelerator: Accelerator | None = None
        self.stream, self.note = stream, ""
        check_precision(precision, device)
        if device != "cpu":
            check_device(device, stream, shared)
            # What runs on the processor starts the sooner.
            from edgert.runtime.accelerator import Accelerator

            try:
                self.accelerator = Accelerator(device, on_build, precision)
                self.stream = "never"
            except (DeviceError, KernelError) as error:
                if device != "auto":
                    raise
                self.note = why_not(error)
        self.choice: Choice = chosen(level) if self.accelerator is None else self.accelerator.choice
        self.prefer: frozenset[str] = frozenset() if self.accelerator is None else self.accelerator.kernels

    def falls_back(self, error: EdgertError) -> bool:
        """Whether the processor runs all from now on, because of `error` on the device: with 'auto', and then `note`
        says so."""
        if self.accelerator is None or not self.accelerator.auto:
            return False
        self.accelerator, self.note = None, why_not(error)
        return True

    def executable(self, plan: Plan, native: Native) -> Executable:
        """`plan` where it is to run. Raises DeviceError, KernelError, MemoryBudgetError."""
        if self.accelerator is not None:
            try:
                return self.accelerator.executable(plan, native.take)
            except (DeviceError, KernelError) as error:
                if not self.falls_back(error):
                    raise
        return Executable(plan, *native.take(plan.program.kernels, plan))

    @property
    def words(self) -> str:
        """What a first line begins with: the device, or why there is none, and '' for the processor alone."""
        beside = "" if self.accelerator is None else self.accelerator.short
        return "".join(f"{words}, " for words in (self.note, beside) if words)

    def summary(self, plan: Plan, kernels: str) -> str:
        """The first line of a run: see explain.summary."""
        beside = "" if self.accelerator is None else self.accelerator.short
        return explain.summary(plan, kernels, beside, self.note)


def check_device(device: str, stream: Stream, shared: bool) -> None:
    """Raises InputError for other words than those of devices, for weights that are to be streamed and for shared
    budgets."""
    if not re.fullmatch(r"auto|opencl(:\d+)?", device, re.ASCII):
        raise InputError(f"device: expected 'cpu', 'opencl', 'opencl:N' or 'auto', found {device!r}")
    if stream == "always":
        raise InputError(
            f"device {device!r}: its weights are placed there once: expected stream 'auto' or 'never', found 'always'; "
            "use device='cpu' to stream them"
        )
    if shared:
        raise InputError(f"device {device!r}: expected a ram of its own, found a shared budget")


def why_not(error: EdgertError) -> str:
    """A clause for people."""
    why = getattr(error, "why", "") or str(error).splitlines()[0].partition("; ")[0].rstrip(":;")
    return f"device auto: the processor, since {why}"


def placed(
    plan: Plan, device: str, on_build: Progress | None = None, precision: Precision = "fp32"
) -> tuple[Plan, str, str]:
    """(`plan` as it would run on `device`, the device and what changes hands there, why 'auto' has none). Takes no
    memory of it and builds nothing, but for 'auto', which measures. Raises DeviceError but for 'auto'."""
    check_device(device, "never", False)
    from edgert.runtime.accelerator import described, possible_placement

    if device != "auto":
        found, placement = possible_placement(plan, device, precision)
        return placement.plan, described(found, placement), ""
    target = Target(device, on_build=on_build, precision=precision)
    if target.accelerator is not None:
        found = target.accelerator.device
        try:
            placement = target.accelerator.placement(plan)
            return placement.plan, described(found, placement), ""
        except (DeviceError, KernelError) as error:
            target.falls_back(error)
    return plan, "", target.note
