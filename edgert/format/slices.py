"""Rows of a stored matrix as tensors of their own, without a copy: views of its parts, and places in its file.

Which matrices are cut, and where, is plan/split.py's business.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import cached_property
from math import prod

import numpy as np

from edgert.errors import FormatError
from edgert.format import encodings
from edgert.format.crc import combined
from edgert.format.encodings import PartSpec
from edgert.format.encodings.ragged import UNIT
from edgert.format.encodings.sparse import check_start
from edgert.format.layouts import is_n_of_m
from edgert.format.model import StoredTensor
from edgert.format.parts import FilePart, Parts
from edgert.format.reader import located
from edgert.graph.ir import DTYPES, Array, Quantization

BLOCK_ROWS = {"n16k64": 16, "n16k1": 16, "n16k4": 16, "n16": 16, "n32k64": 32}
"""Layouts whose parts are blocks of so many rows, one after the other."""

_BY_ROW = ("scale", "sum")
"""Parts with a number for each row, where others have one for each block of rows."""


def why_not(stored: StoredTensor) -> str:
    """Why `stored` can not be cut along its rows; '' if it can."""
    if len(stored.shape) != 2:
        return f"{len(stored.shape)} dimensions: only matrices are cut along their rows"
    if stored.encoding == "dense" and stored.quant is not None:
        return "dense quantized weights are packed when planned"
    if not block_rows(stored.layout):
        return f"layout {stored.layout} has no blocks of rows: kernels pack it when planned"
    return ""


def block_rows(layout: str) -> int:
    """Rows of the blocks of `layout`; 0 if it has none."""
    return 16 if is_n_of_m(layout) else BLOCK_ROWS.get(layout, 0)


def row_slices(stored: StoredTensor, edges: Sequence[int], names: Sequence[str]) -> list[StoredTensor]:
    """Rows edges[i] .. edges[i + 1] of the matrix `stored` as tensor names[i]; the edges are multiples of block_rows,
    but for the last, which is the number of rows.

    Raises FormatError if `stored` is damaged where its blocks begin, ValueError if it can not be cut so.
    """
    rows = block_rows(stored.layout)
    if why_not(stored) or any(edge % rows for edge in edges[:-1]) or (edges[0], edges[-1]) != (0, stored.shape[0]):
        raise ValueError(f"{stored.name!r}: {why_not(stored) or f'expected edges by {rows} rows, found {list(edges)}'}")
    matrix = _Matrix(stored, tuple(edges))
    slices = []
    for index, name in enumerate(names):
        parts = RowSlice(matrix, index, name)
        first, last = parts.rows
        quant = stored.quant
        if quant is not None and not quant.per_tensor:
            quant = Quantization(quant.scale[first:last], quant.zero_point[first:last], quant.axis)
        shape = (last - first, stored.shape[1])
        slices.append(StoredTensor(name, stored.dtype, shape, stored.encoding, stored.layout, quant, parts))
    return slices


class _Matrix:
    """What the slices of one matrix share. crcs: role -> index of the slice -> CRC-32 of its bytes, of those that
    were read."""

    def __init__(self, stored: StoredTensor, edges: tuple[int, ...]) -> None:
        self.stored, self.edges = stored, edges
        self.specs = {spec.role: spec for spec in stored.specs}
        self.crcs: dict[str, dict[int, int]] = {role: {} for role in self.specs}

    @cached_property
    def start(self) -> Array | None:
        """Where each row of blocks begins in `data`, int64 in bytes, for blocks of various lengths."""
        if "start" not in self.specs:
            return None
        start = self.taken("start")
        check_start(start, self.specs["data"].nbytes // UNIT, f"times {UNIT} bytes of `data`")
        return start.astype(np.int64) * UNIT

    def taken(self, role: str) -> Array:
        """A part for what it says by itself: where parts lie in a file, no other one is read."""
        parts = self.stored.parts
        return parts.alone(role) if isinstance(parts, Parts) else parts[role]

    def extent(self, role: str, index: int) -> tuple[int, int]:
        """Which items of the first axis of part `role` slice `index` has."""
        first, last = self.edges[index : index + 2]
        rows, height = self.stored.shape[0], block_rows(self.stored.layout)
        if role in _BY_ROW and self.specs[role].shape[0] == rows:
            return first, last
        first, last = first // height, -(-last // height)
        if role == "start":
            return first, last + 1
        if role == "data" and self.start is not None:
            return int(self.start[first]), int(self.start[last])
        return first, last


class RowSlice(Parts):
    """The parts of some rows. The bytes of the file are checked as they arrive: when those of all slices have, against
    the checksum of the whole part, and from then on each slice against what it was."""

    def __init__(self, matrix: _Matrix, index: int, name: str) -> None:
        self._matrix, self._index, self._name = matrix, index, name
        self.specs = tuple(self._spec(spec) for spec in matrix.stored.specs)

    @property
    def rows(self) -> tuple[int, int]:
        """The first row, and the one after the last."""
        return self._matrix.edges[self._index], self._matrix.edges[self._index + 1]

    def __getitem__(self, role: str) -> Array:
        return self._cut(role, self._matrix.stored.parts[role])

    def alone(self, role: str) -> Array:
        return self._cut(role, self._matrix.taken(role))

    def place(self, role: str) -> FilePart | None:
        """Where the file has it; `start` is None, as its numbers are other ones. crc32 is that of the whole part."""
        parts = self._matrix.stored.parts
        whole = parts.place(role) if isinstance(parts, Parts) and role != "start" else None
        if whole is None:
            return None
        first, last = self._matrix.extent(role, self._index)
        item = _item_bytes(self._matrix.specs[role])
        return replace(whole, offset=whole.offset + first * item, nbytes=(last - first) * item, tensor=self._name)

    def check_arrived(self, arrived: Mapping[str, Array], *, crc: bool) -> None:
        """As the base class says; parts of a sparse tensor that are missing in `arrived` are taken from the matrix."""
        stored, shape = self._matrix.stored, (self.rows[1] - self.rows[0], self._matrix.stored.shape[1])
        parts: dict[str, Array] = {}
        for spec in self.specs:
            if spec.role in arrived:
                content = arrived[spec.role]
                if crc:
                    self._compare(spec.role, zlib.crc32(content.data))
                parts[spec.role] = content.view(DTYPES[spec.dtype].newbyteorder("<")).reshape(spec.shape)
                with self._located(spec.role):
                    encodings.check_part(
                        stored.encoding, stored.dtype, shape, stored.layout, spec.role, parts[spec.role]
                    )
        if encodings.sparse_of(stored.encoding) is not None:
            whole = {role: parts[role] if role in parts else self.alone(role) for role in self}
            with self._located(self.specs[-1].role):
                encodings.check_whole(stored.encoding, shape, stored.layout, whole)

    def _compare(self, role: str, found: int) -> None:
        """Raises FormatError unless the slice is what it was, and all slices together what the file promises."""
        matrix, place = self._matrix, self.place(role)
        if place is None:
            return
        known, count = matrix.crcs[role], len(matrix.edges) - 1
        expected = known.setdefault(self._index, found)
        if found == expected and len(known) == count:
            item = _item_bytes(matrix.specs[role])
            extents = [matrix.extent(role, index) for index in range(count)]
            pieces = [(known[index], (last - first) * item) for index, (first, last) in enumerate(extents)]
            found, expected = combined(pieces), place.crc32
        if found != expected:
            known.clear()
            raise FormatError(
                place.file, place.offset, f"CRC-32 {expected:#010x} of {matrix.stored.name!r} {role}", f"{found:#010x}",
                "the file is damaged: copy or convert it again",
            )  # fmt: skip

    def _located(self, role: str) -> AbstractContextManager[None]:
        place = self.place(role)
        if place is None:
            return located(None, None, self._matrix.stored.name)
        return located(place.file, place.offset, self._matrix.stored.name)

    def _spec(self, spec: PartSpec) -> PartSpec:
        first, last = self._matrix.extent(spec.role, self._index)
        return PartSpec(spec.role, spec.dtype, (last - first, *spec.shape[1:]))

    def _cut(self, role: str, whole: Array) -> Array:
        first, last = self._matrix.extent(role, self._index)
        part = whole[first:last]
        return part - part[0] if role == "start" else part


def _item_bytes(spec: PartSpec) -> int:
    return prod(spec.shape[1:]) * DTYPES[spec.dtype].itemsize
