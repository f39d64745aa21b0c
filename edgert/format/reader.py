"""Opens a `.edge` file: parse, validate, expose. Nothing a file claims is believed before it is checked.

The structure is judged when the file is opened, the bytes of each part when it is first taken (rules F1,
F6 to F9, F27 to F33). Nothing is copied: parts are read-only views of the mapped file.
"""

from __future__ import annotations

import mmap
import os
import stat
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import numpy as np

from edgert.errors import FormatError
from edgert.format import encodings
from edgert.format.header import header_from
from edgert.format.limits import PRELUDE_BYTES, aligned
from edgert.format.model import Model, StoredTensor
from edgert.format.parts import FilePart, Parts
from edgert.format.prelude import Prelude
from edgert.format.tensor_fields import PartEntry, TensorEntry
from edgert.graph.ir import DTYPES, Array, Quantization

LARGE = 64 << 20
"""Bytes of a file of which the parts that are taken at once are read without what lies around them: a system that reads
megabytes ahead of each would read all of it. Smaller files are read the faster for that."""
_DAMAGED = "the file is damaged: copy or convert it again"


def read_model(path: str | os.PathLike[str], *, verify: Literal["touch", "all"] = "touch") -> Model:
    """Maps the model file at `path`. Raises FormatError, and nothing else, if it is not a valid one.

    verify: 'touch' checks the bytes of each part when it is first taken from StoredTensor.parts; 'all'
    checks every part now, and the row sums of q8. The mapping lives as long as an array that views it.
    The file must not be changed in place meanwhile; write_model replaces files, which is safe.
    """
    if verify not in ("touch", "all"):
        raise ValueError(f"verify must be 'touch' or 'all', not {verify!r}")
    file = Path(path)
    mapping, prelude = _map(file)
    if verify == "touch" and len(mapping) >= LARGE:
        _advise(mapping, "MADV_RANDOM")
    data = mapping[PRELUDE_BYTES : PRELUDE_BYTES + prelude.header_length]
    if (crc := zlib.crc32(data)) != prelude.header_crc32:
        raise FormatError(file, PRELUDE_BYTES, f"header CRC-32 {prelude.header_crc32:#010x}", f"{crc:#010x}", _DAMAGED)
    _check_zero(mapping, PRELUDE_BYTES + len(data), prelude.data_offset, file)
    header = header_from(data, prelude.data_length, file)
    model = Model(header.graph, {}, header.info, header.source, header.report, header.producer)
    graphs = (header.graph, *header.graph.bodies())
    every_used = [graph.used() for graph in graphs]
    for entry in header.tensors:
        tensor = _expose(entry, MappedParts(file, mapping, prelude.data_offset, entry))
        model.tensors[entry.name] = tensor
        model.graph.types[entry.name] = tensor.type
        for graph, used in zip(graphs, every_used, strict=True):
            if entry.name in used:
                graph.types[entry.name] = tensor.type
                if entry.encoding == "dense" and entry.layout == "row":
                    graph.constants[entry.name] = tensor.parts["data"]
        if verify == "all":
            check_tensor(tensor, file)
    model.graph.initial = {past: model.tensors[name].dense() for past, name in header.initial.items()}
    _advise(mapping, "MADV_NORMAL")
    return model


