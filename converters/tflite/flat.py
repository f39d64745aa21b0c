"""Checked access to tables in a flatbuffer: every offset, vtable, vector and string lies inside the file.
Which fields a table has is in `schema.py` and `reader.py`; nothing is copied until somebody asks for it.

Source: FlatBuffers internals (flatbuffers.dev/internals). Bound on memory: what is decoded to Python objects, or
expanded, is charged to an account of DECODED_BASE + DECODED_PER_BYTE x file size; small files that point to the
same bytes many times end there with a FormatError.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from flatbuffers import encode, number_types

from edgert.errors import FormatError

DECODED_BASE = 64 << 20
DECODED_PER_BYTE = 32
"""Bytes: zeros between sparse weights at density 0.05 take 20 times their float16 values, 2-bit numbers 4 times."""

TABLE_BYTES = 1024
"""What one decoded table costs in Python objects, about."""

ELEMENT_BYTES = 40
"""What one decoded number of a vector costs, about."""

MAX_FLATBUFFER_BYTES = (1 << 31) - 1
"""Offsets have 31 bits; larger files keep the values of constants behind the flatbuffer."""

Scalar = int | float | bool

SCALARS: dict[str, type] = {
    "bool": number_types.BoolFlags,
    "byte": number_types.Int8Flags,
    "ubyte": number_types.Uint8Flags,
    "short": number_types.Int16Flags,
    "ushort": number_types.Uint16Flags,
    "int": number_types.Int32Flags,
    "uint": number_types.Uint32Flags,
    "long": number_types.Int64Flags,
    "ulong": number_types.Uint64Flags,
    "float": number_types.Float32Flags,
    "double": number_types.Float64Flags,
}
"""Type as the schema spells it -> how flatbuffers reads it."""

DTYPES: dict[str, np.dtype[Any]] = {
    "bool": np.dtype(np.uint8), "byte": np.dtype(np.int8), "ubyte": np.dtype(np.uint8), "ushort": np.dtype("<u2"),
    "int": np.dtype("<i4"), "uint": np.dtype("<u4"), "long": np.dtype("<i8"), "ulong": np.dtype("<u8"),
    "float": np.dtype("<f4"),
}  # fmt: skip
"""The same for vectors, which are read as arrays."""


class Flat:
    """The bytes of one file and the account of what was decoded from them."""

    def __init__(self, path: Path, data: npt.NDArray[np.uint8]) -> None:
        self.path, self.data = path, data
        self.bytes = memoryview(data)  # type: ignore[arg-type]
        self.size = min(data.size, MAX_FLATBUFFER_BYTES)
        self.left = DECODED_BASE + DECODED_PER_BYTE * data.size

    def error(self, at: int | None, expected: str, found: str, hint: str = "") -> FormatError:
        return FormatError(self.path, at, expected, found, hint)

    def charge(self, count: int, at: int, what: str) -> None:
        """Takes `count` bytes from the account. Raises FormatError when it is empty."""
        self.left -= count
        if self.left < 0:
            limit = DECODED_BASE + DECODED_PER_BYTE * self.data.size
            raise self.error(at, f"at most {limit} bytes when decoded", f"more with {what}")

    def inside(self, at: int, count: int, what: str) -> None:
        """Raises FormatError unless bytes at .. at + count are in the flatbuffer."""
        if at < 0 or count < 0 or at + count > self.size:
            raise self.error(at, f"{count} bytes for {what}", f"the end of the file at byte {self.data.size}")

    def read(self, kind: str, at: int) -> Scalar:
        """The scalar at byte `at`, which the caller has checked."""
        value: Scalar = encode.Get(SCALARS[kind].packer_type, self.bytes, at)  # type: ignore[attr-defined]
        return value

    def follow(self, at: int, what: str) -> int:
        """Where the offset at byte `at` leads."""
        self.inside(at, 4, f"the offset of {what}")
        offset = int(self.read("uint", at))
        if offset < 4:
            raise self.error(at, f"an offset to {what}", str(offset))
        return at + offset

    def root(self, identifier: bytes) -> Table:
        """The root table. Raises FormatError unless the file carries `identifier`."""
        self.inside(0, 8, "the offset of the root table and the identifier")
        found = bytes(self.data[4:8])
        if found != identifier:
            raise self.error(4, f"the file identifier {identifier.decode()}", repr(found)[1:])
        return Table(self, self.follow(0, "the root table"), "the root table")


class Table:
    """One table. Fields are asked for by slot; one that is absent has its default."""

    def __init__(self, flat: Flat, at: int, what: str) -> None:
        flat.inside(at, 4, what)
        vtable = at - int(flat.read("int", at))
        flat.inside(vtable, 4, f"the vtable of {what}")
        slots_end, size = int(flat.read("ushort", vtable)), int(flat.read("ushort", vtable + 2))
        if slots_end < 4 or slots_end % 2:
            raise flat.error(vtable, f"an even size of at least 4 for the vtable of {what}", str(slots_end))
        if size < 4:
            raise flat.error(vtable + 2, f"at least 4 bytes for {what}", str(size))
        flat.inside(vtable, slots_end, f"the vtable of {what}")
        flat.inside(at, size, what)
        flat.charge(TABLE_BYTES, at, what)
        self.flat, self.at, self.what = flat, at, what
        self._vtable, self._slots, self._size = vtable, (slots_end - 4) // 2, size

    def field(self, slot: int, count: int) -> int | None:
        """Where field `slot` of `count` bytes lies; None when the table leaves it out."""
        if slot >= self._slots:
            return None
        place = self._vtable + 4 + 2 * slot
        offset = int(self.flat.read("ushort", place))
        if offset == 0:
            return None
        if offset < 4 or offset + count > self._size:
            expected = f"field {slot} within the {self._size} bytes of {self.what}"
            raise self.flat.error(place, expected, f"{count} bytes at {offset}")
        return self.at + offset

    def has(self, slot: int) -> bool:
        return self.field(slot, 1) is not None

    def scalar(self, slot: int, kind: str, default: Scalar = 0) -> Scalar:
        """Scalar field of type `kind` of the schema."""
        at = self.field(slot, SCALARS[kind].bytewidth)  # type: ignore[attr-defined]
        if at is None:
            return default
        return self.flat.read(kind, at)

    def integer(self, slot: int, kind: str, default: int = 0) -> int:
        return int(self.scalar(slot, kind, default))

    def table(self, slot: int, what: str) -> Table | None:
        """The table that field `slot` points to."""
        at = self.field(slot, 4)
        return None if at is None else Table(self.flat, self.flat.follow(at, what), what)

    def _vector(self, slot: int, width: int, what: str) -> tuple[int, int]:
        """First byte and number of elements of the vector in field `slot`; (0, 0) when it is left out."""
        at = self.field(slot, 4)
        if at is None:
            return 0, 0
        start = self.flat.follow(at, what)
        self.flat.inside(start, 4, f"the length of {what}")
        length = int(self.flat.read("uint", start))
        self.flat.inside(start + 4, length * width, f"{what} of {length} elements")
        return start + 4, length

    def array(self, slot: int, kind: str, what: str) -> npt.NDArray[np.generic]:
        """A vector of scalars as a view of the file, empty when the table leaves it out."""
        dtype = DTYPES[kind]
        start, length = self._vector(slot, dtype.itemsize, what)
        return self.flat.data[start : start + length * dtype.itemsize].view(dtype)

    def place(self, slot: int, what: str) -> int:
        """The first byte of the vector in field `slot`, for messages."""
        return self._vector(slot, 1, what)[0]

    def ints(self, slot: int, what: str, kind: str = "int") -> tuple[int, ...]:
        """A vector of integers."""
        values = self.array(slot, kind, what)
        self.flat.charge(values.size * ELEMENT_BYTES, self.at, what)
        return tuple(int(value) for value in values.tolist())

    def floats(self, slot: int, what: str) -> tuple[float, ...]:
        """A vector of float32."""
        values = self.array(slot, "float", what)
        self.flat.charge(values.size * ELEMENT_BYTES, self.at, what)
        return tuple(float(value) for value in values.tolist())

    def raw(self, slot: int, what: str) -> bytes:
        """A vector of bytes, copied."""
        values = self.array(slot, "ubyte", what)
        self.flat.charge(values.size, self.at, what)
        return values.tobytes()

    def text(self, slot: int, what: str) -> str:
        """A string, '' when left out; what is not UTF-8 becomes U+FFFD, as names are for people."""
        start, length = self._vector(slot, 1, what)
        self.flat.charge(4 * length, self.at, what)
        return self.flat.data[start : start + length].tobytes().decode("utf-8", "replace")

    def count(self, slot: int, what: str) -> int:
        """The number of tables in the vector of tables in field `slot`."""
        return self._vector(slot, 4, what)[1]

    def tables(self, slot: int, what: str, limit: int) -> Iterator[Table]:
        """The tables that field `slot` holds, at most `limit`. Raises FormatError when there are more."""
        start, length = self._vector(slot, 4, what)
        if length > limit:
            raise self.flat.error(start - 4, f"at most {limit} {what}", str(length))
        for i in range(length):
            at = start + 4 * i
            yield Table(self.flat, self.flat.follow(at, f"{what} {i}"), f"{what} {i}")

    def texts(self, slot: int, what: str, limit: int) -> tuple[str, ...]:
        """The strings that field `slot` holds, at most `limit`."""
        start, length = self._vector(slot, 4, what)
        if length > limit:
            raise self.flat.error(start - 4, f"at most {limit} {what}", str(length))
        found = []
        for at in range(start, start + 4 * length, 4):
            string = self.flat.follow(at, what)
            self.flat.inside(string, 4, what)
            size = int(self.flat.read("uint", string))
            self.flat.inside(string + 4, size, what)
            self.flat.charge(4 * size + ELEMENT_BYTES, at, what)
            found.append(self.flat.data[string + 4 : string + 4 + size].tobytes().decode("utf-8", "replace"))
        return tuple(found)
