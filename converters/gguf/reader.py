"""Reads GGUF files, version 2 and 3: key-value pairs and where each tensor lies; the tensors stay mapped.
What the bytes of a tensor mean is in `blocks.py`. Source: ggml/docs/gguf.md of the ggml project."""

from __future__ import annotations

import mmap
import os
import re
import stat
import struct
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgert.converters.gguf.types import TYPES, GgmlType
from edgert.errors import FormatError

MAGIC = b"GGUF"
VERSIONS = (2, 3)
"""Version 1 had 32-bit counts and was in use for weeks; version 3 added big-endian files, which are refused."""

MAX_DIMS = 4
"""GGML_MAX_DIMS."""

MAX_KEYS = 1 << 14
"""Files seen have 20 to 60."""

MAX_TENSORS = 1 << 17
"""As many as an .edge file may have."""

MAX_KEY_BYTES = (1 << 16) - 1
"""As the specification says."""

MAX_NAME_BYTES = 255
"""Of a tensor. The specification says 64, some writers exceed it; .edge files allow 255."""

MAX_STRING_BYTES = 64 << 20
"""A whole tokenizer.json may be one value; the largest take 35 MB."""

MAX_TEXT_BYTES = 128 << 20
"""Of all keys, names and strings together; a character may take four times its bytes in memory."""

MAX_VALUES = 1 << 22
"""In all arrays together. A vocabulary of 262,144 takes 1.3 million: tokens, scores, types and merges. Values
become Python objects of about 60 bytes each, so this bounds memory at some 250 MB."""

MAX_NESTING = 4
"""Of arrays in arrays; no known key nests at all."""

MAX_DIM = 1 << 40
"""Of one dimension: far past any model, and far from overflowing int64 in NumPy."""

MAX_ALIGNMENT = 1 << 20
DEFAULT_ALIGNMENT = 32

MAX_SPLITS = 1000
"""Files of one model; the largest have about 100."""

SCALARS = {
    0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d",
}  # fmt: skip
"""Value types of fixed size, as `struct` spells them."""
BOOL, STRING, ARRAY = 7, 8, 9

SPLIT_NAME = re.compile(r"(.*)-(\d{5})-of-(\d{5})\.gguf", re.DOTALL)

Bytes = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class GgufTensor:
    """One tensor. shape: in NumPy order; data: uint8, a view of the mapped file; offset: in its file."""

    name: str
    type: GgmlType
    shape: tuple[int, ...]
    data: Bytes
    file: Path
    offset: int


@dataclass
class GgufFile:
    """The contents of a model. metadata: int, float, bool, str and lists of these; both in file order."""

    path: Path
    metadata: dict[str, Any] = field(default_factory=dict)
    tensors: dict[str, GgufTensor] = field(default_factory=dict)


def is_gguf(path: Path) -> bool:
    """Whether `path` is a file that starts as GGUF files do, or is called as one."""
    if path.is_file():
        try:
            with path.open("rb") as file:
                return file.read(len(MAGIC)) == MAGIC or path.suffix == ".gguf"
        except OSError:
            pass  # whoever reads it says why it can not be read
    return path.suffix == ".gguf" and not path.is_dir()


def read_gguf(path: str | os.PathLike[str]) -> GgufFile:
    """The model in `path`. The first of several split files brings the others, which lie beside it.

    Every count, length and offset is checked against the limits above and the file before anything is
    allocated for it. Raises FormatError with the place.
    """
    path = Path(path)
    model = _read_one(path)
    count = model.metadata.get("split.count", 0)
    if not isinstance(count, int) or not 0 <= count <= MAX_SPLITS:
        raise FormatError(path, None, f"split.count up to {MAX_SPLITS}", repr(count)[:40])
    if count <= 1:
        return model
    named = SPLIT_NAME.fullmatch(path.name)
    if named is None or int(named[3]) != count:
        expected = f"a name that ends in -00001-of-{count:05d}.gguf for the first of {count} files"
        raise FormatError(path, None, expected, path.name, "keep the names the files were published under")
    if int(named[2]) != 1:
        first = f"{named[1]}-00001-of-{named[3]}.gguf"
        raise FormatError(path, None, f"the first of {count} files", f"number {int(named[2])}", f"open {first}")
    for number in range(count):
        part = path.with_name(f"{named[1]}-{number + 1:05d}-of-{named[3]}.gguf")
        other = model if number == 0 else _read_one(part)
        if other.metadata.get("split.no") != number or other.metadata.get("split.count") != count:
            found = f"{other.metadata.get('split.no')!r:.40} of {other.metadata.get('split.count')!r:.40}"
            raise FormatError(part, None, f"split.no {number} of split.count {count}", found)
        for name, tensor in other.tensors.items():
            if model.tensors.setdefault(name, tensor) is not tensor:
                raise FormatError(part, None, "each tensor in one of the files", f"{name!r} in two")
    total = model.metadata.get("split.tensors.count", len(model.tensors))
    if total != len(model.tensors):
        raise FormatError(path, None, f"{total!r:.40} tensors in all files together", f"{len(model.tensors)}")
    return model


