"""Some rows of a table in a file, read when they are asked for: embeddings need no memory.

What is read in every run comes through store.py.
"""

from __future__ import annotations

import os
import weakref
import zlib
from collections.abc import Sequence
from contextlib import suppress

from edgert.errors import FormatError, StorageError
from edgert.format.parts import FilePart
from edgert.stream.memory import Memory

PIECE = 1 << 20
"""Bytes read at once for the checksum."""
_DAMAGED = "the file is damaged: copy or convert it again"


class Table:
    """The bytes of `part`, read through the page cache: what is asked for often stays there while the system has room.

    check: whether the part is compared with its checksum first, piece by piece. The file may be unlinked meanwhile.
    Raises FormatError where it is too short or damaged, StorageError where it cannot be read.
    """

    def __init__(self, part: FilePart, *, check: bool = True) -> None:
        self.part = part
        try:
            self._descriptor = os.open(part.file, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
        except OSError as error:
            raise StorageError(f"{part.file}: cannot be opened: {error.strerror}; check the path") from error
        self._finalizer = weakref.finalize(self, os.close, self._descriptor)
        try:
            if check:
                self._check()
        except BaseException:
            self.close()
            raise

    def read(self, views: Sequence[memoryview], offsets: Sequence[int]) -> None:
        """Fills each view from its byte offset in the part. All are asked for before the first is waited for."""
        for view, offset in zip(views, offsets, strict=True):
            self._advise(offset, len(view), "POSIX_FADV_WILLNEED")
        for view, offset in zip(views, offsets, strict=True):
            self._fill(view, offset)

    def close(self) -> None:
        """Lets go of the file. May be called again."""
        self._finalizer()
        self._descriptor = -1

    def _check(self) -> None:
        part, crc = self.part, 0
        piece = Memory(PIECE).view
        for offset in range(0, part.nbytes, PIECE):
            view = piece[: min(PIECE, part.nbytes - offset)]
            self._advise(offset + PIECE, PIECE, "POSIX_FADV_WILLNEED")
            self._fill(view, offset)
            crc = zlib.crc32(view, crc)
        self._advise(0, part.nbytes, "POSIX_FADV_DONTNEED")
        if crc != part.crc32:
            raise FormatError(
                part.file, part.offset, f"CRC-32 {part.crc32:#010x} of {part.tensor!r} {part.role}", f"{crc:#010x}",
                _DAMAGED,
            )  # fmt: skip

    def _fill(self, view: memoryview, offset: int) -> None:
        at, done = self.part.offset + offset, 0
        while done < len(view):
            try:
                count = os.preadv(self._descriptor, [view[done:]], at + done)
            except OSError as error:
                raise StorageError(
                    f"{self.part.file} at byte {at + done}: cannot be read: {error.strerror}; check the storage"
                ) from error
            if count == 0:
                raise FormatError(
                    self.part.file, at + done, f"{len(view)} bytes of {self.part.tensor!r}", f"{done}", _DAMAGED
                )
            done += count

    def _advise(self, offset: int, nbytes: int, advice: str) -> None:
        nbytes = min(nbytes, self.part.nbytes - offset)
        if nbytes > 0 and hasattr(os, "posix_fadvise"):
            with suppress(OSError):  # only advice: what is wrong with the file is said where it is read
                os.posix_fadvise(self._descriptor, self.part.offset + offset, nbytes, getattr(os, advice))
