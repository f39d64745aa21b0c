"""Memory of a device: segments that the host uses as well, and weights, which are placed there once.

Where the device computes in the host's memory nothing is copied; elsewhere only the bytes that are named.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any
from weakref import finalize

import numpy as np
import numpy.typing as npt

from edgert.errors import DeviceMemoryError
from edgert.kernels_gpu.context import Context, translated
from edgert.kernels_gpu.launch import Place

PAGE = 4096
"""Host memory that begins and ends on pages is taken by drivers as it is."""
AROUND = 1024
"""Bytes before and behind the weights of a buffer: kernels may read up to 64 beyond an operand."""
BUFFER = 1 << 30
"""Weights are put together in buffers of this size, or what the device allows, if that is less: drivers of phones pin
each buffer as a whole."""

Bytes = npt.NDArray[np.uint8]
Range = tuple[int, int]
"""First byte, and the one after the last."""


def require(context: Context, nbytes: int, what: str) -> None:
    """Raises DeviceMemoryError if the device has less than `nbytes` in all, before any of it is taken."""
    device = context.device
    if nbytes > device.capabilities.global_memory:
        raise DeviceMemoryError(
            f"{what} takes {_megabytes(nbytes)} on {device.spec} {device.name}, which has "
            f"{_megabytes(device.capabilities.global_memory)}; use smaller shapes or weights (q4), or run with "
            "--device cpu"
        )


def page_aligned(nbytes: int) -> Bytes:
    """Zeroed bytes in whole pages, at least one; only what is used takes memory."""
    size = -(-max(nbytes, 1) // PAGE) * PAGE
    raw = np.zeros(size + PAGE, np.uint8)
    start = -raw.ctypes.data % PAGE
    return raw[start : start + size]


class Mirror:
    """One segment that host and device use in turn: `host` is what the host sees of it, `buffer` what the device does.

    Between to_host() and to_device() the host may use the ranges that it asked for, else the device. `host` stays at
    its address. Raises DeviceMemoryError where the device does not give the memory.
    """

    def __init__(self, context: Context, nbytes: int, what: str) -> None:
        self.context, self.nbytes = context, nbytes
        can = context.device.capabilities
        if nbytes > can.max_allocation:
            raise DeviceMemoryError(
                f"{what} takes {_megabytes(nbytes)} in one piece; {context.device.spec} {context.device.name} allows "
                f"{_megabytes(can.max_allocation)}; use smaller shapes, or run with --device cpu"
            )
        self.host = page_aligned(nbytes)
        self.shared = can.unified
        flags, cl = context.cl.mem_flags, context.cl
        with translated(context.device, f"{what} ({_megabytes(nbytes)}) was placed"):
            if self.shared:
                self.buffer = cl.Buffer(context.handle, flags.READ_WRITE | flags.USE_HOST_PTR, hostbuf=self.host)
            else:
                self.buffer = cl.Buffer(context.handle, flags.READ_WRITE, self.host.size)
                cl.enqueue_copy(context.queue, self.buffer, self.host)
        self._mapped: list[tuple[int, int, Any]] = []
        self._sent: list[Any] = []
        # What is still mapped when its memory goes would end the process by an abort in some drivers.
        finalize(self, _unmap, self._mapped, context.queue)

    def place(self, offset: int, nbytes: int) -> Place:
        """Bytes of this segment as an operand."""
        return Place(self.buffer, offset, nbytes)

    def to_host(self, ranges: Iterable[Range]) -> None:
        """Waits for what was enqueued; then the host may read and write `ranges`. Without any it waits for what it
        sent, and may write that again."""
        cl, queue = self.context.cl, self.context.queue
        with translated(self.context.device, "its memory was read", waiting=True):
            while self._sent:
                self._sent.pop().wait()
            for start, stop in (r for r in ranges if r[0] < r[1]):
                if self.shared:
                    self._map(start, stop)
                else:
                    cl.enqueue_copy(queue, self.host[start:stop], self.buffer, src_offset=start)

    def _map(self, start: int, stop: int) -> None:
        """No byte is mapped twice: drivers differ in what that means."""
        if any(low <= start and stop <= high for low, high, _ in self._mapped):
            return
        queue, flags = self.context.queue, self.context.cl.map_flags
        overlapping = [one for one in self._mapped if one[0] < stop and start < one[1]]
        for one in overlapping:
            self._mapped.remove(one)
            one[2].base.release(queue)
            start, stop = min(start, one[0]), max(stop, one[1])
        array, _ = self.context.cl.enqueue_map_buffer(
            queue, self.buffer, flags.READ | flags.WRITE, start, (stop - start,), np.uint8
        )
        self._mapped.append((start, stop, array))

    def to_device(self, ranges: Iterable[Range]) -> None:
        """The device may use this segment again, with what the host wrote to `ranges`."""
        cl, queue = self.context.cl, self.context.queue
        with translated(self.context.device, "its memory was written"):
            _unmap(self._mapped, queue)
            if not self.shared:
                for start, stop in (r for r in ranges if r[0] < r[1]):
                    sent = self.host[start:stop]
                    self._sent.append(cl.enqueue_copy(queue, self.buffer, sent, dst_offset=start, is_blocking=False))


class Weights:
    """Arrays that the device only reads, each placed once; `copied` bytes of them were moved.

    A processor reads them where they are: in the mapped file. A GPU gets them in few large buffers, also one that
    shares the host's memory: the parts of a file do not begin on pages.
    """

    def __init__(self, context: Context) -> None:
        self.context = context
        self.copied = 0
        self._places: dict[tuple[int, int], tuple[Place, Bytes]] = {}

    def places(self, arrays: Sequence[npt.NDArray[Any]]) -> list[Place]:
        """Where each of `arrays` is; what is not there yet is placed, together. Raises DeviceMemoryError."""
        parts = [np.ascontiguousarray(array).reshape(-1).view(np.uint8) for array in arrays]
        missing = {_key(part): part for part in parts if _key(part) not in self._places}
        if missing:
            context = self.context
            in_place = context.device.kind == "CPU" and context.device.capabilities.unified
            with translated(context.device, "weights were placed"):
                added = (self._in_place if in_place else self._together)(list(missing.values()))
                context.queue.finish()
            # The arrays are kept as well: another one may never lie at their address.
            self._places |= {key: (place, part) for (key, part), place in zip(missing.items(), added, strict=True)}
        return [self._places[_key(part)][0] for part in parts]

    def _in_place(self, parts: Sequence[Bytes]) -> list[Place]:
        cl, context = self.context.cl, self.context
        flags = cl.mem_flags.READ_ONLY | cl.mem_flags.USE_HOST_PTR
        none = np.zeros(64, np.uint8)
        return [
            Place(cl.Buffer(context.handle, flags, hostbuf=part if part.size else none), 0, part.size) for part in parts
        ]

    def _together(self, parts: Sequence[Bytes]) -> list[Place]:
        cl, context = self.context.cl, self.context
        can = context.device.capabilities
        limit = min(BUFFER, can.max_allocation)
        groups: list[list[tuple[Bytes, int]]] = []  # (part, offset)
        end = limit
        for part in parts:
            if part.size + 2 * AROUND > can.max_allocation:
                raise DeviceMemoryError(
                    f"one weight takes {_megabytes(part.size)}; {context.device.spec} {context.device.name} allows "
                    f"{_megabytes(can.max_allocation)} in one piece; convert with fewer bits (q4), or run with "
                    "--device cpu"
                )
            nbytes = -(-part.size // can.alignment) * can.alignment
            if not groups or end + nbytes + AROUND > limit:
                groups.append([])
                end = max(AROUND, can.alignment)
            groups[-1].append((part, end))
            end += nbytes
        places = []
        for group in groups:
            last, offset = group[-1]
            buffer = cl.Buffer(context.handle, cl.mem_flags.READ_ONLY, offset + last.size + AROUND)
            for part, offset in group:
                if part.size:
                    cl.enqueue_copy(context.queue, buffer, part, dst_offset=offset, is_blocking=False)
                places.append(Place(buffer, offset, part.size))
                self.copied += part.size
        return places


def _unmap(mapped: list[tuple[int, int, Any]], queue: Any) -> None:
    while mapped:
        mapped.pop()[2].base.release(queue)


def _key(part: Bytes) -> tuple[int, int]:
    return int(part.__array_interface__["data"][0]), part.size


def _megabytes(nbytes: int) -> str:
    return f"{nbytes / (1 << 20):.1f} MB"