def _read_one(path: Path) -> GgufFile:
    cursor = _Cursor(path, _map(path))
    if (magic := cursor.take(4, "the magic GGUF")) != MAGIC:
        raise cursor.error("the magic GGUF", repr(magic), at=0)
    version = cursor.u32("the version")
    if version not in VERSIONS:
        big_endian = int.from_bytes(version.to_bytes(4, "little"), "big") in VERSIONS
        found = "a big-endian file" if big_endian else f"version {version}"
        raise cursor.error("GGUF version 2 or 3, little-endian", found, "convert it with a current llama.cpp", at=4)
    tensor_count = cursor.count(MAX_TENSORS, 24, "tensors")
    key_count = cursor.count(MAX_KEYS, 13, "keys")
    model = GgufFile(path)
    for _ in range(key_count):
        start = cursor.offset
        key = cursor.string(MAX_KEY_BYTES, "a key")
        if not key or key in model.metadata:
            raise cursor.error("keys that differ and are not empty", repr(key[:80]), at=start)
        model.metadata[key] = cursor.value(cursor.u32(f"the type of {key[:80]!r}"), key)
    infos = [_tensor_info(cursor) for _ in range(tensor_count)]
    _place(cursor, model, infos)
    return model


def _map(path: Path) -> mmap.mmap:
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode) or status.st_size == 0:  # before opening: a pipe would block
            found = "an empty file" if stat.S_ISREG(status.st_mode) else "something else"
            raise FormatError(path, 0, "a GGUF file", found)
        with path.open("rb") as file:
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except OSError as error:
        raise FormatError(path, None, "a file that can be read", error.strerror or str(error)) from None


@dataclass(frozen=True)
class _Info:
    """A tensor as announced. offset: from the start of the data; at: where the announcement lies."""

    name: str
    type: GgmlType
    shape: tuple[int, ...]
    offset: int
    at: int

    @property
    def nbytes(self) -> int:
        return prod(self.shape) // self.type.values * self.type.nbytes


def _tensor_info(cursor: _Cursor) -> _Info:
    at = cursor.offset
    name = cursor.string(MAX_NAME_BYTES, "a tensor name")
    if not name:
        raise cursor.error("a tensor name", "an empty one", at=at)
    n_dims = cursor.u32(f"the rank of {name!r}")
    if n_dims > MAX_DIMS:
        raise cursor.error(f"at most {MAX_DIMS} dimensions ({name!r})", str(n_dims))
    dims = [cursor.u64(f"a dimension of {name!r}") for _ in range(n_dims)]
    if not all(1 <= dim <= MAX_DIM for dim in dims):
        raise cursor.error(f"dimensions from 1 to {MAX_DIM} ({name!r})", str(dims))
    number = cursor.u32(f"the type of {name!r}")
    if number not in TYPES:
        known = ", ".join(kind.name for kind in TYPES.values())
        raise cursor.error(f"tensor {name!r} of a known type ({known})", f"type {number}")
    kind = TYPES[number]
    row = dims[0] if dims else 1
    if row % kind.values:
        raise cursor.error(f"rows of a multiple of {kind.values} values ({name!r}, {kind.name})", str(row))
    return _Info(name, kind, tuple(reversed(dims)), cursor.u64(f"the offset of {name!r}"), at)


