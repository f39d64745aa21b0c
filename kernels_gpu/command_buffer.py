"""cl_khr_command_buffer through ctypes: commands that the driver keeps, enqueued by one call.

pyopencl has no words for the extension. Source: The OpenCL Extension Specification, cl_khr_command_buffer; the calls
used here are the same in its versions 0.9.0 to 0.9.8.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from functools import cache
from typing import Any
from weakref import finalize

from edgert.errors import DeviceError
from edgert.kernels_gpu.context import Context, device_error
from edgert.kernels_gpu.driver import function_address
from edgert.kernels_gpu.launch import Command

_HANDLE, _INT, _UINT = ctypes.c_void_p, ctypes.c_int, ctypes.c_uint
_FUNCTIONS = {
    "clCreateCommandBufferKHR": (_HANDLE, _UINT, _HANDLE, _HANDLE, _HANDLE),
    "clCommandNDRangeKernelKHR": (
        _INT, _HANDLE, _HANDLE, _HANDLE, _HANDLE, _UINT, _HANDLE, _HANDLE, _HANDLE, _UINT, _HANDLE, _HANDLE, _HANDLE,
    ),
    "clFinalizeCommandBufferKHR": (_INT, _HANDLE),
    "clEnqueueCommandBufferKHR": (_INT, _UINT, _HANDLE, _HANDLE, _UINT, _HANDLE, _HANDLE),
    "clReleaseCommandBufferKHR": (_INT, _HANDLE),
}  # fmt: skip
"""Name -> result and arguments."""


class CommandBuffer:
    """Commands in their order. Raises DeviceError where the driver refuses one."""

    def __init__(self, context: Context, commands: Sequence[Command]) -> None:
        self.context, self._commands = context, tuple(commands)
        self._call = _functions(context.device.handle.platform.int_ptr)
        status = _INT(0)
        queues = (_HANDLE * 1)(context.queue.int_ptr)
        self._handle = self._call["clCreateCommandBufferKHR"](1, queues, None, ctypes.byref(status))
        self._check(status.value, "a command buffer was made")
        self._release = finalize(self, self._call["clReleaseCommandBufferKHR"], self._handle)
        for command in self._commands:
            dimensions = len(command.items)
            items = (ctypes.c_size_t * dimensions)(*command.items)
            group = (ctypes.c_size_t * dimensions)(*command.group)
            done = self._call["clCommandNDRangeKernelKHR"](
                self._handle, None, None, command.kernel.int_ptr, dimensions, None, items, group, 0, None, None, None
            )
            self._check(done, f"{command.name} was recorded")
        self._check(self._call["clFinalizeCommandBufferKHR"](self._handle), "a command buffer was finished")

    def enqueue(self) -> None:
        """All commands, after what is in the queue."""
        done = self._call["clEnqueueCommandBufferKHR"](0, None, self._handle, 0, None, None)
        self._check(done, "a command buffer was enqueued")

    def _check(self, code: int, what: str) -> None:
        if code != 0:
            raise device_error(self.context.device, code, what)


@cache
def _functions(platform: int) -> dict[str, Any]:
    kind = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_char_p)
    find = kind(function_address("clGetExtensionFunctionAddressForPlatform"))
    table = {}
    for name, (result, *arguments) in _FUNCTIONS.items():
        address = find(platform, name.encode())
        if not address:
            raise DeviceError(f"expected {name} of the driver, which has cl_khr_command_buffer; found none")
        table[name] = ctypes.CFUNCTYPE(result, *arguments)(address)
    return table
