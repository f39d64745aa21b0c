"""`nm8`, `nm4`: of every m consecutive k of a row, n are kept (rules F48 and F50).

The blocks of `bitmap8` and `bitmap4`, all of one size, so that no table says where they begin.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from edgert.errors import FormatError
from edgert.format import layouts
from edgert.format.encodings.base import PartSpec
from edgert.format.encodings.groups import DEPTH, ROWS
from edgert.format.encodings.masked import MASKS, SCALES, WEIGHTS, Masked
from edgert.format.encodings.q4 import Q4
from edgert.format.encodings.q8g import Q8G
from edgert.format.encodings.ragged import POPCOUNT, Block, Blocks, Places, columns_of
from edgert.format.encodings.sparse import SparseGroups, check_matrix
from edgert.graph.ir import Array


class NM(Masked, SparseGroups):
    """`data` uint8 [N/16][K/64][bytes of a block], in layout nm:n:m."""

    def part_specs(self, dtype: str, shape: tuple[int, ...], layout: str, axis: int | None) -> tuple[PartSpec, ...]:
        if not layouts.is_n_of_m(layout):
            check_matrix(self.name, dtype, shape, layout, layouts.N_OF_M)
        check_matrix(self.name, dtype, shape, layout, layout)
        size = self.block.nbytes(self._kept(layout))
        return (PartSpec("data", "uint8", (-(-shape[0] // ROWS), -(-shape[1] // DEPTH), size)),)

    def pattern(self, layout: str, specs: tuple[PartSpec, ...]) -> str:
        return layout.removeprefix("nm:")

    def density(self, shape: tuple[int, ...], layout: str, specs: tuple[PartSpec, ...]) -> float:
        n, m = layouts.n_of_m(layout)
        return n / m

    def blocks(self, shape: tuple[int, ...], layout: str, parts: Mapping[str, Array]) -> Blocks:
        rows, columns, size = parts["data"].shape
        first = (np.arange(rows * columns, dtype=np.int64) * size).reshape(rows, columns)
        return Blocks(first, np.full_like(first, self._kept(layout)))

    def groups(self, shape: tuple[int, ...], layout: str, parts: Mapping[str, Array]) -> tuple[Array, Array, None]:
        return self.numbers(shape, layout, parts), self.scales(shape, layout, parts), None

    def check_padding(self, data: Array, blocks: Blocks, rows: int, depth: int) -> None:
        numbers = self._numbers(data, blocks).reshape(blocks.first.shape[0], ROWS, blocks.first.shape[1], DEPTH)
        if (numbers[:, rows:] != self.zero).any() or (numbers[..., depth:] != self.zero).any():
            raise FormatError(None, None, f"numbers {self.zero} in the padding of {self.name}", "other values")

    def check_whole(self, shape: tuple[int, ...], layout: str, parts: Mapping[str, Array]) -> None:
        n, m = layouts.n_of_m(layout)
        data = parts["data"].reshape(-1)
        for row in self.blocks(shape, layout, parts).first:
            masks = columns_of(data, row, 0, MASKS).reshape(-1, DEPTH // 4, MASKS // (DEPTH // 4))
            if m == 2:
                # One bit of each two: of bits 0, 2, 4, 6 exactly those whose neighbours are not set.
                right = (masks ^ masks >> 1) & 0x55 == 0x55
            else:
                # A line has 4 k of every row: the low halves of its bytes are the even rows.
                halves = np.stack([POPCOUNT[masks & 15], POPCOUNT[masks >> 4]])
                right = halves.reshape(2, len(masks), DEPTH // m, m // 4, ROWS // 2).sum(axis=3) == n
            if not right.all():
                raise FormatError(
                    None, None, f"exactly {n} kept of every {m} k in layout {layout}", "more or fewer bits in a mask"
                )
        super().check_whole(shape, layout, parts)

    def keep(self, rows: Array, layout: str) -> Array:
        """What is not zero, and of each m the first others that make it n."""
        n, m = layouts.n_of_m(layout)
        needed = (rows != self.zero).reshape(len(rows), rows.shape[1] // m, m)
        counts = needed.sum(axis=2)
        if (counts > n).any():
            raise FormatError(
                None, None, f"at most {n} numbers of every {m} k that are not zero for layout {layout}",
                f"{counts.max()}", "prune to this pattern, or store a bitmap",
            )  # fmt: skip
        rank = np.cumsum(~needed, axis=2, dtype=np.uint8)
        chosen: Array = (needed | (rank <= (n - counts)[:, :, None])).reshape(rows.shape)
        return chosen

    def place(self, kept: Places, layout: str) -> tuple[Places, dict[str, Array]]:
        size = self.block.nbytes(self._kept(layout))
        first = (np.arange(kept.size, dtype=np.int64) * size).reshape(kept.shape)
        return first, {"data": np.zeros((*kept.shape, size), np.uint8)}

    def encode(self, numbers: Array, scale: Array, n: int, m: int) -> dict[str, Array]:
        """The parts from what the dense encoding is made of, at most n of m numbers of which are not zero.

        Raises FormatError if they break its rules or that.
        """
        layout = f"nm:{n}:{m}"
        layouts.n_of_m(layout)
        self.check_arguments(numbers, scale)
        return self.fill(numbers, scale, layout)

    def _kept(self, layout: str) -> int:
        """Of a block."""
        n, m = layouts.n_of_m(layout)
        return WEIGHTS // m * n


class NM8(NM):
    """Numbers of `q8g`: 1.5 + 8 n / m bits a weight."""

    name = "nm8"
    dense: ClassVar[Any] = Q8G()
    block = Block(MASKS, MASKS + SCALES, 8, WEIGHTS)
    step, number = 4, "int8"


class NM4(NM):
    """Numbers of `q4`: 1.5 + 4 n / m bits a weight."""

    name = "nm4"
    dense: ClassVar[Any] = Q4()
    block = Block(MASKS, MASKS + SCALES, 4, WEIGHTS)
    step, number, zero = 4, "uint8", 8
