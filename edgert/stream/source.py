"""Where streamed bytes come from: a file read past the page cache, or what a test puts in its place.

Sources read; when, and to where, is decided in store.py.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import Protocol

from edgert.errors import FormatError, StorageError, UnsupportedError
from edgert.stream.memory import Memory
from edgert.stream.stages import PAGE

_DIRECT = getattr(os, "O_DIRECT", 0)
_CLOEXEC = getattr(os, "O_CLOEXEC", 0)


class Source(Protocol):
    """Bytes by offset, for several threads at once."""

    file: Path
    size: int
    """Bytes there were when it was opened."""
    how: str
    """'O_DIRECT', or 'buffered': through the page cache, which is told to forget what was read."""

    def read_into(self, view: memoryview, offset: int) -> int:
        """Fills `view` from byte `offset`; the number of bytes read, less than asked only where the file ends.
        Offset, length and address of the view are multiples of 4096. Raises OSError."""
        ...

    def stamp(self) -> tuple[int, int]:
        """(size, time of the last change in nanoseconds) as they are now: another pair, another content."""
        ...

    def close(self) -> None:
        """Lets go of the file. No read may be under way."""
        ...


class DirectSource:
    """The file at `path`, read with O_DIRECT where its file system can, else through the page cache (see `how`).

    direct: False asks for buffered reads. The file may be unlinked or replaced meanwhile: the one that was opened is
    read on. Raises FormatError where there is no such file, StorageError where it cannot be opened.
    """

    def __init__(self, path: str | os.PathLike[str], *, direct: bool = True) -> None:
        self.file = Path(path)
        if not hasattr(os, "preadv"):
            raise UnsupportedError("streamed weights need preadv, which this system lacks; run without a memory limit")
        try:
            self._descriptor = self._open(direct)
        except FileNotFoundError:
            raise FormatError(self.file, None, "a model file", "no such file", "check the path") from None
        except OSError as error:
            raise StorageError(f"{self.file}: cannot be opened: {error.strerror}; check the path") from error
        self.size = os.fstat(self._descriptor).st_size

    def _open(self, direct: bool) -> int:
        """Opens the file, finds out how it can be read, and sets `how`."""
        if not stat.S_ISREG(self.file.stat().st_mode):
            raise OSError(errno.EINVAL, "not a regular file")
        if direct and _DIRECT:
            descriptor = -1
            try:
                descriptor = os.open(self.file, os.O_RDONLY | _CLOEXEC | _DIRECT)
                # Some file systems open such a file and refuse to read it, or want larger pages.
                os.preadv(descriptor, [Memory(PAGE).view], 0)
                self.how = "O_DIRECT"
                return descriptor
            except OSError as error:
                if descriptor >= 0:
                    os.close(descriptor)
                if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):
                    raise
        self.how = "buffered"
        descriptor = os.open(self.file, os.O_RDONLY | _CLOEXEC)
        self._advise(descriptor, 0, 0, "POSIX_FADV_RANDOM")  # no reading ahead: what is asked for is large
        return descriptor

    def read_into(self, view: memoryview, offset: int) -> int:
        """See Source."""
        done, wanted = 0, len(view)
        while done < wanted:
            count = os.preadv(self._descriptor, [view[done:]], offset + done)
            done += count
            if count == 0 or (done % PAGE and self.how == "O_DIRECT"):
                break  # the end; from a place inside a page nothing could be read directly
        if self.how == "buffered":
            self._advise(self._descriptor, offset, wanted, "POSIX_FADV_DONTNEED")
        return done

    @staticmethod
    def _advise(descriptor: int, offset: int, nbytes: int, advice: str) -> None:
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(descriptor, offset, nbytes, getattr(os, advice))

    def stamp(self) -> tuple[int, int]:
        """See Source."""
        status = os.fstat(self._descriptor)
        return status.st_size, status.st_mtime_ns

    def close(self) -> None:
        """See Source. May be called again."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


def fill(source: Source, view: memoryview, offset: int, expected: int) -> int:
    """read_into where `expected` bytes at least must come; how many came. Raises FormatError where the file ends too
    early, StorageError where it cannot be read."""
    try:
        count = source.read_into(view, offset)
    except OSError as error:
        reason = error.strerror or str(error)
        raise StorageError(f"{source.file} at byte {offset}: cannot be read: {reason}; check the storage") from error
    if count < expected:
        found = f"the end of the file, {expected - count} bytes too early"
        hint = "it was truncated while in use: copy or convert it again"
        raise FormatError(source.file, offset + count, "weights", found, hint)
    return count
