"""Commands enqueued by native code: one call for all, without Python's lock, through the driver's own functions.

The loop is kernels_cpu/commands/enqueue.py, compiled like the processor's kernels and in their library.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

import numpy as np

from edgert.kernels_cpu.commands import COMMAND_GROUP, COMMAND_ITEMS, COMMAND_WORDS
from edgert.kernels_cpu.library import KernelLibrary
from edgert.kernels_cpu.record import pack_record
from edgert.kernels_gpu.context import Context
from edgert.kernels_gpu.driver import function_address
from edgert.kernels_gpu.launch import Command

KERNEL = "enqueue_commands"
_Kernel = ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * 3)


class Enqueuer:
    """The native loop of `library`, and the functions that it calls.

    Raises KernelError where the library has no such loop and none can be compiled, DeviceError where the functions of
    OpenCL are not found.
    """

    def __init__(self, library: KernelLibrary) -> None:
        library.prepare((KERNEL,))
        self.library = library
        """Its code goes with it."""
        self.call = _Kernel(library.address(KERNEL))
        self.enqueue, self.flush = function_address("clEnqueueNDRangeKernel"), function_address("clFlush")


class Replay:
    """`commands` on the queue of `context`, as the loop reads them. Holds all that it has addresses of."""

    def __init__(self, context: Context, commands: Sequence[Command], enqueuer: Enqueuer) -> None:
        self._kept = (context, tuple(commands), enqueuer)
        self._words = np.array([_words(command) for command in commands], np.uintp).reshape(-1, COMMAND_WORDS)
        self._done = np.zeros(2, np.int64)
        addresses = {
            "commands": self._words.ctypes.data, "queue": context.queue.int_ptr, "enqueue": enqueuer.enqueue,
            "flush": enqueuer.flush, "done": self._done.ctypes.data,
        }  # fmt: skip
        self._record = np.frombuffer(pack_record(KERNEL, addresses, {"count": len(self._words)}, 1), np.uint8)
        self._call, self._address = enqueuer.call, self._record.ctypes.data

    def __call__(self) -> tuple[int, int]:
        """Enqueues all and flushes. Returns how many commands were enqueued, and the code of what was refused then: the
        next command, or the flush after the last one; 0 if nothing was."""
        self._call(self._address, 0, 0)
        count, code = self._done.tolist()
        return count, code


def _words(command: Command) -> list[int]:
    """The kernel's handle, how many dimensions, items and groups; see kernels_cpu/commands."""
    dimensions = len(command.items)
    words = [command.kernel.int_ptr, dimensions, *[0] * (COMMAND_WORDS - 2)]
    words[COMMAND_ITEMS : COMMAND_ITEMS + dimensions] = command.items
    words[COMMAND_GROUP : COMMAND_GROUP + dimensions] = command.group
    return words
