"""Memory that the system fills: whole pages, its own to give back, not copied to and fro by an allocator."""

from __future__ import annotations

import mmap
from typing import Any

import numpy as np
import numpy.typing as npt

from edgert.errors import MemoryBudgetError

_PRIVATE = getattr(mmap, "MAP_PRIVATE", 0) | getattr(mmap, "MAP_ANONYMOUS", 0)


class Memory:
    """`nbytes` zero bytes that begin on a page; the system takes them back when the last view of them is gone.

    A forked child gets a copy. Raises MemoryBudgetError where the system does not give them.
    """

    def __init__(self, nbytes: int) -> None:
        self.nbytes = nbytes
        try:
            pages = mmap.mmap(-1, max(nbytes, 1), flags=_PRIVATE) if _PRIVATE else mmap.mmap(-1, max(nbytes, 1))
        except (OSError, MemoryError, OverflowError) as error:
            raise MemoryBudgetError(f"the system has no {nbytes} bytes for streamed weights; free some") from error
        self.view = memoryview(pages)[:nbytes]
        """To be read into."""

    def close(self) -> None:
        """Lets go of it; the system has it back when no view is left."""
        self.view = memoryview(b"")

    @property
    def address(self) -> int:
        """Of the first byte; valid as long as this object or a view of it is held."""
        return int(np.frombuffer(self.view, np.uint8).ctypes.data) if self.nbytes else 0

    def array(self, start: int, nbytes: int) -> npt.NDArray[Any]:
        """Bytes start .. start + nbytes: uint8, read-only."""
        array = np.frombuffer(self.view[start : start + nbytes], np.uint8)
        array.flags.writeable = False
        return array
