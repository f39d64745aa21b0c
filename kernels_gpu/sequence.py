"""The commands of a plan, recorded once and enqueued as a whole, and their times.

How a command comes from an op is launch.py.
"""

from __future__ import annotations

from collections.abc import Sequence as Listed

from edgert.errors import DeviceError
from edgert.kernels_gpu.command_buffer import CommandBuffer
from edgert.kernels_gpu.context import Context, device_error, translated
from edgert.kernels_gpu.launch import Command
from edgert.kernels_gpu.replay import Enqueuer, Replay

FORMS = ("native", "python", "command buffer")
"""How commands are enqueued: kernels whose arguments are set, by a loop in native code or one in Python; or as one
command, which the driver keeps (cl_khr_command_buffer)."""


class Sequence:
    """Commands that run one after the other. Keeps their kernels and memory.

    form: one of FORMS, by default 'native' with an enqueuer and else 'python'. Raises DeviceError.
    """

    def __init__(
        self, context: Context, commands: Listed[Command], form: str = "", enqueuer: Enqueuer | None = None
    ) -> None:
        self.context, self.commands = context, tuple(commands)
        self.form = form or ("python" if enqueuer is None else "native")
        if self.form not in FORMS or (self.form == "native" and enqueuer is None):
            raise ValueError(f"form {form!r} with enqueuer {enqueuer}")
        self._buffer = CommandBuffer(context, self.commands) if self.form == "command buffer" and commands else None
        self._replay = Replay(context, self.commands, enqueuer) if self.form == "native" and enqueuer else None
        self._calls = [(context.queue, c.kernel, c.items, c.group) for c in self.commands]

    def enqueue(self) -> None:
        """Starts all commands; does not wait. Raises DeviceError, which names the command that was refused: those
        before it run, and nothing after it."""
        self.context.check_process()
        if self._buffer is not None:
            self._buffer.enqueue()
        elif self._replay is not None:
            count, code = self._replay()
            if code:
                call = "clEnqueueNDRangeKernel" if count < len(self.commands) else "clFlush"
                why = self.context.cl.status_code.to_string(code, "%d")
                raise self._refused(count, code, f"{call} failed: {why}")
        else:
            self._enqueue_by_python()

    def _enqueue_by_python(self) -> None:
        cl, count = self.context.cl, 0
        launch = cl.enqueue_nd_range_kernel
        try:
            for call in self._calls:
                launch(*call)
                count += 1
            self.context.queue.flush()
        except cl.Error as error:
            raise self._refused(count, getattr(error, "code", 0), str(error)) from error

    def _refused(self, count: int, code: int, detail: str) -> DeviceError:
        """The error for what came after `count` commands."""
        what = "commands were flushed"
        if count < len(self.commands):
            what = f"{self.commands[count].name}, command {count + 1} of {len(self.commands)}, was enqueued"
        return device_error(self.context.device, code, what, detail=detail)

    def profile(self) -> list[float]:
        """Runs the commands and gives the microseconds that the device took for each, by its own clock."""
        cl, context = self.context.cl, self.context
        context.finish()
        with translated(context.device, "commands were measured", waiting=True):
            queue = context.profiling_queue
            events = [cl.enqueue_nd_range_kernel(queue, c.kernel, c.items, c.group) for c in self.commands]
            queue.finish()
            return [(event.profile.end - event.profile.start) / 1e3 for event in events]


def record(context: Context, commands: Listed[Command], form: str, enqueuer: Enqueuer | None = None) -> Sequence:
    """A sequence in `form`, or by a loop where the driver refuses the commands as a buffer."""
    try:
        return Sequence(context, commands, form, enqueuer)
    except DeviceError:
        if form != "command buffer":
            raise
        return Sequence(context, commands, enqueuer=enqueuer)