def _place(cursor: _Cursor, model: GgufFile, infos: list[_Info]) -> None:
    """Checks that the tensors lie inside the file, aligned and apart from each other, and makes views of them."""
    alignment = model.metadata.get("general.alignment", DEFAULT_ALIGNMENT)
    if type(alignment) is not int or not 1 <= alignment <= MAX_ALIGNMENT or alignment & (alignment - 1):
        expected = f"general.alignment a power of two up to {MAX_ALIGNMENT}"
        raise cursor.error(expected, repr(alignment)[:40], at=None)
    start = -(-cursor.offset // alignment) * alignment
    room = max(cursor.end - start, 0)
    end_of_last = 0
    for info in sorted(infos, key=lambda info: info.offset):
        if info.offset % alignment:
            raise cursor.error(f"an offset of {info.name!r} aligned to {alignment}", str(info.offset), at=info.at)
        if info.offset + info.nbytes > room:
            found = f"{info.nbytes} bytes at {info.offset} of {room}"
            raise cursor.error(f"{info.name!r} inside the file", found, "download the file again", at=info.at)
        if info.offset < end_of_last:
            raise cursor.error(f"{info.name!r} behind the tensor before it", f"offset {info.offset}", at=info.at)
        end_of_last = info.offset + info.nbytes
    for info in infos:
        if info.name in model.tensors:
            raise cursor.error("each tensor once", f"{info.name!r} twice", at=info.at)
        at = start + info.offset
        data = np.frombuffer(cursor.data, np.uint8, info.nbytes, at)
        model.tensors[info.name] = GgufTensor(info.name, info.type, info.shape, data, cursor.path, at)


class _Cursor:
    """Reads a mapped file from front to back; never past its end."""

    def __init__(self, path: Path, data: mmap.mmap) -> None:
        self.path, self.data, self.offset, self.end = path, data, 0, len(data)
        self.values_left, self.text_left = MAX_VALUES, MAX_TEXT_BYTES

    def error(self, expected: str, found: str, hint: str = "", *, at: int | None = -1) -> FormatError:
        """The error to raise; `at` is where, the current place if not given."""
        return FormatError(self.path, self.offset if at == -1 else at, expected, found, hint)

    def take(self, nbytes: int, what: str) -> bytes:
        if nbytes > self.end - self.offset:
            expected = f"{nbytes} bytes ({what})"
            raise self.error(expected, f"the end of the file after {self.end - self.offset}", "download the file again")
        self.offset += nbytes
        return self.data[self.offset - nbytes : self.offset]

    def u32(self, what: str) -> int:
        return int.from_bytes(self.take(4, what), "little")

    def u64(self, what: str) -> int:
        return int.from_bytes(self.take(8, what), "little")

    def count(self, limit: int, nbytes: int, what: str) -> int:
        """A count of things that take at least `nbytes` each in the rest of the file."""
        number = self.u64(f"the number of {what}")
        if number > limit:
            raise self.error(f"at most {limit} {what}", str(number), at=self.offset - 8)
        if number * nbytes > self.end - self.offset:
            found = f"the end of the file after {self.end - self.offset} bytes"
            raise self.error(f"{number} {what}", found, "download the file again", at=self.offset - 8)
        return number

    def string(self, limit: int, what: str) -> str:
        nbytes = self.u64(f"the length of {what}")
        if nbytes > (limit := min(limit, self.text_left)):
            raise self.error(f"{what} of at most {limit} bytes", str(nbytes), at=self.offset - 8)
        self.text_left -= nbytes
        data = self.take(nbytes, what)
        try:
            return data.decode("utf-8")
        except UnicodeDecodeError as error:
            at = self.offset - nbytes + error.start
            raise self.error(f"UTF-8 in {what}", repr(data[error.start : error.start + 8]), at=at) from None

    def value(self, kind: int, key: str, depth: int = 0) -> Any:
        """A value of type `kind` of the pair `key`."""
        what = f"the value of {key[:80]!r}"
        if kind in SCALARS:
            return self.scalars(kind, 1, what)[0]
        if kind == STRING:
            return self.string(MAX_STRING_BYTES, what)
        if kind != ARRAY:
            raise self.error(f"a value type from 0 to 12 for {key[:80]!r}", str(kind), at=self.offset - 4)
        if depth == MAX_NESTING:
            raise self.error(f"arrays nested at most {MAX_NESTING} deep in {key[:80]!r}", "deeper")
        inner = self.u32(what)
        smallest = struct.calcsize(SCALARS[inner]) if inner in SCALARS else 8
        number = self.count(self.values_left, smallest, f"values in {key[:80]!r}")
        self.values_left -= number
        if inner in SCALARS:
            return self.scalars(inner, number, what)
        return [self.value(inner, key, depth + 1) for _ in range(number)]

    def scalars(self, kind: int, number: int, what: str) -> list[Any]:
        code = SCALARS[kind]
        data = self.take(struct.calcsize(code) * number, what)
        if kind == BOOL and data.strip(b"\0\1"):
            raise self.error(f"0 or 1 in {what}", "another byte", at=self.offset - number)
        return list(struct.unpack(f"<{number}{code[1]}", data))
