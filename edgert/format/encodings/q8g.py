"""`q8g`: 8-bit weights in groups of 32 (rules F40, F41).

The exact home of GGUF Q8_0: same numbers, -128 included, same scales, in the order that kernels read.
"""

from __future__ import annotations

import numpy as np

from edgert.format.encodings.groups import DEPTH, ROWS, Grouped, Words


class Q8G(Grouped):
    """weight = scale * number: 1088 bytes a block, 8.5 bits a weight. Line s: byte 4 * r + b is k = 4s + b of row r."""

    name = "q8g"
    block = np.dtype([("words", "<u4", (DEPTH // 4, ROWS)), ("scale", "<f2", (2, ROWS))])
    dtype = "int8"
    highest = 127
    zero = 0

    def to_lines(self, words: Words) -> Words:
        return words.transpose(0, 2, 3, 1)

    def from_lines(self, lines: Words) -> Words:
        return np.ascontiguousarray(lines.transpose(0, 3, 1, 2))
