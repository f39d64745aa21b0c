"""What a run on an OpenCL device leaves to native code: its one table row, and how commands lie in memory.

No plan has it among its ops: kernels_gpu/replay.py calls it. The source is the sibling file, imported by the compiler
only.
"""

from __future__ import annotations

from edgert.kernels_cpu.levels import Level
from edgert.kernels_cpu.spec import KernelSpec

# A command: words of the size of an address.
COMMAND_KERNEL, COMMAND_DIMENSIONS, COMMAND_ITEMS, COMMAND_GROUP, COMMAND_WORDS = 0, 1, 2, 5, 8
"""The kernel's handle, how many dimensions it has, and three sizes each of all items and of a group of them."""


class _DriverSpec(KernelSpec):
    """A kernel that calls a driver: wherever there are any."""

    def available(self, level: Level) -> bool:
        return level.arch != "wasm32"


KERNELS: tuple[KernelSpec, ...] = (
    _DriverSpec(
        name="enqueue_commands",
        module="edgert.kernels_cpu.commands.enqueue",
        function="enqueue",
        operands="commands queue enqueue flush done",
        params="count",
        summary="no operator: hands the commands of a run to an OpenCL driver, by its functions enqueue and flush",
    ),
)
