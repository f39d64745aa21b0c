"""`q4` and `q4m`: 4-bit weights in groups of 32, without and with a minimum (rules F40, F41).

The exact homes of GGUF Q4_0 and Q4_1: same numbers, same scales, in the order that kernels read.
"""

from __future__ import annotations

import numpy as np

from edgert.format.encodings.groups import DEPTH, ROWS, Grouped, Words

_LOW = np.uint32(0x0F0F0F0F)
_LINES = ("words", "<u4", (2, 4, ROWS))
_SCALES = ("scale", "<f2", (2, ROWS))


class Nibbles(Grouped):
    """Line 4 * g + j of a block: byte 4 * r + b has number k = 32g + 4j + b of row r low, k = 32g + 16 + 4j + b high.

    So one shift and one mask give a vector of each half of a group.
    """

    dtype = "uint8"
    highest = 15

    def to_lines(self, words: Words) -> Words:
        halves = words.reshape(*words.shape[:3], 2, 2, 4)
        low, high = halves[..., 0, :], halves[..., 1, :]
        # A number has 4 bits, so no bit crosses into the next byte.
        lines: Words = (low | high << np.uint32(4)).transpose(0, 2, 3, 4, 1)
        return lines

    def from_lines(self, lines: Words) -> Words:
        rows = lines.transpose(0, 4, 1, 2, 3)
        words = np.empty((*rows.shape[:3], 2, 2, 4), np.dtype("<u4"))
        np.bitwise_and(rows, _LOW, out=words[..., 0, :])
        np.right_shift(rows, np.uint32(4), out=words[..., 1, :])
        words[..., 1, :] &= _LOW
        return words.reshape(*rows.shape[:3], DEPTH // 4)


class Q4(Nibbles):
    """weight = scale * (number - 8): 576 bytes a block, 4.5 bits a weight."""

    name = "q4"
    block = np.dtype([_LINES, _SCALES])
    zero = 8


class Q4M(Nibbles):
    """weight = scale * number + minimum: 640 bytes a block, 5 bits a weight."""

    name = "q4m"
    block = np.dtype([_LINES, _SCALES, ("minimum", "<f2", (2, ROWS))])
    zero = 0
