"""Writing a file whole or not at all: a temporary name in the same folder, fsync, rename, and the folder's fsync.

What is written is the caller's business: models in writer.py, saved prompts in edgert/llm.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from edgert.errors import EdgertError


def store(target: Path, what: str, size: int, pieces: Iterable[bytes | memoryview]) -> None:
    """Writes `pieces`, `size` bytes in all, to `target` in one step as far as anyone can see. what: 'the model'.

    Raises EdgertError if they can not be stored; nothing is left then, and an older file stays.
    """
    # Hidden, random and in the same folder: a rename across file systems would be a copy.
    temporary = target.parent / f".{os.urandom(8).hex()}.edge.tmp"
    try:
        # A rename would happily replace a device or a FIFO.
        if target.exists() and not target.is_file():
            raise EdgertError(f"{target}: expected a file name to write to, found something that is not a file")
        with temporary.open("xb") as stream:
            for piece in pieces:
                stream.write(piece)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(target)
        _sync_folder(target.parent)
    except BaseException as error:
        with suppress(OSError):
            temporary.unlink()
        if isinstance(error, (OSError, ValueError)):
            raise EdgertError(_storage_message(target, what, size, error)) from error
        raise


def _sync_folder(folder: Path) -> None:
    """Makes the rename itself durable, where folders can be opened (not on Windows)."""
    if hasattr(os, "O_DIRECTORY"):
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _storage_message(target: Path, what: str, size: int, error: Exception) -> str:
    import shutil  # takes longer to import than a model to open

    reason = getattr(error, "strerror", None) or str(error)
    try:
        free = f"{shutil.disk_usage(target.parent).free} bytes are free in {target.parent}"
    except (OSError, ValueError):
        free = f"{target.parent} is not a folder that can be used"
    return f"{target}: {what} was not written ({reason}): it needs {size} bytes, {free}; choose another place"
