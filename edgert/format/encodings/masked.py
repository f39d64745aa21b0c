"""Blocks of 16 rows x 64 k that begin with a bit for every weight: what the bitmaps and `nm` have in common (F48).

128 bytes of masks, for some 64 bytes of scales, then the numbers that are kept. Masks and numbers go line after line
as the dense twin has its lines; which weights a block keeps is each encoding's own.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from typing import ClassVar

import numpy as np

from edgert.errors import FormatError
from edgert.format.encodings.groups import DEPTH, GROUP, ROWS
from edgert.format.encodings.ragged import POPCOUNT, Block, Blocks, Places, columns_of, gather, scatter
from edgert.format.encodings.sparse import Sparse, blocks_of_scales, check_finite, matrix_of_scales, padded
from edgert.graph.ir import Array

WEIGHTS = ROWS * DEPTH
"""Of a block."""

MASKS = WEIGHTS // 8
SCALES = ROWS * (DEPTH // GROUP) * 2
"""Bytes of a block."""

_PANEL = 1 << 20
"""Weights worked on at once, so that what is needed beside the result is small."""


class Masked(Sparse):
    """step: consecutive k in a line, as in the twin. zero: the number of a weight that is not kept."""

    block: ClassVar[Block]
    step: ClassVar[int]
    number: ClassVar[str]
    """The dtype of the numbers; those of 4 bits are uint8."""
    zero: ClassVar[int] = 0

    @abstractmethod
    def blocks(self, shape: tuple[int, ...], layout: str, parts: Mapping[str, Array]) -> Blocks:
        """Every block. Raises FormatError if they do not fill `data`."""

    @abstractmethod
    def keep(self, rows: Array, layout: str) -> Array:
        """Which of the numbers `rows` [16P, 64B], padding included, are kept: bool."""

    @abstractmethod
    def place(self, kept: Places, layout: str) -> tuple[Places, dict[str, Array]]:
        """Where blocks that keep `kept` [rows, columns] begin, and the parts, `data` being zeros."""

    def check_whole(self, shape: tuple[int, ...], layout: str, parts: Mapping[str, Array]) -> None:
        data = parts["data"].reshape(-1)
        blocks = self.blocks(shape, layout, parts)
        self.block.check_end(data, blocks, self.name)
        rows, depth = shape[0] % ROWS, shape[1] % DEPTH
        self.check_padding(data, Blocks(blocks.first[-1:], blocks.kept[-1:]), rows or ROWS, DEPTH)
        self.check_padding(data, Blocks(blocks.first[:, -1:], blocks.kept[:, -1:]), ROWS, depth or DEPTH)
        if self.block.head > MASKS:
            bits = columns_of(data, blocks.first, MASKS, SCALES).view("<u2")
            scale = bits.reshape(*blocks.first.shape, DEPTH // GROUP, ROWS)
            check_finite(scale, self.name)
            groups = -(-depth // GROUP)
            if (rows and scale[-1:, :, :, rows:].any()) or (depth and scale[:, -1:, groups:].any()):
                raise FormatError(None, None, f"each scale of {self.name} to be 0 in padding", "other values")

    def check_padding(self, data: Array, blocks: Blocks, rows: int, depth: int) -> None:
        """Raises FormatError unless `blocks` keep nothing beyond `rows` and `depth`."""
        masks = self._rows(self._masks(data, blocks.first), blocks.first.shape)
        kept = masks.reshape(blocks.first.shape[0], ROWS, blocks.first.shape[1], DEPTH)
        if kept[:, rows:].any() or kept[..., depth:].any():
            raise FormatError(None, None, f"nothing kept in the padding of {self.name}", "bits that are set there")

    def numbers(self, shape: tuple[int, ...], layout: str, parts: Mapping[str, Array]) -> Array:
        """The numbers [N, K] in the dtype `number`, `zero` where none is kept."""
        data, blocks = parts["data"].reshape(-1), self.blocks(shape, layout, parts)
        numbers = np.full(shape, self.zero, self.number)
        for panel, rows in self._panels(blocks.first.shape):
            found = self._numbers(data, Blocks(blocks.first[panel], blocks.kept[panel]))
            numbers[rows] = found[: shape[0] - rows.start, : shape[1]]
        return numbers

    def scales(self, shape: tuple[int, ...], layout: str, parts: Mapping[str, Array]) -> Array:
        """float16 [N, K/32]."""
        first = self.blocks(shape, layout, parts).first
        bits = columns_of(parts["data"].reshape(-1), first, MASKS, SCALES)
        return matrix_of_scales(bits.view("<f2").reshape(*first.shape, DEPTH // GROUP, ROWS), shape)

    def fill(self, numbers: Array, scale: Array | None, layout: str) -> dict[str, Array]:
        """The parts from `numbers` [N, K] and the scales, whose types and sizes are right."""
        shape = -(-numbers.shape[0] // ROWS), -(-numbers.shape[1] // DEPTH)
        masks = np.zeros((*shape, MASKS), np.uint8)
        kept: list[Array] = []
        for panel, rows in self._panels(shape):
            part = padded(numbers[rows], len(masks[panel]) * ROWS, shape[1] * DEPTH, self.zero)
            lines = self._lines(self.keep(part, layout))
            masks[panel] = np.packbits(lines, axis=-1, bitorder="little").reshape(*masks[panel].shape)
            kept.append(self._lines(part)[lines])
        counts = POPCOUNT[masks].sum(axis=-1, dtype=np.int64)
        first, parts = self.place(counts, layout)
        data = parts["data"].reshape(-1)
        data[first[..., None] + np.arange(MASKS)] = masks
        if scale is not None:
            bits = np.ascontiguousarray(blocks_of_scales(scale, *shape)).view(np.uint8).reshape(*shape, SCALES)
            data[first[..., None] + np.arange(MASKS, MASKS + SCALES)] = bits
        for (panel, _), items in zip(self._panels(shape), kept, strict=True):
            unsigned, begin = items.view(f"<u{items.itemsize}"), int(first[panel][0, 0])
            chosen = data[begin : begin + int(self.block.nbytes(counts[panel]).sum())]
            scatter(chosen, self.block.bits, first[panel] - begin + self.block.head, counts[panel], unsigned)
        return parts

    def _masks(self, data: Array, first: Places) -> Array:
        """The bits of blocks: bool [blocks, WEIGHTS], line after line."""
        masks = columns_of(data, first, 0, MASKS).reshape(-1, MASKS)
        return np.unpackbits(masks, axis=1, bitorder="little").view(np.bool_)

    def _numbers(self, data: Array, blocks: Blocks) -> Array:
        """The numbers of blocks [P, B], row-major [16P, 64B]."""
        masks = self._masks(data, blocks.first)
        lines = np.full(masks.shape, self.zero, self.number)
        stored = gather(data, self.block.bits, blocks.first + self.block.head, blocks.kept)
        lines[masks] = stored.view(self.number)
        return self._rows(lines, blocks.first.shape)

    def _lines(self, rows: Array) -> Array:
        """[16P, 64B] as [P * B, WEIGHTS], line after line."""
        blocks = len(rows) // ROWS, rows.shape[1] // DEPTH
        split = rows.reshape(blocks[0], ROWS, blocks[1], DEPTH // self.step, self.step)
        return split.transpose(0, 2, 3, 1, 4).reshape(-1, WEIGHTS)

    def _rows(self, lines: Array, shape: tuple[int, ...]) -> Array:
        """The inverse of _lines for blocks of `shape` [P, B]."""
        split = lines.reshape(*shape, DEPTH // self.step, ROWS, self.step)
        return split.transpose(0, 3, 1, 2, 4).reshape(shape[0] * ROWS, shape[1] * DEPTH)

    def _panels(self, shape: tuple[int, ...]) -> Iterator[tuple[slice, slice]]:
        """Slices of the rows of blocks `shape`, and of the rows in them, of about _PANEL weights."""
        step = max(1, _PANEL // max(1, WEIGHTS * shape[1]))
        for first in range(0, shape[0] if shape[1] else 0, step):
            yield slice(first, first + step), slice(first * ROWS, (first + step) * ROWS)
