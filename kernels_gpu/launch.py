"""One op as commands: kernel objects whose arguments are set once, and their sizes.

Recording and enqueuing them is sequence.py.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

from edgert.errors import DeviceError
from edgert.kernels_cpu.registry import kernels
from edgert.kernels_gpu.context import Context, translated
from edgert.kernels_gpu.programs import Programs
from edgert.kernels_gpu.table import Case, Grid, Twin

ABSENT = (1 << 64) - 1
"""Where an operand lies that is not there, as in prelude.cl."""


@dataclass(frozen=True)
class Place:
    """`nbytes` bytes of a device buffer, from byte `offset`."""

    buffer: Any
    offset: int
    nbytes: int


@dataclass(frozen=True)
class Command:
    """A kernel with its arguments, which are set, and sizes."""

    name: str
    kernel: Any
    items: tuple[int, ...]
    group: tuple[int, ...]
    arguments: tuple[Any, ...] = ()


def commands_of(
    programs: Programs, twin: Twin, case: Case, places: Mapping[str, Place | None],
    workspace: Callable[[int], Any] | None = None,
) -> list[Command]:  # fmt: skip
    """The commands of one op. workspace(nbytes): a buffer that commands of other ops may share; default: its own.

    Raises KernelError for a failed build, DeviceError for sizes that the device does not allow.
    """
    context = programs.context
    grids = twin.grid(case)
    objects = programs.kernels(twin, case)
    if len(grids) != len(objects):
        raise DeviceError(f"twin {twin.kernel} has {len(objects)} functions and {len(grids)} grids; a bug of edgert")
    extra = twin.workspace(case)
    memory = None
    if extra:
        make = workspace or (lambda nbytes: context.cl.Buffer(context.handle, context.cl.mem_flags.READ_WRITE, nbytes))
        with translated(context.device, f"{extra} bytes of workspace were made"):
            memory = make(extra)
    values = _arguments(twin, case, places, Place(memory, 0, extra) if extra else None)
    commands = []
    for name, kernel, grid in zip(twin.entries, objects, grids, strict=True):
        _check(context, twin.kernel, kernel, grid)
        with translated(context.device, f"arguments of {name} were set"):
            for index, value in enumerate(values):
                kernel.set_arg(index, value)
        commands.append(Command(name, kernel, grid.rounded, grid.group, tuple(values)))
    return commands


def _arguments(twin: Twin, case: Case, places: Mapping[str, Place | None], workspace: Place | None) -> list[Any]:
    """A buffer and an offset for each operand of the record, then the params as one struct."""
    spec = kernels()[twin.kernel]
    values: list[Any] = []
    for place in [*(places[name] for name in spec.operands.split()), *([workspace] if workspace else [])]:
        values += [place.buffer if place else None, struct.pack("=Q", place.offset if place else ABSENT)]
    numbers = [case.params[name] for name in spec.params.split()]
    return [*values, pack_params(numbers)]


def pack_params(numbers: list[int | float]) -> bytes:
    """params_t: 32 bits each, floats by their bits, as in a record; a struct without fields has one."""
    return b"".join(struct.pack("=f" if isinstance(n, float) else "=i", n) for n in numbers or [0])


def _check(context: Context, name: str, kernel: Any, grid: Grid) -> None:
    """Raises DeviceError where the device does not allow a group of this size, or has too little local memory."""
    cl, handle, can = context.cl, context.device.handle, context.device.capabilities
    if not len(grid.items) == len(grid.group) <= 3:
        raise DeviceError(f"{name}: items {grid.items} and group {grid.group}; this is a bug of edgert")
    info = cl.kernel_work_group_info
    with translated(context.device, f"{name} was looked at"):
        largest = kernel.get_work_group_info(info.WORK_GROUP_SIZE, handle)
        if largest == kernel.get_work_group_info(info.PREFERRED_WORK_GROUP_SIZE_MULTIPLE, handle):
            largest = can.work_group  # Mesa 22 gives the one for the other; what is too large is refused when enqueued
        local = kernel.get_work_group_info(info.LOCAL_MEM_SIZE, handle)
    wide = any(size > limit for size, limit in zip(grid.group, can.work_items, strict=False))
    if prod(grid.group) > largest or wide:
        raise DeviceError(
            f"{name} needs groups of {' x '.join(map(str, grid.group))}; {context.device.spec} allows {largest} "
            f"work-items, at most {' x '.join(map(str, can.work_items))}; run with --device cpu"
        )
    if local > can.local_memory:
        raise DeviceError(
            f"{name} needs {local} bytes of local memory; {context.device.spec} has {can.local_memory}; run with "
            "--device cpu"
        )
