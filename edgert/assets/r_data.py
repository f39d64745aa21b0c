"""Reads the character vectors of an R package's lazy-load database, `Rdata.rdx` and `Rdata.rdb`.

Nothing else that R can store is understood. Source: "R Internals", sections 1.8 (serialization formats) and
1.9 (lazy loading).
"""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any

from edgert.assets.registry import AssetError

MAX_BYTES = 64 << 20
"""Of one object, unpacked. A novel takes 1 MB."""

MAX_DEPTH = 16
"""Objects in objects: an index nests four deep."""

SYMBOL, PAIRLIST, CHARS, LOGICALS, INTEGERS, STRINGS, LIST, NIL, REFERENCE = 1, 2, 9, 10, 13, 16, 19, 254, 255
HAS_ATTRIBUTES, HAS_TAG = 1 << 9, 1 << 10


def read_strings(index: Path, database: Path) -> dict[str, list[str]]:
    """Name -> character vector for every object of the database.

    Raises AssetError when the files are damaged or hold anything else.
    """
    try:
        contents = _Reader(_unpacked(index.read_bytes())).read()
        data = database.read_bytes()
        texts: dict[str, list[str]] = {}
        for name, (offset, length) in contents["variables"].items():
            # four bytes of unpacked length, then a zlib stream
            texts[name] = _Reader(_unpacked(data[offset + 4 : offset + length])).read()
            if not all(isinstance(line, str) for line in texts[name]):
                raise ValueError(f"{name!r} is no character vector")
    except (OSError, zlib.error, struct.error, ValueError, TypeError, LookupError, AttributeError) as error:
        raise AssetError(f"{database.name}: expected character vectors of R, found {error!r}") from error
    return texts


def _unpacked(data: bytes) -> bytes:
    """A gzip or zlib stream."""
    stream = zlib.decompressobj(zlib.MAX_WBITS | 32)
    unpacked = stream.decompress(data, MAX_BYTES)
    if not stream.eof:
        raise ValueError(f"an object that is cut off or longer than {MAX_BYTES} bytes")
    return unpacked


class _Reader:
    """One object in the XDR serialization, version 2 or 3: vectors become lists, named lists dictionaries."""

    def __init__(self, data: bytes) -> None:
        self.data, self.offset = data, 2
        version = self.integer()
        if data[:2] != b"X\n" or version not in (2, 3):
            raise ValueError(f"a serialization {data[:2]!r} of version {version}")
        self.offset += 8  # the versions of R that wrote it and that can read it
        if version == 3:
            length = self.count(1)  # of the name of the native encoding
            self.offset += length
        self.symbols: list[str] = []

    def integer(self) -> int:
        (value,) = struct.unpack_from(">i", self.data, self.offset)
        self.offset += 4
        return int(value)

    def count(self, nbytes: int) -> int:
        """A number of things that take at least `nbytes` each."""
        number = self.integer()
        if not 0 <= number * nbytes <= len(self.data) - self.offset:
            raise ValueError(f"{number} values in {len(self.data)} bytes")
        return number

    def read(self, depth: int = 0) -> Any:
        if depth > MAX_DEPTH:
            raise ValueError("objects nested too deep")
        flags = self.integer()
        kind = flags & 255
        if kind == NIL:
            return None
        if kind == SYMBOL:
            self.symbols.append(self.read(depth + 1))
            return self.symbols[-1]
        if kind == REFERENCE:
            return self.symbols[(flags >> 8) - 1]
        if kind == CHARS:
            number = self.count(1)  # -1, a missing string, is refused
            self.offset += number
            return self.data[self.offset - number : self.offset].decode("utf-8")
        if kind in (INTEGERS, LOGICALS):
            value = [self.integer() for _ in range(self.count(4))]
        elif kind in (STRINGS, LIST):
            value = [self.read(depth + 1) for _ in range(self.count(4))]
        elif kind == PAIRLIST and flags & HAS_TAG and not flags & HAS_ATTRIBUTES:
            return self.pairs(depth)
        else:
            raise ValueError(f"an object of type {kind}")
        if flags & HAS_ATTRIBUTES:
            names = self.read(depth + 1).get("names")
            if names is not None:
                return dict(zip(names, value, strict=True))
        return value

    def pairs(self, depth: int) -> dict[str, Any]:
        """The rest of a pair list whose first flags were read: tag, value, then the next pair or the end."""
        table = {}
        while True:
            tag = self.read(depth + 1)
            table[tag] = self.read(depth + 1)
            flags = self.integer()
            if flags & 255 == NIL:
                return table
            if flags & 255 != PAIRLIST or not flags & HAS_TAG or flags & HAS_ATTRIBUTES:
                raise ValueError("an unnamed attribute")
