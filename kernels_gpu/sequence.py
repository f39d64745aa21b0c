"""The commands of a plan, recorded once and enqueued as a whole, and their times.

How a command comes from an op is launch.py.
"""

from __future__ import annotations

from collections.abc import Sequence as Listed

from edgert.errors import DeviceError
from edgert.kernels_gpu.command_buffer import CommandBuffer
from edgert.kernels_gpu.context import Context, translated
from edgert.kernels_gpu.launch import Command

FORMS = ("replay", "command buffer")


class Sequence:
    """Commands that run one after the other. form: one of FORMS; 'replay' enqueues kernels whose arguments are set."""

    def __init__(self, context: Context, commands: Listed[Command], form: str = "replay") -> None:
        self.context, self.commands, self.form = context, tuple(commands), form
        self._buffer: CommandBuffer | None = None
        if form == "command buffer" and self.commands:
            self._buffer = CommandBuffer(context, self.commands)
        self._calls = [(context.queue, c.kernel, c.items, c.group) for c in self.commands]

    def enqueue(self) -> None:
        """Starts all commands; does not wait. Raises DeviceError."""
        if self._buffer is not None:
            self._buffer.enqueue()
            return
        launch = self.context.cl.enqueue_nd_range_kernel
        with translated(self.context.device, "commands were enqueued"):
            for call in self._calls:
                launch(*call)
            self.context.queue.flush()

    def profile(self) -> list[float]:
        """Runs the commands and gives the microseconds that the device took for each, by its own clock."""
        cl, context = self.context.cl, self.context
        context.finish()
        with translated(context.device, "commands were measured", waiting=True):
            queue = context.profiling_queue
            events = [cl.enqueue_nd_range_kernel(queue, c.kernel, c.items, c.group) for c in self.commands]
            queue.finish()
            return [(event.profile.end - event.profile.start) / 1e3 for event in events]


def record(context: Context, commands: Listed[Command], form: str) -> Sequence:
    """A sequence in `form`, or as a replay where the driver refuses the commands as a buffer."""
    try:
        return Sequence(context, commands, form)
    except DeviceError:
        if form == "replay":
            raise
        return Sequence(context, commands)
