"""What an encoding is: the parts it stores a tensor as, their exact sizes, what must hold in them, its values.

The encodings are in the sibling files, one each; the registry and the functions to call are in `__init__.py`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import ClassVar

import numpy as np

from edgert.errors import FormatError
from edgert.format import layouts
from edgert.graph.ir import DTYPES, Array

QUANTIZED_DTYPES = ("int8", "uint8", "int16", "uint16", "int32")
"""Stored types that may carry a quantization; int32 is for biases."""


@dataclass(frozen=True)
class PartSpec:
    """What one part of a tensor must be.

    free: the axis whose size follows from what is stored, None if every size follows from the tensor's shape. Then
    `shape` has the largest size it may have, which is at least `least` and a multiple of `step`.
    """

    role: str
    dtype: str
    shape: tuple[int, ...]
    free: int | None = None
    least: int = 0
    step: int = 1

    @property
    def nbytes(self) -> int:
        return prod(self.shape) * DTYPES[self.dtype].itemsize

    def sized(self, nbytes: int) -> PartSpec:
        """The part of `nbytes` bytes, all sizes known. Raises FormatError if no part of this kind has so many."""
        if self.free is None:
            if nbytes != self.nbytes:
                raise FormatError(None, None, str(self.nbytes), str(nbytes))
            return self
        most = self.shape[self.free]
        others = prod(d for axis, d in enumerate(self.shape) if axis != self.free) * DTYPES[self.dtype].itemsize
        size, rest = divmod(nbytes, others) if others else (self.least, nbytes)
        if rest or not self.least <= size <= most or size % self.step:
            raise FormatError(
                None, None, f"a multiple of {others * self.step} from {others * self.least} to {others * most}",
                str(nbytes),
            )  # fmt: skip
        return PartSpec(self.role, self.dtype, (*self.shape[: self.free], size, *self.shape[self.free + 1 :]))


class Encoding(ABC):
    """One way to store a tensor. `dtype`, `shape` and `layout` are the tensor's; dtype and shape are logical."""

    name: ClassVar[str]
    wide: ClassVar[str] = ""
    """The encoding that holds the same numbers in float32, in the same layout, for what is stored in float16 to save
    bytes; '' for the others."""
    sparse: ClassVar[bool] = False
    """Whether zeros are left out (`sparse.py`): such parts point into each other, so they are checked together."""

    @abstractmethod
    def part_specs(self, dtype: str, shape: tuple[int, ...], layout: str, axis: int | None) -> tuple[PartSpec, ...]:
        """The parts, in file order, in Python integers. `axis` is that of a quantization per channel.

        Raises FormatError if the combination has no meaning.
        """

    def check_sizes(self, specs: tuple[PartSpec, ...]) -> None:
        """Raises FormatError unless the sizes of parts with a free axis fit each other; `specs` are sized."""
        return

    @abstractmethod
    def check_part(self, dtype: str, shape: tuple[int, ...], layout: str, role: str, array: Array) -> None:
        """Raises FormatError unless the values of one part are what the encoding promises.

        Reads `array` at most once and copies nothing of its size.
        """

    def check_whole(self, shape: tuple[int, ...], layout: str, parts: Mapping[str, Array]) -> None:
        """Raises FormatError unless what must hold between the parts does: nothing, for most encodings."""
        return

    @abstractmethod
    def decode(self, dtype: str, shape: tuple[int, ...], layout: str, parts: Mapping[str, Array]) -> Array:
        """The row-major values in the logical dtype; a view of the parts where they have them so."""

    def widen(self, parts: Mapping[str, Array]) -> dict[str, Array]:
        """The parts of the same tensor in the encoding `wide`."""
        raise FormatError(None, None, "an encoding of float16 numbers with a float32 one", self.name)

    def groups(
        self, shape: tuple[int, ...], layout: str, parts: Mapping[str, Array]
    ) -> tuple[Array, Array, Array | None]:
        """(numbers [N, K], scale float16 [N, K/32], minimum likewise or None) of an encoding by groups of 32.

        Raises FormatError for the others.
        """
        raise FormatError(None, None, "an encoding with a scale per group of 32, such as q4 or q8g", self.name)


def check_padding(array: Array, layout: str, shape: tuple[int, ...]) -> None:
    """Raises FormatError unless the padding that `layout` adds to `shape` is zero."""
    if not layouts.padding_is_zero(array, layout, shape):
        raise FormatError(None, None, f"zero padding in layout {layout}", "other values")


def check_scale(scale: Array) -> None:
    """Raises FormatError unless every scale is finite and positive."""
    bad = ~(np.isfinite(scale) & (scale > 0))
    if bad.any():
        raise FormatError(None, None, "scales that are finite and > 0", str(scale[bad].flat[0]))


def check_zero_point(zero_point: Array, dtype: str) -> None:
    """Raises FormatError unless every zero point is a value of the stored `dtype`."""
    info = np.iinfo(dtype)
    bad = (zero_point < info.min) | (zero_point > info.max)
    if bad.any():
        raise FormatError(None, None, f"zero points of {dtype}", str(zero_point[bad].flat[0]))
