"""`rowgroup4`: groups of `q4` of which any may be missing (rule F52).

The 1x32 pattern of GQSA (Zeng et al. 2024, arXiv:2412.17560), by blocks of 16 rows x 64 k.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from edgert.errors import FormatError
from edgert.format import layouts
from edgert.format.encodings.base import PartSpec
from edgert.format.encodings.groups import DEPTH, GROUP, ROWS
from edgert.format.encodings.q4 import Q4
from edgert.format.encodings.ragged import MOST_UNITS, UNIT, Block, Blocks, columns_of, gather, lay_out, scatter
from edgert.format.encodings.sparse import SparseGroups, check_finite, check_matrix
from edgert.graph.ir import Array

_LINES = 4
"""Words of a group: eight numbers each."""

_GROUPS = 2 * ROWS
"""Of a block."""


class RowGroup4(SparseGroups):
    """`start` uint32 [N/16 + 1] in units of 8 bytes, `data` uint8: 0.06 + 4.5 (1 - s) bits a weight.

    A block: two uint16, the rows that groups 0 and 1 have, and four zero bytes; the lines of group 0 as in `q4` with
    the words of its rows only, then those of group 1; the float16 scales of the groups; zeros up to 8 bytes.
    """

    name = "rowgroup4"
    dense: ClassVar[Any] = Q4()
    block = Block(_GROUPS // 8, 8, 8 * (4 * _LINES + 2), _GROUPS)

    def part_specs(self, dtype: str, shape: tuple[int, ...], layout: str, axis: int | None) -> tuple[PartSpec, ...]:
        check_matrix(self.name, dtype, shape, layout, self.layout)
        rows, columns = -(-shape[0] // ROWS), -(-shape[1] // DEPTH)
        most = min(rows * columns * self.block.nbytes(_GROUPS), MOST_UNITS * UNIT)
        return (
            PartSpec("start", "uint32", (rows + 1,)),
            PartSpec("data", "uint8", (most,), free=0, least=rows * columns * self.block.nbytes(0), step=UNIT),
        )

    def density(self, shape: tuple[int, ...], layout: str, specs: tuple[PartSpec, ...]) -> float:
        blocks = (specs[0].shape[0] - 1) * -(-shape[1] // DEPTH)
        stored = 8 * (specs[1].nbytes - blocks * self.block.head) / self.block.bits
        return min(1.0, stored / max(1, shape[0] * -(-shape[1] // GROUP)))

    def check_whole(self, shape: tuple[int, ...], layout: str, parts: Mapping[str, Array]) -> None:
        data, blocks = parts["data"], self._blocks(shape, parts)
        self.block.check_end(data, blocks, self.name)
        if columns_of(data, blocks.first, self.block.masks, self.block.head - self.block.masks).any():
            raise FormatError(None, None, f"zeros after the masks of each block of {self.name}", "other values")
        kept = self._masks(data, blocks)
        rows, depth = shape[0] % ROWS, shape[1] % DEPTH
        if (rows and kept[-1:, :, :, rows:].any()) or (depth and kept[:, -1:, -(-depth // GROUP) :].any()):
            raise FormatError(None, None, f"nothing kept in the padding of {self.name}", "bits that are set there")
        check_finite(gather(data, 16, blocks.first + 8 + 4 * _LINES * blocks.kept, blocks.kept), self.name)
        if depth % GROUP:
            # Only the last group of a row can end in padding.
            last = Blocks(blocks.first[:, -1:], blocks.kept[:, -1:])
            numbers, _ = self._matrices(data, last)
            if (numbers[:, depth:] != self.dense.zero).any():
                raise FormatError(
                    None, None, f"numbers {self.dense.zero} in the padding of {self.name}", "other values"
                )

    def groups(self, shape: tuple[int, ...], layout: str, parts: Mapping[str, Array]) -> tuple[Array, Array, None]:
        numbers, scale = self._matrices(parts["data"], self._blocks(shape, parts))
        rows, columns = shape
        return (
            np.array(numbers[:rows, :columns], order="C"),
            np.array(scale[:rows, : -(-columns // GROUP)], order="C"),
            None,
        )

    def encode(self, numbers: Array, scale: Array) -> dict[str, Array]:
        """The parts from what `q4` is made of: groups whose numbers are all 8 are left out.

        Raises FormatError if it breaks the rules of q4.
        """
        self.check_arguments(numbers, scale)
        dense = self.dense.encode(numbers, scale)["data"].view(self.dense.block)[..., 0]
        words = dense["words"]
        # Two zeros (8) in a byte, four bytes in a word.
        kept = (words != 0x88888888).any(axis=3)
        counts = kept.sum(axis=(2, 3), dtype=np.int64)
        first, start = lay_out(self.block.nbytes(counts))
        data = np.zeros(int(start[-1]) * UNIT, np.uint8)
        masks = np.packbits(kept, axis=-1, bitorder="little").reshape(*counts.shape, self.block.masks)
        data[first[..., None] + np.arange(self.block.masks)] = masks
        lines = np.broadcast_to(kept[:, :, :, None], words.shape)
        scatter(data, 32, first + self.block.head, _LINES * counts, words[lines])
        at = first + self.block.head + 4 * _LINES * counts
        scatter(data, 16, at, counts, dense["scale"][kept].view("<u2"))
        return {"start": start, "data": data}

    def _blocks(self, shape: tuple[int, ...], parts: Mapping[str, Array]) -> Blocks:
        return self.block.walk(parts["start"], parts["data"], -(-shape[1] // DEPTH))

    def _masks(self, data: Array, blocks: Blocks) -> Array:
        """Which groups are kept: bool [rows of blocks, columns, 2, 16]."""
        masks = columns_of(data, blocks.first, 0, self.block.masks)
        bits = np.unpackbits(masks, axis=-1, bitorder="little").view(np.bool_)
        return bits.reshape(*blocks.first.shape, DEPTH // GROUP, ROWS)

    def _matrices(self, data: Array, blocks: Blocks) -> tuple[Array, Array]:
        """Numbers and scales of blocks [P, B], padding included: [16P, 64B] and [16P, 2B]."""
        kept = self._masks(data, blocks)
        dense = np.zeros(blocks.first.shape, self.dense.block)
        words = np.full((*kept.shape[:3], _LINES, ROWS), 0x88888888, np.uint32)
        lines = np.broadcast_to(kept[:, :, :, None], words.shape)
        words[lines] = gather(data, 32, blocks.first + self.block.head, _LINES * blocks.kept)
        dense["words"] = words
        scale = np.zeros(kept.shape, np.uint16)
        at = blocks.first + self.block.head + 4 * _LINES * blocks.kept
        scale[kept] = gather(data, 16, at, blocks.kept)
        dense["scale"] = scale.view(np.float16)
        whole = len(dense) * ROWS, dense.shape[1] * DEPTH
        view = dense.view(np.uint8).reshape(*dense.shape, self.dense.block.itemsize)
        numbers, scales, _ = self.dense.groups(whole, layouts.GROUPED, {"data": view})
        return numbers, scales
