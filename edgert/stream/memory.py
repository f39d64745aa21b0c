"""Memory that the system fills: whole pages, large ones where it has them, its own to give back.

What lies where in it is for its owner to say.
"""

from __future__ import annotations

import mmap
from contextlib import suppress
from typing import Any

import numpy as np
import numpy.typing as npt

from edgert.errors import MemoryBudgetError

_PRIVATE = getattr(mmap, "MAP_PRIVATE", 0) | getattr(mmap, "MAP_ANONYMOUS", 0)
_HUGE_PAGES = getattr(mmap, "MADV_HUGEPAGE", None)
HUGE = 2 << 20
"""Bytes of a large page. A direct read names each page it fills to the device: with 512 times fewer of them it took a
quarter to a half of the processor's time, and through a virtual disk two thirds of all time."""


class Memory:
    """`nbytes` zero bytes that begin on a page, on a large one if it holds one; the system has them back when the last
    view of them is gone. It gives them page by page when they are first written, never more than `nbytes`.

    A forked child gets a copy. Raises MemoryBudgetError where the system does not give them.
    """

    def __init__(self, nbytes: int) -> None:
        self.nbytes = nbytes
        start, large = 0, nbytes // HUGE * HUGE if _HUGE_PAGES is not None else 0
        try:
            pages = mmap.mmap(-1, max(nbytes, 1) + (HUGE if large else 0), **({"flags": _PRIVATE} if _PRIVATE else {}))
        except (OSError, MemoryError, OverflowError) as error:
            raise MemoryBudgetError(f"the system has no {nbytes} bytes for streamed weights; free some") from error
        if large and _HUGE_PAGES is not None:
            start = -np.frombuffer(pages, np.uint8).ctypes.data % HUGE
            with suppress(OSError):  # a system without them
                pages.madvise(_HUGE_PAGES, start, large)
        self.view = memoryview(pages)[start : start + nbytes]
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
