"""Weight layouts: how the values of one tensor are ordered in its `data` part (rule F29).

pack, unpack and the packed shapes live here; which kernel wants which layout is the plan's business.

A blocked layout is written as its memory order. `N/4` rows of blocks, then pixels, and so on:
`Blocked("NCHW", {"N": 4, "C": 4}, "N HW C n c")` splits N into N/4 blocks of 4 (`n` counts inside a
block) and C likewise, pads both with zeros to whole blocks, and stores [N/4][H*W][C/4][4 n][4 c].
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from math import prod

import numpy as np

from edgert.errors import FormatError
from edgert.graph.ir import Array

Shape = tuple[int, ...]

_BYTES = ("int8", "uint8")
_FLOATS = ("float32", "float16")


@dataclass(frozen=True)
class Blocked:
    """axes: a letter per dimension, `1` where it must be 1. blocks: letter -> block size.
    order: the packed dimensions, slowest first; lower case is the place inside a block."""

    axes: str
    blocks: dict[str, int]
    order: str
    dtypes: tuple[str, ...]

    @cached_property
    def _sizes(self) -> Shape:
        return tuple(self.blocks.get(letter, 1) for letter in self.axes)

    @cached_property
    def _groups(self) -> list[list[int]]:
        # Dimension i becomes axes 2i (blocks) and 2i+1 (inside a block).
        place = {letter: 2 * i for i, letter in enumerate(self.axes)}
        place |= {letter.lower(): 2 * i + 1 for i, letter in enumerate(self.axes)}
        return [[place[letter] for letter in word] for word in self.order.split()]

    @cached_property
    def _permutation(self) -> list[int]:
        used = [axis for group in self._groups for axis in group]
        # The rest are axes of size 1: inside of dimensions without blocks, or dimensions that must be 1.
        return used + [axis for axis in range(2 * len(self.axes)) if axis not in used]

    def split(self, shape: Shape) -> Shape:
        """The logical shape with every dimension as (blocks, block size)."""
        pairs = ((-(-d // size), size) for d, size in zip(shape, self._sizes, strict=True))
        return tuple(n for pair in pairs for n in pair)

    def check(self, dtype: str, shape: Shape, name: str) -> None:
        fits = len(shape) == len(self.axes) and all(
            d == 1 for d, letter in zip(shape, self.axes, strict=True) if letter == "1"
        )
        if not fits or dtype not in self.dtypes:
            raise FormatError(
                None, None, f"{' or '.join(self.dtypes)} of shape [{', '.join(self.axes)}] for layout {name}",
                f"{dtype} of shape {list(shape)}", "store it in layout row",
            )  # fmt: skip

    def packed_shape(self, shape: Shape) -> Shape:
        split = self.split(shape)
        return tuple(prod(split[axis] for axis in group) for group in self._groups)

    def pack(self, array: Array) -> Array:
        split = self.split(array.shape)
        padded = np.zeros([n * size for n, size in zip(split[::2], split[1::2], strict=True)], array.dtype)
        padded[tuple(slice(d) for d in array.shape)] = array
        blocks = padded.reshape(split).transpose(self._permutation)
        return np.array(blocks, order="C").reshape(self.packed_shape(array.shape))

    def split_view(self, packed: Array, shape: Shape) -> Array:
        """`packed` seen with the axes of `split`, in logical order, without a copy."""
        split = self.split(shape)
        blocks = packed.reshape([split[axis] for axis in self._permutation])
        return blocks.transpose(np.argsort(self._permutation))

    def unpack(self, packed: Array, shape: Shape) -> Array:
        split = self.split(shape)
        padded = self.split_view(packed, shape).reshape(
            [n * size for n, size in zip(split[::2], split[1::2], strict=True)]
        )
        return np.array(padded[tuple(slice(d) for d in shape)], order="C")

    def padding_is_zero(self, packed: Array, shape: Shape) -> bool:
        view = self.split_view(packed, shape)
        for i, (d, size) in enumerate(zip(shape, self._sizes, strict=True)):
            if d % size:
                last: tuple[slice | int, ...] = (*[slice(None)] * (2 * i), -1, slice(d % size, None))
                if view[last].any():
                    return False
        return True


BLOCKED: dict[str, Blocked] = {
    # int8 convolution [N,C,kh,kw]: 4x4 blocks of 16 bytes, one dot product of 4 channels per output
    "n4k4": Blocked("NCHW", {"N": 4, "C": 4}, "N HW C n c", _BYTES),
    # float convolution [N,C,kh,kw]: 4 outputs per input channel
    "n4k1": Blocked("NCHW", {"N": 4}, "N HW C n", _FLOATS),
    # int8 depthwise [C,1,kh,kw]: 4 channels with 4 taps of one row each
    "dw4": Blocked("C1HW", {"C": 4, "W": 4}, "C H W c w", _BYTES),
    # int8 matrix [N,K]: one 64-byte line is 16 rows x 4 consecutive k
    "n16k4": Blocked("NK", {"N": 16, "K": 4}, "N K n k", _BYTES),
    # float matrix [N,K]: one line is 16 rows x 1 k
    "n16k1": Blocked("NK", {"N": 16}, "N K n", _FLOATS),
}

GROUPED = "n16k64"
"""Blocks of 16 rows x 64 k that hold their scales too: packed by the encodings that have groups, for only they
know how (`encodings/groups.py`)."""


@dataclass(frozen=True)
class Kept:
    """A layout of encoding `block`: `rows` x `columns` weights of a dtype, kept or not."""

    dtype: str
    rows: int
    columns: int


BLOCKS: dict[str, Kept] = {
    **{f"b{rows}x4": Kept("int8", rows, 4) for rows in (4, 2, 1, 64)},
    **{f"b{rows}x1": Kept("float32", rows, 1) for rows in (4, 2, 1)},
}
"""Convolution weights of which whole blocks are kept or not (`encodings/block.py`)."""

HALVED = "n32k64"
"""Blocks of 32 rows x 64 k of which half the groups are kept (`encodings/group4.py`)."""

SIXTEEN = "n16"
"""16 rows side by side, each with inputs of its own (`encodings/fanin.py`)."""

N_OF_M = "nm:N:M"
"""Stands for `nm:2:4` and so on: n16k64 with N of every M consecutive k kept (`encodings/nm.py`)."""

NEURONS = "neurons"
"""All that a neuron needs side by side (`encodings/neurons.py`)."""

LAYOUTS = ("row", *BLOCKED, GROUPED, N_OF_M, *BLOCKS, HALVED, SIXTEEN, NEURONS)
"""`row` is C order, for any dtype and shape."""

_N_OF_M = re.compile(r"nm:([1-9][0-9]?):(2|4|8|16|32)", re.ASCII)


def is_layout(layout: str) -> bool:
    return (layout in LAYOUTS and layout != N_OF_M) or is_n_of_m(layout)


def is_n_of_m(layout: str) -> bool:
    """Whether it is nm:N:M with M 2, 4, 8, 16 or 32 and N from 1 to M - 1."""
    found = _N_OF_M.fullmatch(layout)
    return found is not None and int(found[1]) < int(found[2])


def n_of_m(layout: str) -> tuple[int, int]:
    """N and M of layout nm:N:M. Raises FormatError if it is not one."""
    found = _N_OF_M.fullmatch(layout)
    if found is None or int(found[1]) >= int(found[2]):
        raise FormatError(None, None, "layout nm:N:M with M 2, 4, 8, 16 or 32 and N from 1 to M - 1", f"{layout!r:.80}")
    return int(found[1]), int(found[2])


def packed_shape(layout: str, dtype: str, shape: Shape) -> Shape:
    """The shape of the `data` part of a tensor. Raises FormatError if the layout is not for such tensors."""
    if layout == "row":
        return shape
    blocked = _blocked(layout)
    blocked.check(dtype, _planar(blocked, shape), layout)
    return blocked.packed_shape(_planar(blocked, shape))


def pack(array: Array, layout: str) -> Array:
    """`array` in `layout`, contiguous, padded with zeros. Raises FormatError as packed_shape."""
    packed_shape(layout, array.dtype.name, array.shape)
    if layout == "row":
        return np.asarray(array, order="C")
    blocked = _blocked(layout)
    return blocked.pack(array.reshape(_planar(blocked, array.shape)))


def unpack(packed: Array, layout: str, shape: Shape) -> Array:
    """The row-major values of logical `shape`: the inverse of pack. `row` is returned as it is."""
    if layout == "row":
        return packed.reshape(shape)
    blocked = _blocked(layout)
    return blocked.unpack(packed, _planar(blocked, shape)).reshape(shape)


def padding_is_zero(packed: Array, layout: str, shape: Shape) -> bool:
    """Whether all padding that `layout` adds to `shape` is zero."""
    if layout == "row":
        return True
    blocked = _blocked(layout)
    return blocked.padding_is_zero(packed, _planar(blocked, shape))


def _planar(blocked: Blocked, shape: Shape) -> Shape:
    """Weights of a 1-D convolution [N, C, k] as [N, C, 1, k]; other shapes as they are."""
    return (*shape[:2], 1, *shape[2:]) if blocked.axes.endswith("HW") and len(shape) == 3 else shape


def _blocked(layout: str) -> Blocked:
    if layout not in BLOCKED:
        raise FormatError(None, None, f"one of the layouts row, {', '.join(BLOCKED)}", repr(layout))
    return BLOCKED[layout]
