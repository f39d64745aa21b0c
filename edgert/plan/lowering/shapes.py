"""What all rules ask about tensors: planes, quantization as kernels take it, and how finely to split the work.

The rules themselves are in the family files beside this one.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from edgert.graph.ir import TensorType
from edgert.kernels_cpu.levels import Level
from edgert.plan.lowering.api import Buffer, Emitter, Refusal, Site, plane_pixels
from edgert.plan.lowering.requantize import shift

CHUNKS_PER_THREAD = 4
"""Chunks are claimed: a few per thread even out threads that are slowed down by others."""
CHUNK_BYTES = 128 << 10
"""Memory traffic of a chunk, at least: about 20 us, a hundred times what claiming it costs."""
CHUNK_MACS = 200_000
"""Multiply-adds of a chunk, at least: about 10 us at a modest 20 per nanosecond, fifty times what claiming it costs."""
MAX_PARAM = 2**31 - 1
"""Params of a record are 32 bits, signed: sizes and strides must fit."""


def split(threads: int, units: int, nbytes: int, macs: int = 0) -> int:
    """How many chunks to make of `units` indivisible parts that move `nbytes` and compute `macs` in all."""
    worth = max(nbytes // CHUNK_BYTES, macs // CHUNK_MACS)
    return max(1, min(units, CHUNKS_PER_THREAD * threads, worth)) if threads > 1 else 1


@dataclass(frozen=True)
class Planes:
    """A tensor [N, C, *spatial] as planes of pixels: what kp and k4p lay out."""

    batch: int
    channels: int
    spatial: tuple[int, ...]

    @classmethod
    def of(cls, kind: TensorType) -> Planes:
        shape = kind.static_shape
        return cls(shape[0], shape[1], tuple(shape[2:]))

    @property
    def pixels(self) -> int:
        return prod(self.spatial)

    @property
    def padded(self) -> int:
        """Pixels a plane takes in kp and k4p."""
        return plane_pixels(self.pixels)

    @property
    def groups(self) -> int:
        """Groups of four channels."""
        return -(-self.channels // 4)


def has_planes(kind: TensorType) -> bool:
    """Whether kp or k4p can hold the tensor: [N, C], [N, C, W] or [N, C, H, W], not empty."""
    return 2 <= len(kind.shape) <= 4 and kind.numel > 0


def plane_layout(kind: TensorType) -> str | None:
    """The layout of planes for the tensor's dtype: kp for float32, k4p for uint8, else None."""
    if not has_planes(kind):
        return None
    return {"float32": "kp", "uint8": "k4p"}.get(kind.dtype)


def per_tensor(kind: TensorType) -> tuple[float, int] | None:
    """(scale, zero point) of a uint8 tensor quantized as a whole, else None."""
    if kind.dtype != "uint8" or kind.quant is None or not kind.quant.per_tensor:
        return None
    return float(kind.quant.scale), int(kind.quant.zero_point)


def is_constant(site: Site, index: int) -> bool:
    """Whether input `index` never changes: stored in the file, or computed at planning."""
    return site.stored[index] is not None or site.values[index] is not None


def rows_present(emitter: Emitter, kind: TensorType, rows: int) -> Buffer | None:
    """What tells a kernel how many of its `rows` a run has. None, all of them, unless they are those of the matrix."""
    return emitter.rows(rows) if len(kind.shape) == 2 and kind.shape[0] == rows else None


def same_quant(*kinds: TensorType) -> bool:
    """Whether bytes mean the same in all of them."""
    return all(kind.dtype == kinds[0].dtype and kind.quant == kinds[0].quant for kind in kinds)


def flip(level: Level) -> int:
    """What an activation byte in k4p is exclusive-or-ed with to give the unsigned byte of row layout, as int8."""
    return -128 if level.act_signed else 0


def act_byte(level: Level, value: int) -> int:
    """The unsigned activation byte `value` as the arena's k4p holds it, as a signed 8-bit param."""
    value -= shift(level)
    return value - 256 if value > 127 else value


def same_buffer(a: Buffer | None, b: Buffer) -> bool:
    """Whether an output took over its input's memory, so that there is nothing to copy."""
    return a is not None and (a.segment, a.key) == (b.segment, b.key)


def too_large(kernel: str, *sizes: int) -> Refusal | None:
    """A refusal when a size in bytes does not fit in a record."""
    if max(sizes, default=0) <= MAX_PARAM:
        return None
    return Refusal(kernel, f"a tensor of {max(sizes)} bytes; records hold sizes up to {MAX_PARAM}")
