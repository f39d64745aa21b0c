"""`block`, `block16`: convolution weights as the blocks that are not zero (rules F47, F55).

A cell is 4 consecutive input channels in int8, or one in float32, of one output channel and one tap: 4 bytes. A
block is the same cell of r consecutive output channels. With r = 1 two rows share the cells that both have.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from edgert.errors import FormatError
from edgert.format.encodings.base import PartSpec, check_scale
from edgert.format.encodings.cells import MAX_BLOCKS, Cells, Places
from edgert.format.encodings.dense import encode_dense
from edgert.format.encodings.f16 import encode_f16
from edgert.format.encodings.q8 import Q8_LIMIT, encode_q8, row_sums
from edgert.format.encodings.sparse import Sparse, check_start
from edgert.graph.ir import Array

MAX_NARROW_CELLS = 256
"""Of a filter, for numbers of a byte."""


class BlockSparse(Sparse):
    """`start` uint32, `index` uint16 [blocks], `data` [blocks][r][cell]; for int8 also `scale` and `sum` as in `q8`.

    start: [N/r + 1], the first block of each group of r rows. In pairs: [N/2 + 1][4], where the blocks of both rows,
    of the first alone, of the second alone begin, and where their data does; `data` is then [cells][cell].
    index: the number of the cell, tap * cells of a tap + cell, rising in a group, or in each segment of a pair.
    """

    name = "block"

    def part_specs(self, dtype: str, shape: tuple[int, ...], layout: str, axis: int | None) -> tuple[PartSpec, ...]:
        cells = Cells.of(dtype, shape, layout)
        cell = (cells.columns,) if dtype == "int8" else ()
        if cells.paired:
            blocks, items = cells.pairs * cells.number, 2 * cells.pairs * cells.number
            start = PartSpec("start", "uint32", (cells.pairs + 1, 4))
        else:
            blocks = items = cells.groups * cells.number
            start = PartSpec("start", "uint32", (cells.groups + 1,))
            cell = (cells.rows, *cell)
        parts = (
            start,
            PartSpec("index", "uint16", (min(blocks, MAX_BLOCKS),), free=0),
            PartSpec("data", dtype, (min(items, MAX_BLOCKS), *cell), free=0),
        )
        if dtype == "float32":
            return parts
        return *parts, PartSpec("scale", "float32", shape[:1]), PartSpec("sum", "int32", shape[:1])

    def check_sizes(self, specs: tuple[PartSpec, ...]) -> None:
        start, index, data = specs[:3]
        least, found = index.shape[0], data.shape[0]
        most = 2 * least if len(start.shape) == 2 else least
        if not least <= found <= most:
            wanted = f"{least}" if most == least else f"{least} to {most}"
            raise FormatError(None, None, f"{wanted} items of `data` for {least} blocks in `index`", str(found))

    def check_part(self, dtype: str, shape: tuple[int, ...], layout: str, role: str, array: Array) -> None:
        if role == "scale":
            check_scale(array)

    def check_whole(self, shape: tuple[int, ...], layout: str, parts: Mapping[str, Array]) -> None:
        start, index, data = parts["start"], parts["index"], parts["data"]
        cells = _cells(data.dtype.name, shape, layout)
        if index.size and int(index.max()) >= cells.number:
            raise FormatError(None, None, f"cells below {cells.number} in `index`", str(index.max()))
        if cells.paired:
            _check_pairs(start, index, len(data), cells)
        else:
            check_start(start, len(index), "blocks of `index`")
            _check_rising(start, index)
        places = cells.places(start, index)
        items = data.reshape(len(places.cell), cells.rows, cells.columns)
        rows, columns = shape[0] % cells.rows, shape[1] % cells.columns
        if rows and items[places.group == cells.groups - 1, rows:].any():
            raise FormatError(None, None, "zeros in `data` beyond the last output channel", "other values")
        if columns and items[places.cell % cells.across == cells.across - 1, :, columns:].any():
            raise FormatError(None, None, "zeros in `data` beyond the last input channel", "other values")
        if data.dtype == np.int8:
            _check_values(items, places, parts["sum"], cells)

    def decode(self, dtype: str, shape: tuple[int, ...], layout: str, parts: Mapping[str, Array]) -> Array:
        data = parts["data"]
        cells = _cells(data.dtype.name, shape, layout)
        places = cells.places(parts["start"], parts["index"])
        blocks = np.zeros((cells.groups, cells.number, cells.rows, cells.columns), data.dtype)
        blocks[places.group, places.cell] = data.reshape(len(places.cell), cells.rows, cells.columns)
        return cells.join(blocks)

    def pattern(self, layout: str, specs: tuple[PartSpec, ...]) -> str:
        return layout.removeprefix("b")

    def density(self, shape: tuple[int, ...], layout: str, specs: tuple[PartSpec, ...]) -> float:
        data = specs[2]
        cells = _cells(data.dtype, shape, layout)
        return data.shape[0] / max(1, cells.groups * cells.number)

    def twin(self, dtype: str, layout: str) -> tuple[str, str]:
        return ("q8", "n4k4") if dtype == "int8" else ("dense", "n4k1")

    def expand(
        self, dtype: str, shape: tuple[int, ...], layout: str, parts: Mapping[str, Array]
    ) -> Mapping[str, Array]:
        values = self.decode(dtype, shape, layout, parts)
        return encode_q8(values, parts["scale"], "n4k4") if dtype == "int8" else encode_dense(values, "n4k1")

    def encode(self, values: Array, scale: Array | None, layout: str) -> dict[str, Array]:
        """The parts from int8 `values` [N, C, ...] of at least -127 with `scale` float32 [N] or [], or from float32.

        Raises FormatError if they break a rule of the encoding.
        """
        cells = Cells.of(values.dtype.name, values.shape, layout)
        if (scale is not None) != (values.dtype == np.int8):
            raise FormatError(None, None, f"a scale for int8 and none for float32 in layout {layout}", "the other")
        blocks = cells.cut(values)
        start, index = cells.table(np.any(blocks, axis=(2, 3)))
        places = cells.places(start, index)
        data = blocks[places.group, places.cell]
        if cells.paired:
            data = data[:, 0]
        if scale is None:
            return {"start": start, "index": index, "data": data[..., 0]}
        if values.size and int(values.min()) < -Q8_LIMIT:
            raise FormatError(None, None, f"block values of at least {-Q8_LIMIT}", str(values.min()))
        rows = np.array(np.broadcast_to(np.asarray(scale, np.float32), values.shape[:1]))
        check_scale(rows)
        return {"start": start, "index": index, "data": data, "scale": rows, "sum": row_sums(values)}


class Block16(BlockSparse):
    """`block` for float32 weights that are float16 numbers: `data` float16, `index` uint8 where cells are so few."""

    name = "block16"
    wide = BlockSparse.name

    def part_specs(self, dtype: str, shape: tuple[int, ...], layout: str, axis: int | None) -> tuple[PartSpec, ...]:
        if dtype != "float32":
            raise FormatError(None, None, f"float32 for encoding {self.name}", dtype)
        start, index, data = super().part_specs(dtype, shape, layout, axis)
        number = _index_type(Cells.of(dtype, shape, layout))
        return start, replace(index, dtype=number), replace(data, dtype="float16")

    def decode(self, dtype: str, shape: tuple[int, ...], layout: str, parts: Mapping[str, Array]) -> Array:
        return super().decode(dtype, shape, layout, parts).astype(np.float32)

    def widen(self, parts: Mapping[str, Array]) -> dict[str, Array]:
        data, index = parts["data"].astype(np.float32), parts["index"].astype(np.uint16)
        return {"start": parts["start"], "index": index, "data": data}

    def encode(self, values: Array, scale: Array | None, layout: str) -> dict[str, Array]:
        """The parts from floating-point `values` [N, C, ...], rounded to nearest even, and no scale.

        Raises FormatError if they break a rule of the encoding or are beyond the range of half precision.
        """
        rounded = encode_f16(values)["data"].astype(np.float32)
        parts = super().encode(rounded, scale, layout)
        number = _index_type(Cells.of("float32", values.shape, layout))
        return parts | {"index": parts["index"].astype(number), "data": parts["data"].astype(np.float16)}


def _cells(stored: str, shape: tuple[int, ...], layout: str) -> Cells:
    """The geometry of weights whose `data` has the dtype `stored`."""
    return Cells.of("float32" if stored == "float16" else stored, shape, layout)


def _index_type(cells: Cells) -> str:
    """The type that holds the number of a cell in `block16`."""
    return "uint8" if cells.number <= MAX_NARROW_CELLS else "uint16"


def _check_rising(edges: Array, index: Array) -> None:
    """Raises FormatError unless `index` rises strictly between `edges`, which never fall."""
    rising = index[1:] > index[:-1]
    inner = edges[(edges > 0) & (edges < len(index))].astype(np.int64)
    rising[inner - 1] = True
    if not rising.all():
        raise FormatError(None, None, "cells of `index` that rise in each group of rows", "one that does not")


def _check_pairs(start: Array, index: Array, items: int, cells: Cells) -> None:
    """Raises FormatError unless `start` and `index` say where the blocks and `items` of data of pairs of rows are."""
    edges = start[:, :3].reshape(-1)
    check_start(edges, len(index), "blocks of `index`")
    if (start[-1, :3] != len(index)).any():
        raise FormatError(None, None, f"{len(index)} three times in the last row of `start`", str(start[-1, :3]))
    check_start(start[:, 3], items, "cells of `data`")
    segments = cells.segments(start)
    counts = np.bincount(segments, minlength=3 * cells.pairs).reshape(-1, 3)
    if (np.diff(start[:, 3].astype(np.int64)) != counts @ np.array([2, 1, 1])).any():
        raise FormatError(
            None, None, "two cells of `data` for a block of both rows, one for each other", "other counts"
        )
    if cells.shape[0] % 2 and counts[-1, [0, 2]].any():
        raise FormatError(None, None, "no blocks of a row beyond the last output channel", "some")
    _check_rising(edges, index)
    # Sorted by pair and cell, for a cell has one place in a pair.
    keys = np.sort(segments // 3 << 16 | index)
    if (keys[1:] == keys[:-1]).any():
        raise FormatError(None, None, "each cell in one segment of a pair", "a cell twice")


def _check_values(items: Array, places: Places, sums: Array, cells: Cells) -> None:
    """Raises FormatError unless int8 `items` are in range and `sums` are those of the rows."""
    if items.size and int(items.min()) < -Q8_LIMIT:
        raise FormatError(None, None, f"block values of at least {-Q8_LIMIT}", str(items.min()))
    found = np.zeros((cells.groups, cells.rows), np.int64)
    np.add.at(found, places.group, items.sum(axis=2, dtype=np.int64))
    if not np.array_equal(found.reshape(-1)[: len(sums)], sums):
        raise FormatError(None, None, "`sum` of block equal to the sums of the rows", "other values")
