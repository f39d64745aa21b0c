"""What the encodings that leave zeros out have in common: a pattern, a density, and a dense twin (rules F44 to F46).

The twin is the same tensor in a dense encoding: kernels of either give the same bits. Which is faster is the plan's
business.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from edgert.errors import FormatError
from edgert.format import layouts
from edgert.format.encodings.base import Encoding, PartSpec
from edgert.format.encodings.groups import DEPTH, GROUP, ROWS, Grouped
from edgert.graph.ir import Array


class Sparse(Encoding):
    """An encoding whose parts say where the numbers that they hold are; all others are zero."""

    sparse = True

    def check_part(self, dtype: str, shape: tuple[int, ...], layout: str, role: str, array: Array) -> None:
        """Nothing: what one part must be depends on the others, so `check_whole` judges them together."""

    @abstractmethod
    def check_whole(self, shape: tuple[int, ...], layout: str, parts: Mapping[str, Array]) -> None:
        """Raises FormatError unless reading the parts as the encoding says stays inside them and in the matrix."""

    @abstractmethod
    def pattern(self, layout: str, specs: tuple[PartSpec, ...]) -> str:
        """What people call it, such as '4x4' or '2:4'."""

    @abstractmethod
    def density(self, shape: tuple[int, ...], layout: str, specs: tuple[PartSpec, ...]) -> float:
        """The share of the weights that is stored, zeros among them included, from the sizes of the parts."""

    @abstractmethod
    def twin(self, dtype: str, layout: str) -> tuple[str, str]:
        """The encoding and the layout of the dense twin."""

    @abstractmethod
    def expand(
        self, dtype: str, shape: tuple[int, ...], layout: str, parts: Mapping[str, Array]
    ) -> Mapping[str, Array]:
        """The parts of the dense twin."""


class SparseGroups(Sparse):
    """A matrix [N, K], logically float32, with a scale per group of 32: the numbers of `dense` without some of them."""

    dense: ClassVar[Grouped]
    layout: ClassVar[str] = layouts.GROUPED

    @abstractmethod
    def groups(self, shape: tuple[int, ...], layout: str, parts: Mapping[str, Array]) -> tuple[Array, Array, None]:
        """(numbers [N, K] with the dense zero where none is stored, scale float16 [N, K/32], None)."""

    def pattern(self, layout: str, specs: tuple[PartSpec, ...]) -> str:
        return self.name

    def twin(self, dtype: str, layout: str) -> tuple[str, str]:
        return self.dense.name, layouts.GROUPED

    def expand(
        self, dtype: str, shape: tuple[int, ...], layout: str, parts: Mapping[str, Array]
    ) -> Mapping[str, Array]:
        return self.dense.encode(*self.groups(shape, layout, parts))

    def decode(self, dtype: str, shape: tuple[int, ...], layout: str, parts: Mapping[str, Array]) -> Array:
        return self.dense.decode(dtype, shape, layouts.GROUPED, self.expand(dtype, shape, layout, parts))

    def check_kind(self, dtype: str, shape: tuple[int, ...], layout: str) -> tuple[int, int]:
        """Rows and columns of blocks of 16 x 64. Raises FormatError for what is no float32 matrix in the layout."""
        check_matrix(self.name, dtype, shape, layout, self.layout)
        return -(-shape[0] // ROWS), -(-shape[1] // DEPTH)

    def check_arguments(self, numbers: Array, scale: Array) -> None:
        """Raises FormatError unless they are what the dense encoding would take."""
        self.dense.check_arguments(numbers, {"scale": scale})
        check_finite(scale, self.name)


def check_matrix(name: str, dtype: str, shape: tuple[int, ...], layout: str, wanted: str) -> None:
    """Raises FormatError unless it is a float32 matrix in the `wanted` layout."""
    if dtype != "float32" or len(shape) != 2 or layout != wanted:
        raise FormatError(
            None, None, f"float32 [N, K] in layout {wanted} for encoding {name}",
            f"{dtype} of shape {list(shape)} in layout {layout}",
        )  # fmt: skip


def check_start(start: Array, total: int, unit: str) -> None:
    """Raises FormatError unless `start` counts from 0 to `total`, never down."""
    wide = start.astype(np.int64).reshape(-1)
    if wide[0] != 0:
        raise FormatError(None, None, "`start` to begin with 0", str(wide[0]))
    if (np.diff(wide) < 0).any():
        raise FormatError(None, None, "`start` that never falls", "a start before the one before it")
    if wide[-1] != total:
        raise FormatError(None, None, f"`start` to end with the {total} {unit} that there are", str(wide[-1]))


def check_finite(scale: Array, name: str) -> None:
    """Raises FormatError unless all float16 scales are finite."""
    # All bits of the exponent: infinite or not a number.
    if ((scale.view(np.uint16) & 0x7C00) == 0x7C00).any():
        raise FormatError(None, None, f"each scale of {name} to be finite", "NaN or infinity")


def padded(array: Array, rows: int, columns: int, fill: int = 0) -> Array:
    """The matrix `array` with `fill` below and beside it, up to [rows, columns]."""
    if array.shape == (rows, columns):
        return array
    full = np.full((rows, columns), fill, array.dtype)
    full[: array.shape[0], : array.shape[1]] = array
    return full


def blocks_of_scales(scale: Array, rows: int, columns: int) -> Array:
    """float16 [N, K/32] as [rows of blocks, columns of blocks, 2 groups, 16 rows], 0 in padding."""
    full = padded(scale, rows * ROWS, columns * DEPTH // GROUP)
    return full.reshape(rows, ROWS, columns, DEPTH // GROUP).transpose(0, 2, 3, 1)


def matrix_of_scales(blocks: Array, shape: tuple[int, ...]) -> Array:
    """The inverse of blocks_of_scales for a matrix of `shape`."""
    rows, columns = blocks.shape[:2]
    full = blocks.transpose(0, 3, 1, 2).reshape(rows * ROWS, columns * DEPTH // GROUP)
    return np.array(full[: shape[0], : -(-shape[1] // GROUP)], order="C")