class MappedParts(Parts):
    """The parts of one tensor: role -> a read-only view of the file, checked when first taken.

    Those of a sparse tensor point into each other: they are checked together, when the first of them is taken.
    """

    def __init__(self, file: Path, mapping: mmap.mmap, data_offset: int, entry: TensorEntry) -> None:
        self._file, self._mapping, self._data_offset, self._entry = file, mapping, data_offset, entry
        self._entries = {part.spec.role: part for part in entry.parts}
        self._checked: dict[str, Array] = {}
        self.specs = tuple(part.spec for part in entry.parts)

    def __getitem__(self, role: str) -> Array:
        if role not in self._checked:
            if encodings.sparse_of(self._entry.encoding) is None:
                self._checked[role] = self.alone(role)
            else:
                self._checked = self._together()
        return self._checked[role]

    def alone(self, role: str) -> Array:
        return self._check(self._entries[role])

    def place(self, role: str) -> FilePart:
        part = self._entries[role]
        start = self._data_offset + part.offset
        return FilePart(self._file, start, part.spec.nbytes, part.crc32, self._entry.name, role)

    def drop_pages(self) -> bool:
        if hasattr(mmap, "MADV_DONTNEED"):
            self._mapping.madvise(mmap.MADV_DONTNEED)
        return True

    def check_arrived(self, arrived: Mapping[str, Array], *, crc: bool) -> None:
        """As the base class says; parts of a sparse tensor that are missing in `arrived` are taken from the mapping."""
        parts = {}
        for role, content in arrived.items():
            entry = self._entries[role]
            if crc:
                self._compare(entry, zlib.crc32(content.data))
            parts[role] = content.view(DTYPES[entry.spec.dtype].newbyteorder("<")).reshape(entry.spec.shape)
            self._check_values(entry, parts[role])
        if encodings.sparse_of(self._entry.encoding) is not None:
            self._check_together({role: parts[role] if role in parts else self.alone(role) for role in self._entries})

    def _together(self) -> dict[str, Array]:
        parts = {role: self.alone(role) for role in self._entries}
        self._check_together(parts)
        return parts

    def _check_together(self, parts: Mapping[str, Array]) -> None:
        entry = self._entry
        with located(self._file, self._data_offset + entry.parts[0].offset, entry.name):
            encodings.check_whole(entry.encoding, entry.shape, entry.layout, parts)

    def _check(self, part: PartEntry) -> Array:
        spec, start = part.spec, self._data_offset + part.offset
        end = start + spec.nbytes
        with memoryview(self._mapping) as view, view[start:end] as content:
            self._compare(part, zlib.crc32(content))
        _check_zero(self._mapping, end, aligned(end), self._file)
        array: Array = np.ndarray(spec.shape, DTYPES[spec.dtype].newbyteorder("<"), self._mapping, start)
        self._check_values(part, array)
        return array

    def _compare(self, part: PartEntry, crc: int) -> None:
        if crc != part.crc32:
            raise FormatError(
                self._file, self._data_offset + part.offset,
                f"CRC-32 {part.crc32:#010x} of {self._entry.name!r} {part.spec.role}", f"{crc:#010x}", _DAMAGED,
            )  # fmt: skip

    def _check_values(self, part: PartEntry, array: Array) -> None:
        entry = self._entry
        with located(self._file, self._data_offset + part.offset, entry.name):
            encodings.check_part(entry.encoding, entry.dtype, entry.shape, entry.layout, part.spec.role, array)


def check_tensor(tensor: StoredTensor, file: Path | None) -> None:
    """Takes, and so checks, every part of `tensor`, and what holds between them. Raises FormatError."""
    parts = {role: tensor.parts[role] for role in tensor.parts}
    if isinstance(tensor.parts, MappedParts) and encodings.sparse_of(tensor.encoding) is not None:
        return
    with located(file, None, tensor.name):
        encodings.check_whole(tensor.encoding, tensor.shape, tensor.layout, parts)


@contextmanager
def located(file: Path | None, offset: int | None, name: str) -> Iterator[None]:
    """Gives a FormatError from inside its file, byte offset and tensor."""
    try:
        yield
    except FormatError as error:
        raise FormatError(file, offset, f"tensor {name!r} with {error.expected}", error.found, error.hint) from None


def _expose(entry: TensorEntry, parts: MappedParts) -> StoredTensor:
    quant = entry.quant
    if entry.encoding in ("q8", "block") and entry.dtype == "int8":
        quant = Quantization(parts.alone("scale"), np.zeros(entry.shape[0], np.int32), 0)
    elif entry.axis is not None:
        quant = Quantization(parts["scale"], parts["zero_point"], entry.axis)
    return StoredTensor(entry.name, entry.dtype, entry.shape, entry.encoding, entry.layout, quant, parts)


def _map(file: Path) -> tuple[mmap.mmap, Prelude]:
    """The whole file, mapped for reading, once its prelude and its length are right."""
    expected = "a .edge model file"
    try:
        # Asked before opening, because opening a FIFO waits and opening a device may act.
        if not stat.S_ISREG(file.stat().st_mode):
            raise FormatError(file, None, expected, "something that is not a regular file", "check the path")
        with file.open("rb", buffering=0) as stream:
            size = os.fstat(stream.fileno()).st_size
            if size == 0:
                raise FormatError(file, 0, expected, "an empty file", _DAMAGED)
            prelude = Prelude.unpack(stream.read(PRELUDE_BYTES) or b"", file, size)
            return mmap.mmap(stream.fileno(), size, access=mmap.ACCESS_READ), prelude
    except FileNotFoundError:
        raise FormatError(file, None, expected, "no such file", "check the path") from None
    except (OSError, ValueError, OverflowError) as error:
        found = getattr(error, "strerror", None) or str(error)
        raise FormatError(file, None, f"{expected} that can be read", found, "check the path") from error


def _advise(mapping: mmap.mmap, advice: str) -> None:
    """Tells the system how the file will be read, where it listens."""
    if hasattr(mmap, advice):
        mapping.madvise(getattr(mmap, advice))


def _check_zero(mapping: mmap.mmap, start: int, end: int, file: Path) -> None:
    """Raises FormatError unless the padding in start..end, less than ALIGNMENT bytes, is zero."""
    if any(mapping[start:end]):
        raise FormatError(file, start, "zero bytes up to the next multiple of 64", "other values", _DAMAGED)
