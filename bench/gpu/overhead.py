"""What enqueuing the commands of a run costs, in each form and as pyopencl's users do it."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median

from edgert.cache import cache_root
from edgert.kernels_cpu.library import open_library
from edgert.kernels_gpu.replay import Enqueuer
from edgert.kernels_gpu.sequence import FORMS
from edgert.kernels_gpu.sequence import Sequence as Commands
from edgert.runtime.gpu_executable import GpuExecutable


def enqueuing(executable: GpuExecutable, rounds: int) -> dict[str, dict[str, float]]:
    """Microseconds per command of the host's thread, and milliseconds until all are done, by form; and as pyopencl's
    users do it: arguments set for every call."""
    context = executable.context
    commands = [c for part in executable._parts if hasattr(part, "_sequence") for c in part._sequence.commands]
    enqueuer = Enqueuer(open_library(executable.plan.level, cache_root()))
    forms: dict[str, Callable[[], object]] = {}
    for form in FORMS:
        if form != "command buffer" or context.device.capabilities.command_buffer:
            forms[form] = Commands(context, commands, form, enqueuer).enqueue

    def plainly() -> None:
        for command in commands:
            command.kernel(context.queue, command.items, command.group, *command.arguments)

    forms["arguments set for every call"] = plainly
    table = {}
    for name, enqueue in forms.items():
        host, whole = [], []
        for _ in range(rounds + 1):
            context.finish()
            thread, begin = time.thread_time(), time.perf_counter()
            enqueue()
            host.append(1e6 * (time.thread_time() - thread) / len(commands))
            context.finish()
            whole.append(1e3 * (time.perf_counter() - begin))
        table[name] = {
            "host us per command": median(host[1:]), "at best": min(host[1:]), "ms until done": median(whole[1:]),
        }  # fmt: skip
    return table
