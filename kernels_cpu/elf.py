"""Reads an ELF library as data: header, segments, dynamic section and symbols, 32-bit or 64-bit, little-endian.

Every offset is checked against the file, so that a damaged one is an error and no crash. What a kernel library must be
is in aot_elf.py (when it is built) and installed.py (before it is loaded).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from edgert.errors import KernelError

ARCHITECTURES = {(62, 64): "x86_64", (183, 64): "aarch64", (40, 32): "armv7"}
"""(e_machine, bits) -> the architecture's name as levels.py has it."""
SHARED = 3
"""e_type of a shared library."""
_LOAD, _DYNAMIC = 1, 2
_HASH, _STRINGS, _SYMBOLS = 4, 5, 6


@dataclass(frozen=True)
class Segment:
    """A program header: what of the file lies where in memory. Bytes."""

    kind: int
    flags: int
    offset: int
    address: int
    in_file: int
    in_memory: int
    align: int


@dataclass(frozen=True)
class Elf:
    """A library's parts, found in `data`."""

    data: bytes
    bits: int
    machine: int
    segments: tuple[Segment, ...]
    dynamic: dict[int, int]
    """Tag -> value; of tags that come twice, the last."""

    @property
    def arch(self) -> str:
        return ARCHITECTURES.get((self.machine, self.bits), f"ELF machine {self.machine} with {self.bits} bits")

    def symbol(self, name: str, nbytes: int) -> bytes | None:
        """The first `nbytes` of the exported object `name`, or None if the library has none. Raises KernelError."""
        for found, section, value in self.symbols():
            if section and found == name:
                place = self.place(value)
                if place + nbytes > len(self.data):
                    raise KernelError(f"{name} lies after the end of the file")
                return self.data[place : place + nbytes]
        return None

    def symbols(self) -> Iterator[tuple[str, int, int]]:
        """(name, section, value) of each dynamic symbol; section 0: to come from elsewhere. Raises KernelError."""
        if not self.dynamic.keys() >= {_HASH, _STRINGS, _SYMBOLS}:
            raise KernelError("it has no table of symbols with a DT_HASH")
        strings, symbols = self.place(self.dynamic[_STRINGS]), self.place(self.dynamic[_SYMBOLS])
        (count,) = _read("<I", self.data, self.place(self.dynamic[_HASH]) + 4)
        size = 24 if self.bits == 64 else 16
        if symbols + size * count > len(self.data):
            raise KernelError(f"its table of {count} symbols ends after the file")
        for at in range(symbols + size, symbols + size * count, size):
            # 64 bits: name, info, other, section, value, size; 32 bits: name, value, size, info, other, section.
            fields = _read("<IBBHQQ" if self.bits == 64 else "<IIIBBH", self.data, at)
            value, section = (fields[4], fields[3]) if self.bits == 64 else (fields[1], fields[5])
            start = strings + fields[0]
            end = self.data.find(b"\0", start)
            yield self.data[start : max(start, end)].decode("ascii", "backslashreplace"), section, value

    def place(self, address: int) -> int:
        """Where in the file a memory address lies."""
        for segment in self.segments:
            if segment.kind == _LOAD and segment.address <= address < segment.address + segment.in_file:
                return segment.offset + address - segment.address
        raise KernelError(f"address {address:#x} lies outside its segments")


def read_elf(data: bytes) -> Elf:
    """The parts of the ELF library `data`. Raises KernelError: not ELF, big-endian, or cut off."""
    if data[:4] != b"\x7fELF":
        raise KernelError(f"expected an ELF library, found a file that begins with {data[:4]!r}")
    if len(data) < 64:
        raise KernelError(f"it is cut off after {len(data)} bytes")
    if data[4] not in (1, 2) or data[5] != 1:
        raise KernelError(f"expected ELF of 32 or 64 bits, little-endian; found class {data[4]}, order {data[5]}")
    wide = data[4] == 2
    kind, machine = _read("<HH", data, 16)
    if kind != SHARED:
        raise KernelError(f"expected a shared library (ELF type {SHARED}), found ELF type {kind}")
    (table,) = _read("<Q", data, 32) if wide else _read("<I", data, 28)
    size, count = _read("<HH", data, 54 if wide else 42)
    segments = tuple(_segment(data, table + index * size, wide) for index in range(count))
    end = max((segment.offset + segment.in_file for segment in segments), default=0)
    if end > len(data):
        raise KernelError(f"it is cut off: expected {end} bytes or more, found {len(data)}")
    dynamic: dict[int, int] = {}
    for segment in segments:
        if segment.kind == _DYNAMIC:
            pair = "<QQ" if wide else "<II"
            whole = segment.in_file - segment.in_file % struct.calcsize(pair)
            dynamic = dict(struct.iter_unpack(pair, data[segment.offset : segment.offset + whole]))
    return Elf(data, 64 if wide else 32, machine, segments, dynamic)


def _segment(data: bytes, at: int, wide: bool) -> Segment:
    if wide:
        kind, flags, offset, address, _, in_file, in_memory, align = _read("<IIQQQQQQ", data, at)
    else:
        kind, offset, address, _, in_file, in_memory, flags, align = _read("<IIIIIIII", data, at)
    return Segment(kind, flags, offset, address, in_file, in_memory, align)


def _read(form: str, data: bytes, at: int) -> tuple[int, ...]:
    if at + struct.calcsize(form) > len(data):
        raise KernelError(f"it is cut off: expected {at + struct.calcsize(form)} bytes or more, found {len(data)}")
    return struct.unpack_from(form, data, at)
