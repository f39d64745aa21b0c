"""Weights in groups of 32 with a scale each: what `q4`, `q4m` and `q8g` have in common (rules F40, F41).

A matrix [N, K], logically float32, is one part `data` of blocks of 16 rows x 64 k, [ceil(N/16)][ceil(K/64)][bytes
of a block], in layout `n16k64`. A block is its numbers in lines of 64 bytes, 16 rows side by side with 4 k each,
then a line of 2 x 16 float16 scales (group, row), then for some a line of as many minima:
weight = scale * (number - zero) + minimum.

How the numbers of a block lie in its lines is each encoding's own. All work goes by panels of rows, so that
what it needs beside its result is small.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from edgert.errors import FormatError
from edgert.format import layouts
from edgert.format.encodings.base import Encoding, PartSpec
from edgert.graph.ir import Array

ROWS = 16
"""Rows of a block: one 64-byte line has 4 bytes of each."""
DEPTH = 64
"""k of a block: two groups, so that the scales of a block fill a line."""
GROUP = 32
"""Consecutive k that share a scale."""

Words = npt.NDArray[np.uint32]
"""Little-endian words of the numbers of four consecutive k of one row."""

_PANEL_BYTES = 1 << 20
"""Of numbers worked on at once: a panel and its copies stay in a second-level cache."""


class Grouped(Encoding):
    """A matrix in blocks. `block` has the fields words, scale [2, 16] and, with minima, minimum [2, 16]."""

    block: ClassVar[np.dtype[Any]]
    dtype: ClassVar[str]
    """Of the numbers: uint8 or int8."""
    highest: ClassVar[int]
    """The numbers are 0 (or the least of the dtype) to this."""
    zero: ClassVar[int]
    """The number that stands for 0 before a minimum is added; padding has it."""

    @abstractmethod
    def to_lines(self, words: Words) -> Words:
        """The field `words` of blocks [P, B] from words [P, 16 rows, B, 16 steps of 4 k]."""

    @abstractmethod
    def from_lines(self, lines: Words) -> Words:
        """The inverse: contiguous words [P, 16, B, 16]."""

    def part_specs(self, dtype: str, shape: tuple[int, ...], layout: str, axis: int | None) -> tuple[PartSpec, ...]:
        if dtype != "float32" or len(shape) != 2 or layout != layouts.GROUPED:
            raise FormatError(
                None, None, f"float32 [N, K] in layout {layouts.GROUPED} for encoding {self.name}",
                f"{dtype} of shape {list(shape)} in layout {layout}",
            )  # fmt: skip
        return (PartSpec("data", "uint8", (-(-shape[0] // ROWS), -(-shape[1] // DEPTH), self.block.itemsize)),)

    def check_part(self, dtype: str, shape: tuple[int, ...], layout: str, role: str, array: Array) -> None:
        blocks = self._blocks(array)
        rows, depth = shape[0] % ROWS, shape[1] % DEPTH
        groups = -(-depth // GROUP)
        for field in self._factors:
            bits = blocks[field].view("<u2")
            # All bits of the exponent: infinite or not a number.
            if ((bits & 0x7C00) == 0x7C00).any():
                raise FormatError(None, None, f"each {field} of {self.name} to be finite", "NaN or infinity")
            if (rows and bits[-1, :, :, rows:].any()) or (depth and bits[:, -1, groups:].any()):
                raise FormatError(None, None, f"each {field} of {self.name} to be 0 in padding", "other values")
        below = self._numbers(blocks[-1:])[rows:] if rows else self._numbers(blocks[:0])
        right = self._numbers(blocks[:, -1:])[:, depth:] if depth else below
        if (below != self.zero).any() or (right != self.zero).any():
            raise FormatError(None, None, f"numbers {self.zero} in the padding of {self.name}", "other values")

    def decode(self, dtype: str, shape: tuple[int, ...], layout: str, parts: Mapping[str, Array]) -> Array:
        blocks = self._blocks(parts["data"])
        real = np.empty(shape, np.float32)
        for panel, rows in self._panels(shape):
            numbers = self._numbers(blocks[panel]).astype(np.float32)
            if self.zero:
                numbers -= self.zero
            groups = numbers.reshape(len(numbers), -1, GROUP)
            groups *= self._factor(blocks[panel], "scale")[:, :, None]
            if "minimum" in self._factors:
                groups += self._factor(blocks[panel], "minimum")[:, :, None]
            real[rows] = numbers[: shape[0] - rows.start, : shape[1]]
        return real

    def encode(self, numbers: Array, scale: Array, minimum: Array | None = None) -> dict[str, Array]:
        """The parts from `numbers` [N, K] in the encoding's dtype and float16 `scale` (and `minimum`) [N, K/32].

        The number of groups K/32 rounds up. Raises FormatError if they break a rule of the encoding.
        """
        factors = {"scale": scale} if minimum is None else {"scale": scale, "minimum": minimum}
        self.check_arguments(numbers, factors)
        n, k = numbers.shape
        (spec,) = self.part_specs("float32", (n, k), layouts.GROUPED, None)
        data = np.zeros(spec.shape, np.uint8)
        blocks = self._blocks(data)
        for panel, rows in self._panels((n, k)):
            chosen = blocks[panel]
            padded = np.full((len(chosen) * ROWS, blocks.shape[1] * DEPTH), self.zero, self.dtype)
            part = numbers[rows]
            padded[: len(part), :k] = part
            chosen["words"] = self.to_lines(padded.view("<u4").reshape(len(chosen), ROWS, -1, DEPTH // 4))
        for field, values in factors.items():
            padded = np.zeros((blocks.shape[0] * ROWS, blocks.shape[1] * 2), np.float16)
            padded[:n, : values.shape[1]] = values
            blocks[field] = padded.reshape(blocks.shape[0], ROWS, blocks.shape[1], 2).transpose(0, 2, 3, 1)
        self.check_part("float32", (n, k), layouts.GROUPED, "data", data)
        return {"data": data}

    def groups(
        self, shape: tuple[int, ...], layout: str, parts: Mapping[str, Array]
    ) -> tuple[Array, Array, Array | None]:
        """The inverse of encode: (numbers [N, K], scale float16 [N, K/32], minimum likewise or None)."""
        n, k = shape
        blocks = self._blocks(parts["data"])
        numbers = np.empty(shape, self.dtype)
        for panel, rows in self._panels(shape):
            numbers[rows] = self._numbers(blocks[panel])[: n - rows.start, :k]
        scale, minimum = (
            np.array(self._factor(blocks, field)[:n, : -(-k // GROUP)], order="C") if field in self._factors else None
            for field in ("scale", "minimum")
        )
        assert scale is not None
        return numbers, scale, minimum

    @property
    def _factors(self) -> tuple[str, ...]:
        """The fields of a block that are not numbers."""
        assert self.block.names is not None
        return self.block.names[1:]

    def _blocks(self, data: Array) -> Array:
        """`data` as blocks [ceil(N/16), ceil(K/64)] with their fields, without a copy."""
        blocks: Array = data.view(self.block)[..., 0]
        return blocks

    def _numbers(self, blocks: Array) -> Array:
        """The numbers of `blocks` [P, B], padding included, row-major [16P, 64B]."""
        words = self.from_lines(blocks["words"])
        return words.view(self.dtype).reshape(blocks.shape[0] * ROWS, blocks.shape[1] * DEPTH)

    def _factor(self, blocks: Array, field: str) -> Array:
        """The scales or minima of `blocks` [P, B], padding included, row-major float16 [16P, 2B]."""
        return blocks[field].transpose(0, 3, 1, 2).reshape(blocks.shape[0] * ROWS, blocks.shape[1] * 2)

    def _panels(self, shape: tuple[int, ...]) -> Iterator[tuple[slice, slice]]:
        """Slices of blocks, and of the rows in them, of about _PANEL_BYTES numbers; none if there are none."""
        step = max(1, _PANEL_BYTES // max(1, ROWS * shape[1]))
        for first in range(0, -(-shape[0] // ROWS) if shape[1] else 0, step):
            yield slice(first, first + step), slice(first * ROWS, min((first + step) * ROWS, shape[0]))

    def check_arguments(self, numbers: Array, factors: Mapping[str, Array]) -> None:
        """Raises FormatError unless the types, sizes and numbers are the encoding's."""
        if numbers.ndim != 2 or numbers.dtype.name != self.dtype:
            raise FormatError(
                None, None, f"{self.dtype} numbers [N, K] for encoding {self.name}",
                f"{numbers.dtype.name} {list(numbers.shape)}",
            )  # fmt: skip
        if numbers.size and int(numbers.max()) > self.highest:
            raise FormatError(None, None, f"{self.name} numbers of at most {self.highest}", str(numbers.max()))
        if tuple(factors) != self._factors:
            raise FormatError(
                None, None, f"{' and '.join(self._factors)} for encoding {self.name}", " and ".join(factors)
            )
        shape = (numbers.shape[0], -(-numbers.shape[1] // GROUP))
        for field, values in factors.items():
            if (values.dtype.name, values.shape) != ("float16", shape):
                raise FormatError(
                    None, None, f"{field} float16 {list(shape)} for encoding {self.name}",
                    f"{values.dtype.name} {list(values.shape)}",
                )  # fmt: skip
