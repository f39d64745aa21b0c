"""Blocks of various lengths, one after the other in an array of bytes: finding them, filling and reading them.

All blocks at once, in NumPy; what a block holds is its encoding's business.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgert.errors import FormatError
from edgert.format.encodings.sparse import check_start
from edgert.graph.ir import Array

UNIT = 8
"""Bytes: blocks are padded to whole units, so that `start` reaches 32 GiB and masks are aligned."""

MOST_UNITS = 2**32 - 1
"""`start` is uint32."""

Places = npt.NDArray[np.int64]

POPCOUNT = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1).sum(axis=1, dtype=np.uint8)
"""Bits set in each byte."""

_WORDS: dict[int, npt.DTypeLike] = {8: np.uint8, 16: "<u2", 32: "<u4"}


@dataclass(frozen=True)
class Blocks:
    """Blocks [rows, columns]: the byte where each begins, and how many numbers it keeps."""

    first: Places
    kept: Places


@dataclass(frozen=True)
class Block:
    """What a block is: `masks` bytes that say what is kept, `head` bytes with them and what else has a fixed size,
    then `bits` for each that is kept, then zeros up to whole units. most: that a block may keep."""

    masks: int
    head: int
    bits: int
    most: int

    def nbytes(self, kept: Any) -> Any:
        """Bytes of a block that keeps so many: an integer, or an array of them."""
        return self.head + -(-kept * self.bits // (8 * UNIT)) * UNIT

    def walk(self, start: Array, data: Array, columns: int) -> Blocks:
        """Finds every block of `data` uint8, a row of blocks beginning at each `start` (in units) but the last.

        All rows of blocks at once, step by step to the right. Raises FormatError if blocks do not fill them exactly.
        """
        check_start(start, data.size // UNIT, f"times {UNIT} bytes of `data`")
        edges = start.astype(np.int64) * UNIT
        here, ends = edges[:-1].copy(), edges[1:]
        found = Blocks(np.empty((len(here), columns), np.int64), np.empty((len(here), columns), np.int64))
        for column in range(columns):
            if (here + self.head > ends).any():
                raise FormatError(None, None, f"{columns} blocks in each row of blocks", "a row that ends before them")
            masks = data[here[:, None] + np.arange(self.masks)]
            found.first[:, column] = here
            found.kept[:, column] = POPCOUNT[masks].sum(axis=1, dtype=np.int64)
            here = here + self.nbytes(found.kept[:, column])
        if (here != ends).any():
            raise FormatError(
                None, None, "blocks as long as the bits of their masks say", "a row of blocks of another length"
            )
        return found

    def check_end(self, data: Array, blocks: Blocks, name: str) -> None:
        """Raises FormatError unless the bits of each block after its last number are zero."""
        ends = (blocks.first + self.nbytes(blocks.kept)).reshape(-1)
        last = data.view("<u8")[ends // UNIT - 1]
        unused = (-blocks.kept * self.bits % (8 * UNIT)).reshape(-1).astype(np.uint64)
        # Shifted in two steps, for a shift by all 64 bits is none.
        if (last >> (np.uint64(63) - unused) >> np.uint64(1))[unused > 0].any():
            raise FormatError(None, None, f"zeros after the numbers of each block of {name}", "other values")


def lay_out(sizes: Places) -> tuple[Places, npt.NDArray[np.uint32]]:
    """Blocks of `sizes` [rows, columns] bytes, one after the other: where each begins, and `start` in units.

    Raises FormatError if there are more bytes than `start` can count.
    """
    ends = np.cumsum(sizes.reshape(-1), dtype=np.int64)
    total = int(ends[-1]) if ends.size else 0
    if total > MOST_UNITS * UNIT:
        raise FormatError(None, None, f"at most {MOST_UNITS * UNIT} bytes in one sparse tensor", str(total))
    first = (ends - sizes.reshape(-1)).reshape(sizes.shape)
    start = np.zeros(len(sizes) + 1, np.uint32)
    start[1:] = np.cumsum(sizes.sum(axis=1)) // UNIT
    return first, start


def runs(first: Places, counts: Places) -> Places:
    """first[i], first[i] + 1, ..., counts[i] of them, for one i after the other: int64 [sum of counts]."""
    first, counts = first.reshape(-1), counts.reshape(-1)
    ends = np.cumsum(counts)
    times = counts.astype(np.intp)  # NumPy repeats by integers of an address, also where that has 32 bits
    places: Places = np.repeat(first - (ends - counts), times) + np.arange(ends[-1] if ends.size else 0)
    return places


def gather(data: Array, bits: int, first: Places, counts: Places) -> Array:
    """counts[i] unsigned numbers of 4, 8, 16 or 32 bits from byte first[i] on, for one i after the other."""
    if bits == 4:
        at = runs(2 * first, counts)
        nibbles: Array = data[at >> 1] >> (4 * (at & 1)).astype(np.uint8) & np.uint8(15)
        return nibbles
    return data.view(_WORDS[bits])[runs(first * 8 // bits, counts)]


def scatter(data: Array, bits: int, first: Places, counts: Places, numbers: Array) -> None:
    """The inverse of gather, into `data` that has zeros there."""
    if bits == 4:
        halves = np.zeros(2 * data.size, np.uint8)
        halves[runs(2 * first, counts)] = numbers
        data |= halves[::2] | halves[1::2] << np.uint8(4)
    else:
        data.view(_WORDS[bits])[runs(first * 8 // bits, counts)] = numbers


def columns_of(data: Array, first: Places, offset: int, size: int) -> Array:
    """Bytes offset .. offset + size of every block: uint8 [..., size]."""
    chosen: Array = data[first[..., None] + np.arange(offset, offset + size)]
    return chosen
