"""Tensor bytes stored beside an .onnx file, opened only when the path is harmless.
What the bytes mean is in `tensors.py`."""

from __future__ import annotations

import mmap
import os
import stat
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING

from edgert.errors import FormatError

if TYPE_CHECKING:
    from onnx import TensorProto

KEYS = frozenset({"location", "offset", "length", "checksum", "basepath"})
"""Keys ONNX defines; `checksum` and `basepath` are accepted and ignored, as `onnx` does."""


SHARED = 4
"""How often the bytes of a file may be used, on average: two layers share weights at most. A file could otherwise
grow without bound, by tensors that all are one and the same stretch of it."""


class ExternalData:
    """The external files of one model: each is checked and mapped once, tensors are views.

    A location is refused when it is absolute, contains `..` or a backslash, passes through a symbolic
    link, or names anything but a regular file with a single hard link: a model from elsewhere must not make
    the converter copy the user's other files into its output. Source: onnx/docs/ExternalData.md and the
    checks of `onnx.checker` since 1.16.
    """

    def __init__(self, model: Path) -> None:
        self.model = model
        self.folder = model.resolve().parent
        self._files: dict[str, memoryview] = {}
        self._used: dict[str, int] = {}

    def read(self, tensor: TensorProto) -> memoryview:
        """The bytes of `tensor`, a view of the mapped file. Raises FormatError."""
        info: dict[str, str] = {}
        for entry in tensor.external_data:
            if entry.key not in KEYS:
                raise self._error(tensor, f"external data keys {sorted(KEYS)}", f"{entry.key[:80]!r}")
            if entry.key in info:
                raise self._error(tensor, "each external data key once", f"{entry.key!r} twice")
            info[entry.key] = entry.value
        data = self._open(tensor, info.get("location", ""))
        offset = self._number(tensor, info, "offset", 0)
        length = self._number(tensor, info, "length", max(len(data) - offset, 0))
        if offset + length > len(data):
            raise self._error(
                tensor,
                f"bytes {offset} to {offset + length} inside {info['location']!r}",
                f"a file of {len(data)} bytes",
            )
        used = self._used[info["location"]] = self._used.get(info["location"], 0) + length
        if used > SHARED * len(data):
            raise self._error(tensor, f"the bytes of {info['location']!r} used {SHARED} times", "more")
        return data[offset : offset + length]

    def _number(self, tensor: TensorProto, info: dict[str, str], key: str, default: int) -> int:
        text = info.get(key, "")
        if not text:
            return default
        if not (text.isascii() and text.isdigit() and len(text) <= 19):
            raise self._error(tensor, f"external data {key} as a decimal number", f"{text[:80]!r}")
        return int(text)

    def _open(self, tensor: TensorProto, location: str) -> memoryview:
        if location in self._files:
            return self._files[location]
        windows = PureWindowsPath(location)
        parts = PurePosixPath(location).parts
        if not location or "\0" in location or not parts:
            raise self._error(tensor, "an external data location", repr(location[:80]))
        if location.startswith("/") or windows.is_absolute() or windows.drive or "\\" in location:
            raise self._error(tensor, "a relative external data location", repr(location[:200]))
        if ".." in parts:
            raise self._error(tensor, "an external data location without '..'", repr(location[:200]))
        path = self.folder
        try:
            for part in parts:
                path = path / part
                seen = path.lstat()
                if stat.S_ISLNK(seen.st_mode):
                    raise self._error(tensor, f"no symbolic link in {location!r}", f"{part!r} is one")
            self._files[location] = self._map(tensor, path, location, seen)
        except OSError as error:
            raise self._error(
                tensor,
                f"external data file {location!r} beside the model",
                error.strerror or str(error),
                "keep the .onnx file and its data files together",
            ) from error
        return self._files[location]

    def _map(self, tensor: TensorProto, path: Path, location: str, seen: os.stat_result) -> memoryview:
        if not stat.S_ISREG(seen.st_mode):  # before opening: a FIFO would block
            raise self._error(tensor, f"{location!r} to be a regular file", "something else")
        fd = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0))
        try:
            now = os.fstat(fd)
            if (now.st_dev, now.st_ino) != (seen.st_dev, seen.st_ino):
                raise self._error(tensor, f"{location!r} to stay the same file", "it was replaced")
            if now.st_nlink > 1:
                raise self._error(
                    tensor,
                    f"{location!r} to have one hard link",
                    f"{now.st_nlink}",
                    "copy the data file instead of linking it",
                )
            if now.st_size == 0:
                return memoryview(b"")
            return memoryview(mmap.mmap(fd, 0, access=mmap.ACCESS_READ))
        finally:
            os.close(fd)

    def _error(self, tensor: TensorProto, expected: str, found: str, hint: str = "") -> FormatError:
        return FormatError(self.model, None, f"{expected} (tensor {tensor.name[:80]!r})", found, hint)
