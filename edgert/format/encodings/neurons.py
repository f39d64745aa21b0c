"""`neurons4` and `neurons8`: what one neuron of a gated feed-forward layer needs, all in one place (rule F57).

A row of the up projection and the column of the down projection that it meets, in groups of 32, side by side: a neuron
that is not active is not read, and one that is comes from storage in one piece.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import ClassVar

import numpy as np

from edgert.errors import FormatError
from edgert.format import layouts
from edgert.format.encodings.base import Encoding, PartSpec
from edgert.graph.ir import Array

GROUP = 32
"""Consecutive values of a row or a column that share a scale."""
BLOCK = 128
"""Values of a block: four groups, whose 4-bit numbers fill a line of 64 bytes."""
GROUPS = BLOCK // GROUP
LINE = 64

_PANEL_BYTES = 1 << 20
"""Of data worked on at once: its unpacked copies stay in a second-level cache."""


class Neurons(Encoding):
    """float32 [F, 2, D] in layout `neurons`: the up row [f, 0] and the down column [f, 1] of each neuron f.

    One part `data` uint8 [F][nbytes]: blocks of the row, blocks of the column, float16 scales of the row's groups, of
    the column's groups, zeros up to a multiple of 64. value = scale * (number - zero).
    """

    bits: ClassVar[int]
    dtype: ClassVar[str]
    """Of the numbers: uint8 or int8."""
    zero: ClassVar[int]

    @classmethod
    def blocks(cls, width: int) -> int:
        """Blocks of a row or a column of `width` values."""
        return -(-width // BLOCK)

    @classmethod
    def neuron_nbytes(cls, width: int) -> int:
        """Bytes of one neuron: a multiple of 64."""
        nbytes = 2 * cls.blocks(width) * (BLOCK * cls.bits // 8 + 2 * GROUPS)
        return -(-nbytes // LINE) * LINE

    def part_specs(self, dtype: str, shape: tuple[int, ...], layout: str, axis: int | None) -> tuple[PartSpec, ...]:
        if dtype != "float32" or len(shape) != 3 or shape[1] != 2 or layout != layouts.NEURONS:
            raise FormatError(
                None, None, f"float32 [F, 2, D] in layout {layouts.NEURONS} for encoding {self.name}",
                f"{dtype} of shape {list(shape)} in layout {layout}",
            )  # fmt: skip
        return (PartSpec("data", "uint8", (shape[0], self.neuron_nbytes(shape[2]))),)

    def check_part(self, dtype: str, shape: tuple[int, ...], layout: str, role: str, array: Array) -> None:
        width = shape[2]
        groups = -(-width // GROUP)
        used = 2 * self.blocks(width) * (BLOCK * self.bits // 8 + 2 * GROUPS)
        if array[:, used:].any():
            raise FormatError(None, None, f"zeros after the scales of each neuron of {self.name}", "other values")
        for panel in self._panels(array):
            numbers, scale = self._unpack(array[panel], width)
            bits = scale.view("<u2")
            if ((bits & 0x7C00) == 0x7C00).any():
                raise FormatError(None, None, f"each scale of {self.name} to be finite", "NaN or infinity")
            if bits[..., groups:].any():
                raise FormatError(None, None, f"each scale of {self.name} to be 0 in padding", "other values")
            if (numbers[..., width:] != self.zero).any():
                raise FormatError(None, None, f"numbers {self.zero} in the padding of {self.name}", "other values")

    def decode(self, dtype: str, shape: tuple[int, ...], layout: str, parts: Mapping[str, Array]) -> Array:
        real = np.empty(shape, np.float32)
        for panel in self._panels(parts["data"]):
            numbers, scale = self._unpack(parts["data"][panel], shape[2])
            wide = numbers.astype(np.float32) - np.float32(self.zero)
            wide *= np.repeat(scale.astype(np.float32), GROUP, axis=-1)
            real[panel] = wide[..., : shape[2]]
        return real

    def encode(self, numbers: Array, scale: Array) -> dict[str, Array]:
        """The parts from `numbers` [F, 2, D] in the encoding's dtype and float16 `scale` [F, 2, D/32].

        The number of groups D/32 rounds up. Raises FormatError if they break a rule of the encoding.
        """
        if numbers.ndim != 3 or numbers.shape[1] != 2 or numbers.dtype.name != self.dtype:
            raise FormatError(
                None, None, f"{self.dtype} numbers [F, 2, D] for encoding {self.name}",
                f"{numbers.dtype.name} {list(numbers.shape)}",
            )  # fmt: skip
        neurons, _, width = numbers.shape
        wanted = (neurons, 2, -(-width // GROUP))
        if (scale.dtype.name, scale.shape) != ("float16", wanted):
            raise FormatError(
                None, None, f"scale float16 {list(wanted)} for encoding {self.name}",
                f"{scale.dtype.name} {list(scale.shape)}",
            )  # fmt: skip
        if self.bits == 4 and numbers.size and int(numbers.max()) > 15:
            raise FormatError(None, None, f"{self.name} numbers of at most 15", str(numbers.max()))
        (spec,) = self.part_specs("float32", numbers.shape, layouts.NEURONS, None)
        data = np.zeros(spec.shape, np.uint8)
        for panel in self._panels(data):
            self._pack(numbers[panel], scale[panel], data[panel])
        self.check_part("float32", numbers.shape, layouts.NEURONS, "data", data)
        return {"data": data}

    def _pack(self, numbers: Array, scale: Array, data: Array) -> None:
        """Some neurons into their rows of `data`."""
        count, _, width = numbers.shape
        blocks = self.blocks(width)
        padded = np.full((count, 2, blocks * BLOCK), self.zero, self.dtype)
        padded[..., :width] = numbers
        values = padded.view(np.uint8)
        # Row: k = 32 l + 16 h + 4 j + b of a block is byte 16 j + 4 l + b, of line or half byte h.
        row = values[:, 0].reshape(count, blocks, GROUPS, 2, 4, 4).transpose(0, 1, 3, 4, 2, 5)
        row = row.reshape(count, blocks, 2, LINE)
        # Column: k = 16 t + i is in word i, counting its half bytes or, over two lines, its bytes by t.
        planes = values[:, 1].reshape(count, blocks, 8, 16)
        up: Array
        down: Array
        if self.bits == 4:
            up = row[:, :, 0] | row[:, :, 1] << 4
            down = (planes[:, :, 0::2] | planes[:, :, 1::2] << 4).transpose(0, 1, 3, 2)
        else:
            up, down = row, planes.reshape(count, blocks, 2, 4, 16).transpose(0, 1, 2, 4, 3)
        size = blocks * BLOCK * self.bits // 8
        data[:, :size], data[:, size : 2 * size] = up.reshape(count, size), down.reshape(count, size)
        scales = np.zeros((count, 2, blocks * GROUPS), "<f2")
        scales[..., : scale.shape[-1]] = scale
        data[:, 2 * size : 2 * size + scales[0].nbytes] = scales.reshape(count, -1).view(np.uint8)

    def _unpack(self, data: Array, width: int) -> tuple[Array, Array]:
        """The inverse, padding included: numbers [P, 2, 128 B] and scale float16 [P, 2, 4 B]."""
        count, blocks = len(data), self.blocks(width)
        size = blocks * BLOCK * self.bits // 8
        up, down = data[:, :size], data[:, size : 2 * size]
        values = np.empty((count, 2, blocks * BLOCK), np.uint8)
        if self.bits == 4:
            row = np.stack([up & 15, up >> 4], axis=-1).reshape(count, blocks, LINE, 2).transpose(0, 1, 3, 2)
            words = down.reshape(count, blocks, 16, 4)
            planes = np.stack([words & 15, words >> 4], axis=-1).reshape(count, blocks, 16, 8).transpose(0, 1, 3, 2)
        else:
            row = up.reshape(count, blocks, 2, LINE)
            planes = down.reshape(count, blocks, 2, 16, 4).transpose(0, 1, 2, 4, 3)
        lines = row.reshape(count, blocks, 2, 4, GROUPS, 4).transpose(0, 1, 4, 2, 3, 5)
        values[:, 0] = lines.reshape(count, -1)
        values[:, 1] = planes.reshape(count, -1)
        scales = np.ascontiguousarray(data[:, 2 * size : 2 * size + 4 * GROUPS * blocks]).view("<f2")
        return values.view(self.dtype), scales.reshape(count, 2, -1)

    def _panels(self, data: Array) -> Iterator[slice]:
        step = max(1, _PANEL_BYTES // max(1, data.shape[1] if data.ndim == 2 else 1))
        for first in range(0, len(data), step):
            yield slice(first, first + step)


class Neurons4(Neurons):
    """4.5 bits a value, and what padding to 128 values and 64 bytes costs."""

    name = "neurons4"
    bits, dtype, zero = 4, "uint8", 8


class Neurons8(Neurons):
    """8.5 bits a value, likewise."""

    name = "neurons8"
    bits, dtype, zero = 8, "int8", 0
