"""`bitmap8`, `bitmap4`, `bitmap16`: a bit for every weight, numbers only where it is set (rules F48 and F49).

Any pattern of zeros; 1 bit a weight more than its numbers (Endor, Joo et al. 2024, arXiv:2406.11674).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from edgert.errors import FormatError
from edgert.format import layouts
from edgert.format.encodings.base import PartSpec
from edgert.format.encodings.f16 import F16, encode_f16
from edgert.format.encodings.groups import DEPTH, ROWS
from edgert.format.encodings.masked import MASKS, SCALES, WEIGHTS, Masked
from edgert.format.encodings.q4 import Q4
from edgert.format.encodings.q8g import Q8G
from edgert.format.encodings.ragged import MOST_UNITS, UNIT, Block, Blocks, Places, lay_out
from edgert.format.encodings.sparse import SparseGroups, check_matrix
from edgert.graph.ir import Array


class Bitmap(Masked):
    """`start` uint32 [N/16 + 1] in units of 8 bytes, `data` uint8: the rows of blocks, without gaps."""

    def part_specs(self, dtype: str, shape: tuple[int, ...], layout: str, axis: int | None) -> tuple[PartSpec, ...]:
        check_matrix(self.name, dtype, shape, layout, layouts.GROUPED)
        rows, columns = -(-shape[0] // ROWS), -(-shape[1] // DEPTH)
        least = rows * columns * self.block.nbytes(0)
        most = min(rows * columns * self.block.nbytes(WEIGHTS), MOST_UNITS * UNIT)
        return (
            PartSpec("start", "uint32", (rows + 1,)),
            PartSpec("data", "uint8", (most,), free=0, least=least, step=UNIT),
        )

    def pattern(self, layout: str, specs: tuple[PartSpec, ...]) -> str:
        return self.name

    def density(self, shape: tuple[int, ...], layout: str, specs: tuple[PartSpec, ...]) -> float:
        blocks = (specs[0].shape[0] - 1) * -(-shape[1] // DEPTH)
        stored = 8 * (specs[1].nbytes - blocks * self.block.head) / self.block.bits
        return min(1.0, stored / max(1, shape[0] * shape[1]))

    def blocks(self, shape: tuple[int, ...], layout: str, parts: Mapping[str, Array]) -> Blocks:
        return self.block.walk(parts["start"], parts["data"], -(-shape[1] // DEPTH))

    def keep(self, rows: Array, layout: str) -> Array:
        chosen: Array = rows != self.zero
        return chosen

    def place(self, kept: Places, layout: str) -> tuple[Places, dict[str, Array]]:
        first, start = lay_out(self.block.nbytes(kept))
        return first, {"start": start, "data": np.zeros(int(start[-1]) * UNIT, np.uint8)}


class GroupedBitmap(Bitmap, SparseGroups):
    """A bitmap of numbers that have a scale per group."""

    def groups(self, shape: tuple[int, ...], layout: str, parts: Mapping[str, Array]) -> tuple[Array, Array, None]:
        return self.numbers(shape, layout, parts), self.scales(shape, layout, parts), None

    def encode(self, numbers: Array, scale: Array) -> dict[str, Array]:
        """The parts from what the dense encoding is made of. Raises FormatError if that breaks its rules."""
        self.check_arguments(numbers, scale)
        return self.fill(numbers, scale, layouts.GROUPED)


class Bitmap8(GroupedBitmap):
    """The kept numbers of `q8g` as bytes: 1.5 + 8 (1 - s) bits a weight at a share s of zeros."""

    name = "bitmap8"
    dense: ClassVar[Any] = Q8G()
    block = Block(MASKS, MASKS + SCALES, 8, WEIGHTS)
    step, number = 4, "int8"


class Bitmap4(GroupedBitmap):
    """The kept numbers of `q4` as nibbles, low half first, across lines: 1.5 + 4 (1 - s) bits a weight."""

    name = "bitmap4"
    dense: ClassVar[Any] = Q4()
    block = Block(MASKS, MASKS + SCALES, 4, WEIGHTS)
    step, number, zero = 4, "uint8", 8


class Bitmap16(Bitmap):
    """The kept values of `f16`, without scales; a line is 16 rows of one k: 1 + 16 (1 - s) bits a weight."""

    name = "bitmap16"
    block = Block(MASKS, MASKS, 16, WEIGHTS)
    step, number = 1, "float16"

    def decode(self, dtype: str, shape: tuple[int, ...], layout: str, parts: Mapping[str, Array]) -> Array:
        return self.numbers(shape, layout, parts).astype(np.float32)

    def twin(self, dtype: str, layout: str) -> tuple[str, str]:
        return F16.name, "n16k1"

    def expand(
        self, dtype: str, shape: tuple[int, ...], layout: str, parts: Mapping[str, Array]
    ) -> Mapping[str, Array]:
        return encode_f16(self.numbers(shape, layout, parts), "n16k1")

    def encode(self, array: Array) -> dict[str, Array]:
        """The parts from floating-point `array` [N, K], rounded to nearest even.

        Raises FormatError if it is no such matrix or a number is beyond the range of half precision.
        """
        if array.ndim != 2:
            raise FormatError(None, None, f"a matrix [N, K] for encoding {self.name}", f"{list(array.shape)}")
        return self.fill(encode_f16(array)["data"], None, layouts.GROUPED)
