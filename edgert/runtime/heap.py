"""Freed memory that the C library keeps for later, given back to the system: a session that trims means it."""

from __future__ import annotations

import ctypes
import gc
from contextlib import suppress


def give_back() -> None:
    """Collects what nobody holds, and gives whole free pages of the heap back. Libraries other than glibc do that by
    themselves."""
    gc.collect()
    # Windows has no library of that name, musl and Bionic no such function.
    with suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)
