"""Patterns of zeros: which weights of a matrix stay, given how much each of them matters.
Where the scores come from is `scores.py`; how kept weights are stored is the format's business."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from edgert.errors import ConversionError
from edgert.graph.ir import Array

Kind: TypeAlias = Literal["unstructured", "nm", "block", "group", "rowgroup", "fanin"]

SPAN = 128
"""Columns whose weights are compared with each other in a sweep: the paper of SparseGPT found it best (section 3.3)."""
GROUP_ROWS, GROUP_COLUMNS, GROUP_KEPT = 32, 32, 16
"""A balanced group: 16 of every 32 rows keep their next 32 columns."""
NM_SIZES = (2, 4, 8, 16, 32)
BLOCK_ROWS, BLOCK_COLUMNS = (1, 2, 4, 64), (1, 4)
EXAMPLES = "auto, unstructured, nm:2:4, 4x4, 2x4, 1x4, 64x4, group, rowgroup, fanin"


@dataclass(frozen=True)
class Pattern:
    """What stays or goes together. Made by `parse_pattern`, or by name below.

    A cell of `rows` x `columns` weights stays or goes as a whole. 'unstructured' and 'block': any cells of the matrix.
    'nm': n of every m consecutive weights of a row. 'group': of 32 rows, 16 keep their next 32 columns. 'rowgroup':
    any runs of 32 columns of a row. 'fanin': the same number of weights in every row.
    """

    kind: Kind
    rows: int = 1
    columns: int = 1
    n: int = 0
    m: int = 0

    def __str__(self) -> str:
        if self.kind == "nm":
            return f"nm:{self.n}:{self.m}"
        return f"{self.rows}x{self.columns}" if self.kind == "block" else self.kind

    @property
    def fixed(self) -> float | None:
        """The share of zeros that the pattern prescribes, None if it may be chosen."""
        if self.kind == "nm":
            return 1.0 - self.n / self.m
        return 1.0 - GROUP_KEPT / GROUP_ROWS if self.kind == "group" else None

    def sparsity(self, asked: float | None, usual: float = 0.5) -> float:
        """The share of zeros under this pattern. Raises ConversionError when `asked` is not what it prescribes."""
        if asked is not None and not 0.0 <= asked < 1.0:
            raise ConversionError(f"expected a sparsity from 0 to below 1, found {asked:g}")
        if self.fixed is None:
            return usual if asked is None else asked
        if asked is not None and abs(asked - self.fixed) > 0.005:
            raise ConversionError(
                f"the pattern {self} always has {100 * self.fixed:g} % zeros, found a sparsity of {asked:g}; leave the "
                "sparsity out, or take another pattern"
            )
        return self.fixed

    def span(self, columns: int) -> int:
        """Columns among which a sweep over a matrix of `columns` chooses at a time."""
        return {"nm": self.m, "group": GROUP_COLUMNS, "fanin": columns}.get(self.kind, SPAN)

    def keep(self, scores: Array, sparsity: float, parts: Sequence[int] = (), by_row: bool = False) -> Array:
        """What stays: bool [N, K], the cells with the largest sums of `scores`, floats [N, K] of at least 0.

        As many stay as `sparsity` leaves, to the nearest cell; of equals, the first. A cell that reaches beyond the
        matrix counts as a cell. parts: numbers of rows that are judged each on its own, such as those of query, key
        and value in one matrix; they say nothing where cells cross them. by_row: every row of cells keeps equally
        many, as the paper of Wanda has it (section 3). Patterns with a fixed sparsity ignore the three.
        """
        rows, columns = scores.shape
        if self.kind == "nm":
            return _whole(self._keep_nm(scores), scores.shape, 1, 1)
        cells = _cells(scores, self.rows, self.columns)
        if self.kind == "group":
            stay = _keep_balanced(cells, rows)
        elif by_row or self.kind == "fanin":
            stay = largest(cells, _count(cells.shape[1], sparsity))
        else:
            edges = np.cumsum([0, *parts])
            if edges[-1] != rows or any(edge % self.rows for edge in edges[:-1]):
                edges = np.array([0, rows])
            stay = np.empty(cells.shape, bool)
            for start, stop in zip(edges[:-1] // self.rows, -(-edges[1:] // self.rows), strict=True):
                part = cells[start:stop]
                stay[start:stop] = largest(part.reshape(1, -1), _count(part.size, sparsity)).reshape(part.shape)
        return _whole(stay, (rows, columns), self.rows, self.columns)

    def _keep_nm(self, scores: Array) -> Array:
        """The n largest of every m; where a row ends early, its last weights compete for the same n places."""
        rows, columns = scores.shape
        filled = np.pad(scores, ((0, 0), (0, -columns % self.m)), constant_values=-1.0)
        return largest(filled.reshape(-1, self.m), self.n).reshape(rows, -1)


UNSTRUCTURED = Pattern("unstructured")
BLOCK_4X4 = Pattern("block", 4, 4)
GROUP = Pattern("group", 1, GROUP_COLUMNS)
ROWGROUP = Pattern("rowgroup", 1, GROUP_COLUMNS)
FANIN = Pattern("fanin")

_NAMES = {"unstructured": UNSTRUCTURED, "bitmap": UNSTRUCTURED, "block": BLOCK_4X4, "group": GROUP,
          "rowgroup": ROWGROUP, "fanin": FANIN}  # fmt: skip


def parse_pattern(text: str, auto: Pattern) -> Pattern:
    """The pattern that `text` names; `auto` for 'auto'. Raises ConversionError for what is none."""
    if text == "auto":
        return auto
    if text in _NAMES:
        return _NAMES[text]
    if found := re.fullmatch(r"nm:(\d{1,3}):(\d{1,3})", text):
        n, m = int(found[1]), int(found[2])
        if m in NM_SIZES and 1 <= n < m:
            return Pattern("nm", n=n, m=m)
        raise ConversionError(
            f"expected nm:N:M with M one of {', '.join(map(str, NM_SIZES))} and N from 1 to M - 1, found {text!r}"
        )
    if found := re.fullmatch(r"(\d{1,3})x(\d{1,3})", text):
        rows, columns = int(found[1]), int(found[2])
        if rows in BLOCK_ROWS and columns in BLOCK_COLUMNS:
            return Pattern("block", rows, columns)
        raise ConversionError(
            f"expected blocks of {', '.join(map(str, BLOCK_ROWS))} rows and 1 or 4 columns, such as 4x4, found {text!r}"
        )
    raise ConversionError(f"expected a pattern such as {EXAMPLES}, found {text!r}")


def largest(scores: Array, count: int) -> Array:
    """Where the `count` largest of each row of `scores` [N, K] are, bool [N, K]; of equals, the first."""
    if count >= scores.shape[1]:
        return np.ones(scores.shape, bool)
    if count <= 0:
        return np.zeros(scores.shape, bool)
    at = scores.shape[1] - count
    threshold = np.partition(scores, at, axis=1)[:, at : at + 1]
    stay, equal = scores > threshold, scores == threshold
    left = count - stay.sum(axis=1, keepdims=True)
    return np.asarray(stay | (equal & (np.cumsum(equal, axis=1) <= left)))


def _cells(scores: Array, rows: int, columns: int) -> Array:
    """The sum of scores of every cell: [ceil(N / rows), ceil(K / columns)]."""
    n, k = scores.shape
    if rows == columns == 1:
        return scores
    filled = np.pad(scores, ((0, -n % rows), (0, -k % columns)))
    return np.asarray(filled.reshape(-(-n // rows), rows, -(-k // columns), columns).sum(axis=(1, 3)))


def _keep_balanced(cells: Array, rows: int) -> Array:
    """Of every 32 rows of each column of `cells` [N, C], the 16 largest; rows that fill up the last 32 never count."""
    filled = np.pad(cells, ((0, -rows % GROUP_ROWS), (0, 0)), constant_values=-1.0)
    stacked = filled.reshape(-1, GROUP_ROWS, cells.shape[1]).transpose(0, 2, 1)
    stay = largest(stacked.reshape(-1, GROUP_ROWS), GROUP_KEPT).reshape(stacked.shape)
    return stay.transpose(0, 2, 1).reshape(filled.shape)[:rows]


def _count(cells: int, sparsity: float) -> int:
    return round(cells * (1.0 - sparsity))


def _whole(stay: Array, shape: tuple[int, ...], rows: int, columns: int) -> Array:
    """The cells that stay as single weights, cut to `shape`."""
    spread = stay if rows == columns == 1 else stay.repeat(rows, axis=0).repeat(columns, axis=1)
    return np.ascontiguousarray(spread[: shape[0], : shape[1]])
