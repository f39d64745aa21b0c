"""Lowering of QLinearConv whose weights have 64x4 patterns, with output channels as vectors: for images of few pixels.

Geometry, padded planes and quantization are conv.py's; patterns with pixels as vectors are conv_sparse.py's.
"""

from __future__ import annotations

import numpy as np

from edgert.graph.ir import Array
from edgert.plan.lowering.api import Buffer, Emitter, Offer, Refusal, Site, layout_nbytes, lowers
from edgert.plan.lowering.conv import Int8Conv

CHANNELS = 64
"""Output channels that share a pattern; BLOCK_BYTES: of one of their cells."""
BLOCK_BYTES = 256
EFFICIENCY = {"portable": 0.5, "avx2": 0.8, "avxvnni": 0.8, "avx512vnni": 0.9, "neon": 0.8, "dotprod": 0.8}


class SharedPattern:
    """What kernels take of b64x4 weights besides their lines."""

    def __init__(self, conv: Int8Conv) -> None:
        self.conv = conv
        self.groups = -(-conv.g.filters // CHANNELS)

    @property
    def blocks(self) -> int:
        """Kept cells of all groups: from sizes alone."""
        stored = self.conv.stored
        return round(stored.density * self.groups * self.conv.g.kernel[0] * self.conv.g.kernel[1] * self.conv.cells)

    def padded(self, values: Array) -> Array:
        """What there is per filter, for whole groups."""
        out = np.zeros(CHANNELS * self.groups, values.dtype)
        out[: len(values)] = values
        return out

    def per_filter(self, e: Emitter) -> dict[str, tuple[Buffer, int]]:
        """Operands `bias` and `scale` for Int8Conv.emit."""
        conv = self.conv
        return {
            "bias": (e.constant(self.padded(conv.bias)), 0),
            "scale": (e.constant(self.padded(conv.multipliers)), 0),
        }


@lowers("QLinearConv")
def conv_b64x4(site: Site) -> Offer | list[Offer | Refusal]:
    """int8, one group of channels."""
    kernel = "conv2d_b64x4_k4p"
    stored = site.stored[1]
    if stored is None or (stored.encoding, stored.layout) != ("block", "b64x4"):
        return []
    conv = Int8Conv.of(kernel, site, "block", "b64x4")
    if isinstance(conv, Refusal):
        return [conv]
    if conv.g.group > 1:
        return [Refusal(kernel, f"{conv.g.group} groups: patterns of 64 channels are for convolutions of one")]
    g, pattern = conv.g, SharedPattern(conv)

    def emit(e: Emitter, inputs: tuple[Buffer | None, ...], outputs: tuple[Buffer, ...]) -> None:
        taps = conv.taps[np.asarray(stored.parts["index"])]
        own = {
            "taps": (e.constant(taps), 0), "start": (e.weights(stored, "start"), 0),
            "w": (e.weights(stored, "data"), 0), **pattern.per_filter(e),
        }  # fmt: skip
        # to this kernel a vector is one pixel
        per_row = g.pixels if conv.planes is None else g.out[1]
        params = {"groups4": conv.out_cells, "vectors": g.pixels, "per_row": per_row}
        conv.emit(e, inputs, outputs[0], kernel, own, params, min(conv.slices, pattern.groups), 64)

    pixels = g.pixels if g.pixels % 4 == 1 else -(-g.pixels // 4) * 4
    macs = g.batch * pixels * pattern.blocks * BLOCK_BYTES
    nbytes = conv.nbytes
    return Offer(
        kernel, conv.layouts, ("k4p",), macs, nbytes, "dot8", EFFICIENCY[site.level.symbol],
        f"int8 {conv.form}: cells shared by 64 output channels, which are the vectors", emit,
        sparse=f"{stored.pattern} {round(100 * (1 - stored.density))} %",
    )  # fmt: skip
