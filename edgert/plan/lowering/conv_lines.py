"""Lowering of QLinearConv whose weights have 64x4 patterns, with output channels as vectors: for images of few pixels.

Geometry, padded planes and quantization are conv.py's; other patterns, with pixels as vectors, are conv_sparse.py's,
and 64x4 on AMX tiles is conv_sparse_amx.py's.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from edgert.graph.ir import Array
from edgert.plan.lowering.api import Buffer, Emitter, Offer, Refusal, Site, lowers
from edgert.plan.lowering.conv import Int8Conv
from edgert.plan.lowering.sparse_site import words

CHANNELS, CELL = 64, 4
"""Output channels that share a pattern, and input channels of a cell."""
EFFICIENCY = {
    "avx512vnni": 0.84, "avxvnni": 0.78, "avx2": 0.82, "portable": 0.75, "dotprod": 0.75, "neon": 0.8,
}  # fmt: skip
"""Share of the vector unit's int8 peak that kept cells reach, by the level's symbol; measured on x86, on ARM from the
instructions: a broadcast of four bytes of each pixel for every four dot products."""
STORE = {"avx512vnni": 25, "avxvnni": 16, "avx2": 6, "portable": 2, "dotprod": 12, "neon": 4}
"""What requantizing and storing an output takes, in multiply-adds of the kernel: likewise."""


@dataclass(frozen=True)
class SharedPattern:
    """Convolution with b64x4 weights, one group of channels."""

    conv: Int8Conv

    @classmethod
    def of(cls, kernel: str, site: Site) -> SharedPattern | Refusal | None:
        """None where the weights are stored in another way."""
        stored = site.stored[1]
        if stored is None or (stored.encoding, stored.layout) != ("block", "b64x4"):
            return None
        conv = Int8Conv.of(kernel, site, "block", "b64x4")
        if isinstance(conv, Refusal):
            return conv
        if conv.g.group > 1:
            return Refusal(kernel, f"{conv.g.group} groups: patterns of 64 channels are for convolutions of one")
        return cls(replace(conv, density=stored.density))

    @cached_property
    def start(self) -> Array:
        """int64 [groups + 1]: where each group's cells begin among all that are kept."""
        return np.asarray(self.conv.stored.parts["start"], np.int64)

    @property
    def groups(self) -> int:
        return len(self.start) - 1

    @property
    def slices(self) -> int:
        """Chunks by output channels: of whole groups."""
        return min(self.conv.slices, self.groups)

    @property
    def taps(self) -> Array:
        """int32: byte offset of the input of every kept cell."""
        found: Array = self.conv.taps[np.asarray(self.conv.stored.parts["index"])]
        return found

    @property
    def sparse(self) -> str:
        """The pattern in words, for Offer.sparse."""
        return words(self.conv.stored)

    def per_filter(self, e: Emitter) -> dict[str, tuple[Buffer, int]]:
        """Operands `bias` and `scale` of Int8Conv.emit, padded to whole groups of 64."""
        found = {}
        for name, values in (("bias", self.conv.bias), ("scale", self.conv.multipliers)):
            padded = np.zeros(CHANNELS * self.groups, values.dtype)
            padded[: len(values)] = values
            found[name] = e.constant(padded), 0
        return found


@lowers("QLinearConv")
def conv_b64x4(site: Site) -> list[Offer | Refusal]:
    """int8, one group of channels, any number of pixels."""
    kernel = "conv2d_b64x4_k4p"
    pattern = SharedPattern.of(kernel, site)
    if not isinstance(pattern, SharedPattern):
        return [] if pattern is None else [pattern]
    conv, g = pattern.conv, pattern.conv.g

    def emit(e: Emitter, inputs: tuple[Buffer | None, ...], outputs: tuple[Buffer, ...]) -> None:
        own = {
            "taps": (e.constant(pattern.taps), 0), "start": (e.weights(conv.stored, "start"), 0),
            "w": (e.weights(conv.stored, "data"), 0), **pattern.per_filter(e),
        }  # fmt: skip
        # a vector is one pixel here
        per_row = g.pixels if conv.planes is None else g.out[1]
        params = {"groups4": conv.out_cells, "vectors": g.pixels, "per_row": per_row}
        conv.emit(e, inputs, outputs[0], kernel, own, params, pattern.slices, 64)

    # four pixels at a time, or five; one alone takes half as long as four
    pixels = 2 if g.pixels == 1 else g.pixels if g.pixels % 4 == 1 else -(-g.pixels // 4) * 4
    depth = CELL * int(pattern.start[-1]) + STORE[site.level.symbol] * pattern.groups
    return [
        Offer(
            kernel, conv.layouts, ("k4p",), g.batch * pixels * CHANNELS * depth, conv.nbytes, "dot8",
            EFFICIENCY[site.level.symbol],
            f"int8 {conv.form}: cells that 64 output channels share, channels as vectors", emit, sparse=pattern.sparse,
        )
    ]  # fmt: skip
