"""Where the time of a run on an OpenCL device goes: kernels, the driver around them, and the host's Python."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable
from functools import partial
from statistics import median
from typing import Any
from warnings import catch_warnings

import numpy as np

from edgert.kernels_gpu.context import Context
from edgert.runtime.executable import OpTime
from edgert.runtime.gpu_executable import GpuExecutable

NOTHING = """
__kernel void nothing(__global int *x) { if (get_global_id(0) == 1 << 30) x[0] = 1; }
"""
EMPTY = 200
"""Commands that do nothing, in a row."""


def milliseconds(call: Callable[[], object], rounds: int) -> float:
    """The median of one call."""
    times = []
    for _ in range(rounds):
        begin = time.perf_counter()
        call()
        times.append(1e3 * (time.perf_counter() - begin))
    return median(times)


def sequences(executable: GpuExecutable) -> list[Any]:
    """The recorded commands of each part that is on the device."""
    return [part._sequence for part in executable._parts if hasattr(part, "_sequence")]


def split(
    executable: GpuExecutable, run: Callable[[], object], profile: Callable[[], Iterable[OpTime]], per: int, rounds: int
) -> dict[str, float]:
    """Milliseconds of a run of `executable`; `run` makes `per` of them. kernels: by the device's clock, from `profile`.
    host: the run without its commands. driver: what is left, starting commands and waiting for the last. arguments set:
    the run with the arguments set anew for every command, as pyopencl's users do. Medians, measured in turn."""
    recorded = sequences(executable)
    queue = executable.context.queue
    whole, kernels, host, driver, plainly = [], [], [], [], []
    for _ in range(rounds + 1):
        whole.append(milliseconds(run, 2) / per)
        kernels.append(sum(op.us for op in profile()) / 1e3)
        for part in recorded:
            part.enqueue = lambda: None
        host.append(milliseconds(run, 2) / per)
        for part in recorded:
            part.enqueue = partial(_set_and_enqueue, queue, part.commands)
        plainly.append(milliseconds(run, 2) / per)
        for part in recorded:
            del part.enqueue
        driver.append(whole[-1] - kernels[-1] - host[-1])
    times = {"run": whole, "kernels": kernels, "driver": driver, "host": host, "arguments set": plainly}
    return {
        **{name: median(values[1:]) for name, values in times.items()},
        "commands": sum(len(part.commands) for part in recorded), "parts": len(executable._parts),
    }  # fmt: skip


def _set_and_enqueue(queue: Any, commands: Iterable[Any]) -> None:
    for command in commands:
        command.kernel(queue, command.items, command.group, *command.arguments)


def empty(context: Context, groups: int) -> float:
    """Microseconds per command that does nothing in `groups` groups of 16, until all are done: the driver's own."""
    cl = context.cl
    with catch_warnings(action="ignore"):  # compilers have remarks, which pyopencl passes on
        kernel = cl.Program(context.handle, NOTHING).build().nothing
    memory = cl.Buffer(context.handle, cl.mem_flags.READ_WRITE, 64)
    kernel.set_arg(0, memory)

    def once() -> None:
        for _ in range(EMPTY):
            cl.enqueue_nd_range_kernel(context.queue, kernel, (16 * groups,), (16,))
        context.finish()

    once()
    return 1e3 * milliseconds(once, 20) / EMPTY


def by_kernel(profile: Callable[[], Iterable[OpTime] | Iterable[tuple[str, float]]], rounds: int) -> dict[str, float]:
    """Microseconds of each kernel in a run, all its ops together, without the level in its name: the median of
    `rounds`."""
    found: list[Counter[str]] = []
    for _ in range(rounds):
        times: Counter[str] = Counter()
        for op in profile():
            name, us = (op.kernel.rpartition("_")[0], op.us) if isinstance(op, OpTime) else op
            times[name] += us  # type: ignore[assignment]
        found.append(times)
    names = sorted(found[0], key=lambda name: -found[0][name])
    return {name: round(float(np.median([times[name] for times in found])), 1) for name in names}
