"""Lowering of Conv with float weights in blocks to the kernels that skip absent blocks.

Everything else, geometry and padded planes, is conv_float.py's.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from edgert.graph.ir import Array
from edgert.plan.lowering.api import Buffer, Emitter, Offer, Refusal, Site, lowers
from edgert.plan.lowering.conv_float import FloatConv
from edgert.plan.lowering.sparse_site import words

ROWS = {"b4x1": 4, "b2x1": 2, "b1x1": 1}
"""Output channels of a block, by layout."""
_AVX2 = {"b4x1": (1.0,), "b2x1": (1.03,), "b1x1": (1.25, 1.6)}
_NEON = {"b4x1": (1.05,), "b2x1": (1.15,), "b1x1": (1.25, 1.6)}
COSTS = {
    "avx512vnni": {"b4x1": (1.0,), "b2x1": (1.06,), "b1x1": (1.15, 1.85)},
    "avxvnni": _AVX2,
    "avx2": _AVX2,
    "portable": {"b4x1": (1.0,), "b2x1": (0.8,), "b1x1": (1.0, 1.0)},
    "dotprod": _NEON,
    "neon": _NEON,
}
"""What a weight takes, in multiply-adds of the dense kernel, by the level's symbol and the layout; of b1x1 one whose
input both channels of its pair have, and one that is alone. Fitted on x86 to layers of mobile networks with random
patterns; on ARM from the instructions."""
FAR = {
    64: {"b4x1": 1.15, "b2x1": 1.65, "b1x1": 1.45},
    32: {"b4x1": 1.05, "b2x1": 1.3, "b1x1": 1.2},
    16: {"b4x1": 1.0, "b2x1": 1.0, "b1x1": 1.0},
}
"""How much longer that is, by the bytes of a vector, where the input of a tile is more than NEAR."""
NEAR = 40 << 10
"""Bytes of input that a tile reads over and over, while they stay in a first-level cache of 48 KB."""
WIDE = 6
"""Pixel vectors of a tile, more or less."""
STORE = 4
"""What storing an output takes, in the same unit."""
CACHED = 4 << 20
"""Bytes of activations beyond which they come from memory: then zeros among the weights win little."""
EFFICIENCY = 0.85
"""That of the dense kernel, whose multiply-adds are the unit."""


def work(start: Array, layout: str, costs: tuple[float, ...]) -> float:
    """What all stored weights take for each pixel, in multiply-adds of the dense kernel."""
    if ROWS[layout] > 1:
        return ROWS[layout] * float(start[-1]) * costs[0]
    shared = int((start[:-1, 1] - start[:-1, 0]).sum())
    alone = int(start[-1, 0]) - shared
    return 2 * shared * costs[0] + alone * costs[1]


@lowers("Conv")
def conv_f32_sparse(site: Site) -> list[Offer | Refusal]:
    """float32 weights in blocks of 4, 2 or 1 output channels."""
    stored = site.stored[1]
    if stored is None or stored.encoding != "block" or stored.layout not in ROWS:
        return []
    kernel, rows = f"conv2d_{stored.layout}_kp", ROWS[stored.layout]
    conv = FloatConv.of(kernel, site, "block", stored.layout)
    if isinstance(conv, Refusal):
        return [conv]
    g = conv.g
    start = np.asarray(stored.parts["start"], np.int64)
    group = max(rows, 2)

    level = site.level
    tile = len(conv.taps) * min(WIDE * level.vector_bytes, 4 * conv.pixels)
    far = FAR[level.vector_bytes][stored.layout] if tile > NEAR else 1.0
    macs = conv.pixels * (far * work(start, stored.layout, COSTS[level.symbol][stored.layout]) + STORE * g.filters)
    conv = replace(conv, work=round(macs))

    def emit(e: Emitter, inputs: tuple[Buffer | None, ...], outputs: tuple[Buffer, ...]) -> None:
        # of one group of the convolution: a number for every group of channels, or four for every pair of them
        starts = 4 * conv.group_filters // group * (start.size // len(start))
        own = {
            "taps": (e.constant(conv.taps), 0), "index": (e.weights(stored, "index"), 0),
            "start": (e.weights(stored, "start"), starts), "w": (e.weights(stored, "data"), 0),
        }  # fmt: skip
        conv.emit(e, inputs, outputs[0], kernel, own, conv.rows(group))

    activations = conv.nbytes - stored.nbytes
    return [
        Offer(
            kernel, conv.layouts, ("kp",), round(g.batch * macs), conv.nbytes, "fma32", EFFICIENCY,
            f"float {conv.form}: blocks of {rows} output channels, pixels as vectors", emit,
            streamed=activations if activations > CACHED else 0,
            sparse=words(stored),
        )
    ]  # fmt: skip
