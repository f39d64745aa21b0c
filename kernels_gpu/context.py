"""A context and an in-order queue on one device, and what a driver's error codes mean to us.

What is allocated in it is memory.py; what is compiled for it, programs.py.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any

from edgert.errors import DeviceError, DeviceMemoryError
from edgert.kernels_gpu.device import DeviceInfo, import_pyopencl

MEMORY_CODES = {
    -4: "MEM_OBJECT_ALLOCATION_FAILURE",
    -6: "OUT_OF_HOST_MEMORY",
    -61: "INVALID_BUFFER_SIZE",
}
RESOURCES = -5
"""OUT_OF_RESOURCES: too little memory when something is made or enqueued, a fault of the device when it is awaited."""
LOST_CODES = {
    -2: "DEVICE_NOT_AVAILABLE",
    -14: "EXEC_STATUS_ERROR_FOR_EVENTS_IN_WAIT_LIST",
    -34: "INVALID_CONTEXT",
    -36: "INVALID_COMMAND_QUEUE",
    -9999: "an illegal access, as NVIDIA's driver says it",
}


@contextmanager
def translated(device: DeviceInfo, what: str, *, waiting: bool = False) -> Iterator[None]:
    """Turns errors of OpenCL calls into DeviceMemoryError (memory is short) and DeviceError (anything else: a lost
    device is named as such). `what` completes 'while ...'; waiting: for commands that were enqueued before."""
    cl = import_pyopencl()
    try:
        yield
    except cl.Error as error:
        raise device_error(device, getattr(error, "code", 0), what, waiting=waiting, detail=str(error)) from error


def device_error(
    device: DeviceInfo, code: int, what: str, *, waiting: bool = False, detail: str = ""
) -> DeviceError:  # fmt: skip
    """The typed error for one code of OpenCL."""
    name = f"{device.spec} {device.name}"
    if code in MEMORY_CODES or (code == RESOURCES and not waiting):
        return DeviceMemoryError(
            f"{name} has too little memory while {what} ({MEMORY_CODES.get(code, 'OUT_OF_RESOURCES')}); it has "
            f"{device.capabilities.global_memory >> 20} MB in all: close what else uses it, use smaller shapes, or "
            "run with --device cpu"
        )
    if code in LOST_CODES or code == RESOURCES:
        return DeviceError(
            f"{name} was lost while {what} ({LOST_CODES.get(code, 'OUT_OF_RESOURCES')}); its state is gone: load the "
            "model again, and see the system's log (dmesg) for a hang or a reset"
        )
    return DeviceError(f"{name} refused while {what}: {detail or f'OpenCL error {code}'}; this is a bug of edgert")


class Context:
    """One device at work. Commands run in the order in which they are enqueued."""

    def __init__(self, device: DeviceInfo) -> None:
        self.device = device
        self.cl = import_pyopencl()
        self._process = os.getpid()
        with translated(device, "a context was made"):
            self.handle = self.cl.Context([device.handle])
            self.queue = self.cl.CommandQueue(self.handle, device.handle)

    @cached_property
    def profiling_queue(self) -> Any:
        """A second in-order queue, whose events carry times. finish() it before the other one is used again."""
        with translated(self.device, "a queue was made"):
            flags = self.cl.command_queue_properties.PROFILING_ENABLE
            return self.cl.CommandQueue(self.handle, self.device.handle, properties=flags)

    def check_process(self) -> None:
        """Raises DeviceError in a forked child: the driver's threads and memory are the parent's."""
        if os.getpid() != self._process:
            raise DeviceError(
                f"{self.device.spec} is in use by the process that this one was forked from; load the model in the "
                "child itself, or start it by 'spawn'"
            )

    def finish(self) -> None:
        """Waits until all that was enqueued is done. Raises DeviceError if some of it failed."""
        with translated(self.device, "commands ran", waiting=True):
            self.queue.finish()
