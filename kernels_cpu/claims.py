"""A file that several processes want is made by one of them; the others make something else meanwhile, or wait."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None  # type: ignore[assignment]

POLL_SECONDS = 0.05


@contextmanager
def claimed(path: Path, patience: float) -> Iterator[bool]:
    """Whether `path` is the caller's to make: not if, after `patience` seconds, another process still has it claimed.

    A claim ends with its process. Where files cannot be locked, everything is the caller's. Raises OSError where the
    folder cannot be written.
    """
    if fcntl is None:
        yield True
        return
    place = path.with_name(f".{path.name}.claim")
    descriptor = os.open(place, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o666)
    try:
        mine = _locked(descriptor, patience)
        yield mine
        if mine:
            place.unlink(missing_ok=True)  # who waits for it looks at `path` first
    finally:
        os.close(descriptor)


def _locked(descriptor: int, patience: float) -> bool:
    until = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() >= until:
                return False
        except OSError:
            return True  # this file system has no locks
        time.sleep(POLL_SECONDS)
