"""Weights on their way from a checkpoint to a file: read when asked for, exact where an encoding allows it.
Which checkpoint tensor is which weight is in `tensors.py`, what is stored in the end in `pack.py`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from edgert.converters.llm.checkpoint import Checkpoint, ExactBlocks
from edgert.graph.ir import Array


class Weight(Protocol):
    """One constant of the graph. Nothing of its size is held in memory until `load` or `exact` is called."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def source(self) -> str:
        """The types it has in the checkpoint, for the report: 'Q4_1', 'Q4_K + Q6_K'."""

    def load(self) -> Array:
        """The values as float32, row-major."""

    def exact(self) -> ExactBlocks | None:
        """The values without loss in an edgert encoding, None if there is none."""


@dataclass(frozen=True)
class Held:
    """Values in memory, float32: made at conversion, or a replacement."""

    values: Array
    source: str = "made"

    @property
    def shape(self) -> tuple[int, ...]:
        return self.values.shape

    def load(self) -> Array:
        return self.values

    def exact(self) -> ExactBlocks | None:
        return None


@dataclass(frozen=True)
class HeldRows:
    """int8 numbers [N, K], at least -127, each row with a scale, float32 [N]: weights that were exported so."""

    numbers: Array
    scale: Array
    source: str = "int8"

    @property
    def shape(self) -> tuple[int, ...]:
        return self.numbers.shape

    def load(self) -> Array:
        return np.asarray(self.numbers.astype(np.float32) * self.scale[:, None])

    def exact(self) -> ExactBlocks | None:
        return ExactBlocks("q8", self.numbers, self.scale)


@dataclass(frozen=True)
class HeldBlocks:
    """Values in memory, already in an encoding: what quantization puts in place of a weight.

    error: the norm of what that changed, relative to the norm of the weight. pattern: that of its zeros, as a Pattern
    is written; 'auto' where there is none.
    """

    blocks: ExactBlocks
    source: str = "quantized"
    error: float = 0.0
    pattern: str = "auto"

    @property
    def shape(self) -> tuple[int, ...]:
        return self.blocks.values.shape

    def load(self) -> Array:
        return dequantized(self.blocks)

    def exact(self) -> ExactBlocks | None:
        return self.blocks


@dataclass(frozen=True)
class Tensor:
    """A tensor of a checkpoint. rows: the row to take for each row, None for all in order. offset is added."""

    checkpoint: Checkpoint
    name: str
    transposed: bool = False
    rows: Array | None = None
    offset: float = 0.0

    @property
    def shape(self) -> tuple[int, ...]:
        shape = self.checkpoint.shape(self.name)
        return shape[::-1] if self.transposed else shape

    @property
    def source(self) -> str:
        return self.checkpoint.describe(self.name)

    def load(self) -> Array:
        values = self.checkpoint.load(self.name)
        values = np.ascontiguousarray(values.T) if self.transposed else values
        values = values if self.rows is None else values[self.rows]
        return values + np.float32(self.offset) if self.offset else values

    def exact(self) -> ExactBlocks | None:
        """Rows may be reordered in any encoding, as their groups lie along them."""
        blocks = self.checkpoint.exact(self.name)
        if blocks is None or self.offset or (self.transposed and blocks.encoding != "f16"):
            return None
        if self.transposed:
            blocks = ExactBlocks("f16", np.ascontiguousarray(blocks.values.T))
        return blocks if self.rows is None else take_rows(blocks, self.rows)


@dataclass(frozen=True)
class Stacked:
    """Weights one above the other: query, key and value, or gate and up."""

    parts: tuple[Weight, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        return (sum(part.shape[0] for part in self.parts), *self.parts[0].shape[1:])

    @property
    def source(self) -> str:
        return " + ".join(dict.fromkeys(part.source for part in self.parts))

    def load(self) -> Array:
        return np.concatenate([part.load() for part in self.parts])

    def exact(self) -> ExactBlocks | None:
        blocks: list[ExactBlocks] = []
        for part in self.parts:
            found = part.exact()
            if found is None:
                return None
            blocks.append(found)
        return stack_blocks(blocks)


def take_rows(blocks: ExactBlocks, rows: Array) -> ExactBlocks:
    scale = None if blocks.scale is None else blocks.scale[rows]
    minimum = None if blocks.minimum is None else blocks.minimum[rows]
    return ExactBlocks(blocks.encoding, blocks.values[rows], scale, minimum)


def stack_blocks(blocks: Sequence[ExactBlocks]) -> ExactBlocks | None:
    """All rows in one encoding that holds each of them exactly, None if there is none.

    q4 fits into q8g (the value less 8) and into q4m (minimum -8 scale, exact in float16 but for huge scales).
    """
    kinds = {block.encoding for block in blocks}
    if kinds == {"q4", "q8g"}:
        blocks = [q4_as_q8g(block) if block.encoding == "q4" else block for block in blocks]
    elif kinds == {"q4", "q4m"}:
        blocks = [q4_as_q4m(block) if block.encoding == "q4" else block for block in blocks]
    elif len(kinds) > 1:
        return None
    scales = [block.scale for block in blocks if block.scale is not None]
    minima = [block.minimum for block in blocks if block.minimum is not None]
    if minima and not all(np.isfinite(minimum).all() for minimum in minima):
        return None
    return ExactBlocks(
        blocks[0].encoding,
        np.concatenate([block.values for block in blocks]),
        np.concatenate(scales) if scales else None,
        np.concatenate(minima) if minima else None,
    )


def q4_as_q8g(blocks: ExactBlocks) -> ExactBlocks:
    return ExactBlocks("q8g", blocks.values.astype(np.int8) - np.int8(8), blocks.scale)


def q4_as_q4m(blocks: ExactBlocks) -> ExactBlocks:
    """The minima overflow to infinity where 8 scale does."""
    assert blocks.scale is not None
    with np.errstate(over="ignore"):
        return ExactBlocks("q4m", blocks.values, blocks.scale, np.asarray(blocks.scale * np.float16(-8)))


def dequantized(blocks: ExactBlocks) -> Array:
    """The float32 values of `blocks`, computed in float32."""
    values = blocks.values.astype(np.float32)
    if blocks.encoding == "q8" and blocks.scale is not None:
        return np.asarray(values * blocks.scale[:, None])
    if blocks.encoding == "q4":
        values -= 8
    if blocks.scale is not None:
        values *= np.repeat(blocks.scale.astype(np.float32), 32, axis=1)[:, : values.shape[1]]
    if blocks.minimum is not None:
        values += np.repeat(blocks.minimum.astype(np.float32), 32, axis=1)[:, : values.shape[1]]
    return values
