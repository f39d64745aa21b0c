"""`group4`: of every 32 rows x one group of 32 k, exactly 16 rows are kept (rule F51).

Half of the groups, in the blocks of `q4`: GQSA (Zeng et al. 2024, arXiv:2412.17560) made balanced, so that every
block has one size and a vector holds the rows of two.
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
from edgert.format.encodings.ragged import POPCOUNT
from edgert.format.encodings.sparse import SparseGroups, check_matrix, padded
from edgert.graph.ir import Array

_TALL = 2 * ROWS
"""Rows of which half are kept."""


class Group4(SparseGroups):
    """`mask` uint32 [N/32][2 * K/64], bit r if row r is kept; `data` uint8 [N/32][K/64][576].

    A block of data is one of `q4` whose row i of a group is the i-th kept one. 2.28 bits a weight.
    """

    name = "group4"
    dense: ClassVar[Any] = Q4()
    layout = layouts.HALVED

    def part_specs(self, dtype: str, shape: tuple[int, ...], layout: str, axis: int | None) -> tuple[PartSpec, ...]:
        check_matrix(self.name, dtype, shape, layout, self.layout)
        rows, columns = -(-shape[0] // _TALL), -(-shape[1] // DEPTH)
        return (
            PartSpec("mask", "uint32", (rows, columns * DEPTH // GROUP)),
            PartSpec("data", "uint8", (rows, columns, self.dense.block.itemsize)),
        )

    def density(self, shape: tuple[int, ...], layout: str, specs: tuple[PartSpec, ...]) -> float:
        return ROWS / _TALL

    def check_whole(self, shape: tuple[int, ...], layout: str, parts: Mapping[str, Array]) -> None:
        mask, data = parts["mask"], parts["data"]
        bits = POPCOUNT[np.ascontiguousarray(mask).view(np.uint8)].reshape(*mask.shape, 4).sum(axis=2)
        if (bits != ROWS).any():
            raise FormatError(
                None, None, f"{ROWS} of every {_TALL} rows kept in {self.name}", f"{bits[bits != ROWS].flat[0]}"
            )
        # The kept rows of each group as a q4 matrix of its own, whose last columns are the padding.
        compact = len(mask) * ROWS, shape[1]
        self.dense.check_part("float32", compact, layouts.GROUPED, "data", data)
        if shape[0] % _TALL:
            last = len(mask) - 1
            rows = self._kept(mask[last:])[0]
            numbers, scale, _ = self.dense.groups((ROWS, shape[1]), layouts.GROUPED, {"data": data[last:]})
            beyond = (rows[: scale.shape[1]] >= shape[0] % _TALL).T
            wide = np.repeat(beyond, GROUP, axis=1)[:, : shape[1]]
            if scale[beyond].view(np.uint16).any() or (numbers[wide] != self.dense.zero).any():
                raise FormatError(
                    None, None, f"numbers {self.dense.zero} and scales 0 in the padding of {self.name}", "other values"
                )

    def groups(self, shape: tuple[int, ...], layout: str, parts: Mapping[str, Array]) -> tuple[Array, Array, None]:
        mask, data = parts["mask"], parts["data"]
        tall, count = mask.shape
        compact, factor, _ = self.dense.groups((tall * ROWS, count * GROUP), layouts.GROUPED, {"data": data})
        numbers = np.full((tall, _TALL, count, GROUP), self.dense.zero, np.uint8)
        scale = np.zeros((tall, _TALL, count), np.float16)
        chosen = self._kept(mask).transpose(0, 2, 1)
        np.put_along_axis(numbers, chosen[..., None], compact.reshape(tall, ROWS, count, GROUP), axis=1)
        np.put_along_axis(scale, chosen, factor.reshape(tall, ROWS, count), axis=1)
        rows, columns = shape
        return (
            np.array(numbers.reshape(tall * _TALL, count * GROUP)[:rows, :columns], order="C"),
            np.array(scale.reshape(tall * _TALL, count)[:rows, : -(-columns // GROUP)], order="C"),
            None,
        )

    def encode(self, numbers: Array, scale: Array) -> dict[str, Array]:
        """The parts from what `q4` is made of. Groups whose numbers are all 8 are left out, and fill up with scale 0.

        Raises FormatError if more than 16 groups of any 32 rows have another number.
        """
        self.check_arguments(numbers, scale)
        tall, count = -(-numbers.shape[0] // _TALL), -(-numbers.shape[1] // DEPTH) * DEPTH // GROUP
        full = padded(numbers, tall * _TALL, count * GROUP, self.dense.zero).reshape(tall, _TALL, count, GROUP)
        factor = padded(scale, tall * _TALL, count).reshape(tall, _TALL, count)
        needed = (full != self.dense.zero).any(axis=3)
        if (needed.sum(axis=1) > ROWS).any():
            raise FormatError(
                None, None, f"at most {ROWS} groups of every {_TALL} rows that are not zero for {self.name}",
                f"{needed.sum(axis=1).max()}", "prune to this pattern, or store rowgroup4",
            )  # fmt: skip
        # Needed rows first, then the first of the others; put back into their order.
        chosen = np.sort(np.argsort(~needed, axis=1, kind="stable")[:, :ROWS], axis=1)
        mask = np.bitwise_or.reduce(np.uint32(1) << chosen.astype(np.uint32), axis=1, initial=0)
        compact = np.take_along_axis(full, chosen[..., None], axis=1).reshape(tall * ROWS, count * GROUP)
        kept = np.where(needed, factor, np.float16(0))
        factors = np.take_along_axis(kept, chosen, axis=1).reshape(tall * ROWS, count)
        parts: dict[str, Array] = self.dense.encode(compact, factors)
        return {"mask": mask.astype(np.uint32)} | parts

    def _kept(self, mask: Array) -> Array:
        """The kept rows of masks [P, G], rising: [P, G, 16]."""
        bits = np.unpackbits(np.ascontiguousarray(mask).view(np.uint8), bitorder="little").reshape(*mask.shape, _TALL)
        return np.nonzero(bits)[2].reshape(*mask.shape, ROWS)
