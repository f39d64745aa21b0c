"""Convolution weights cut into cells of 4 bytes and blocks of them: the geometry of `block` (rule F47).

Which blocks there are, and which items of data belong to which; what must hold in a file is judged in `block.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np
import numpy.typing as npt

from edgert.errors import FormatError
from edgert.format.layouts import BLOCKS
from edgert.graph.ir import Array

MAX_CELLS = 1 << 16
"""Of a filter: the number of a cell is uint16."""

MAX_BLOCKS = 2**32 - 1
"""Of a tensor: `start` is uint32."""

Numbers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Places:
    """Of every item of data, in order: its group of rows, and its cell in each of them."""

    group: Numbers
    cell: Numbers


@dataclass(frozen=True)
class Cells:
    """Weights [N, C, taps] in blocks of `rows` x `columns`: [groups][taps * across] blocks, with zeros beyond N and C.

    paired: a block is one row, and the file has rows 2i and 2i + 1 together.
    """

    shape: tuple[int, ...]
    rows: int
    columns: int

    @classmethod
    def of(cls, dtype: str, shape: tuple[int, ...], layout: str) -> Cells:
        """Raises FormatError if `layout` is not for weights of this dtype and shape."""
        if layout not in BLOCKS or BLOCKS[layout].dtype != dtype or len(shape) not in (3, 4):
            fits = [name for name, block in BLOCKS.items() if block.dtype == dtype] or list(BLOCKS)
            raise FormatError(
                None, None, f"convolution weights [N, C, ...] in layout {', '.join(fits)} for encoding block",
                f"{dtype} of shape {list(shape)} in layout {layout!r:.80}",
            )  # fmt: skip
        cells = cls(shape, BLOCKS[layout].rows, BLOCKS[layout].columns)
        if cells.number > MAX_CELLS:
            raise FormatError(
                None, None, f"filters of at most {MAX_CELLS} cells for layout {layout}", f"{cells.number}",
                "store it dense",
            )  # fmt: skip
        return cells

    @property
    def paired(self) -> bool:
        return self.rows == 1

    @property
    def groups(self) -> int:
        return -(-self.shape[0] // self.rows)

    @property
    def pairs(self) -> int:
        return -(-self.shape[0] // 2)

    @property
    def taps(self) -> int:
        return prod(self.shape[2:])

    @property
    def across(self) -> int:
        """Cells of one tap."""
        return -(-self.shape[1] // self.columns)

    @property
    def number(self) -> int:
        """Cells of a filter."""
        return self.taps * self.across

    def cut(self, values: Array) -> Array:
        """`values` of `shape` as blocks [groups, number, rows, columns]."""
        n, c = self.shape[:2]
        full = np.zeros((self.groups * self.rows, self.across * self.columns, self.taps), values.dtype)
        full[:n, :c] = values.reshape(n, c, self.taps)
        split = full.reshape(self.groups, self.rows, self.across, self.columns, self.taps)
        return split.transpose(0, 4, 2, 1, 3).reshape(self.groups, self.number, self.rows, self.columns)

    def join(self, blocks: Array) -> Array:
        """The inverse of cut."""
        split = blocks.reshape(self.groups, self.taps, self.across, self.rows, self.columns).transpose(0, 3, 2, 4, 1)
        full = split.reshape(self.groups * self.rows, self.across * self.columns, self.taps)
        return np.array(full[: self.shape[0], : self.shape[1]], order="C").reshape(self.shape)

    def table(self, kept: Array) -> tuple[Array, Array]:
        """`start` and `index` of the blocks `kept`, bool [groups, number].

        Raises FormatError if there are more than `start` can count.
        """
        if self.paired:
            rows = np.zeros((2 * self.pairs, self.number), np.bool_)
            rows[: self.groups] = kept
            first, second = rows[::2], rows[1::2]
            segments = np.stack([first & second, first & ~second, second & ~first], axis=1)
        else:
            segments = kept[:, None]
        counts = segments.sum(axis=2, dtype=np.int64)
        ends = np.cumsum(counts.reshape(-1))
        items = counts.sum(axis=1) + (counts[:, 0] if self.paired else 0)
        if items.sum() > MAX_BLOCKS:
            raise FormatError(None, None, f"at most {MAX_BLOCKS} blocks", str(items.sum()), "store it dense")
        start = np.zeros((len(counts) + 1, 4 if self.paired else 1), np.uint32)
        start[:-1, : counts.shape[1]] = (ends - counts.reshape(-1)).reshape(counts.shape)
        start[-1, : counts.shape[1]] = counts.sum()
        if self.paired:
            start[1:, 3] = np.cumsum(items)
        index = np.nonzero(segments)[2].astype(np.uint16)
        return start if self.paired else start[:, 0].copy(), index

    def places(self, start: Array, index: Array) -> Places:
        """Where each item of data belongs, for a `start` that never falls and ends with the blocks of `index`."""
        cell = index.astype(np.int64)
        if not self.paired:
            return Places(np.repeat(np.arange(self.groups), _counts(start)), cell)
        segment = self.segments(start)
        pair, kind = segment // 3, segment % 3
        items = np.where(kind == 0, 2, 1)
        # Row 2i of a pair is in segments 0 and 1, row 2i + 1 in 0, as its second item, and 2.
        second = np.repeat(kind == 2, items)
        second[np.cumsum(items)[kind == 0] - 1] = True
        return Places(np.repeat(2 * pair, items) + second, np.repeat(cell, items))

    def segments(self, start: Array) -> Numbers:
        """The segment, 3 * pair + 0 (both rows), 1 (the first alone) or 2 (the second), of every block."""
        sizes = _counts(start[:, :3].reshape(-1))
        return np.repeat(np.arange(3 * self.pairs), sizes[: 3 * self.pairs])


def _counts(edges: Array) -> npt.NDArray[np.intp]:
    """Differences of `edges`, in the integers that NumPy repeats by: those of an address, also where it has 32 bits."""
    return np.diff(edges.astype(np.int64)).astype(np.intp)
