"""Lowering of QLinearConv with int8 weights in blocks to the kernels that skip absent blocks.

Everything else, geometry, padded planes, quantization, is conv.py's.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from edgert.format.model import StoredTensor
from edgert.graph.ir import Array
from edgert.plan.lowering.api import Buffer, Emitter, Offer, Refusal, Site, lowers
from edgert.plan.lowering.conv import PEAK, STORE, Int8Conv
from edgert.plan.lowering.sparse_site import words

ROWS = {"b4x4": 4, "b2x4": 2, "b1x4": 1}
"""Output channels of a block, by layout."""
LINE = 64
"""Bytes of a line of the kernels' operand `channels`: all about four output channels."""
WIDE = 7
"""Pixel vectors of the widest tile of the kernels."""
COSTS = {
    "avx512vnni": {"b4x4": (1.05,), "b2x4": (0.6,), "b1x4": (0.74, 0.61)},
    "avxvnni": {"b4x4": (1.03,), "b2x4": (0.54,), "b1x4": (0.54, 0.45)},
    "avx2": {"b4x4": (1.05,), "b2x4": (0.52,), "b1x4": (0.49, 0.335)},
    "portable": {"b4x4": (1.05,), "b2x4": (0.47,), "b1x4": (0.48, 0.28)},
    "dotprod": {"b4x4": (1.0,), "b2x4": (0.58,), "b1x4": (0.67, 0.39)},
    "neon": {"b4x4": (1.0,), "b2x4": (0.5,), "b1x4": (0.52, 0.3)},
}
"""What a block takes, in 4x4 blocks of the dense kernel, by the level's symbol and the layout; of b1x4 a block of both
channels and one of one. Fitted on x86 to pointwise and 3x3 layers, alone and in their networks; instructions counted
on ARM."""
NEAR = 48 << 10
"""Bytes of input that a tile reads over and over, while they stay in the first-level cache."""
FAR, FARTHEST, ACROSS = 1.2, 1.35, 1.25
"""Where dot products are so fast that loads are what bounds, blocks of one or two channels take longer: by this share
of what of NEAR is exceeded, up to so much in all; and by the last where vectors of 64 bytes cross cache lines."""


def starts(stored: StoredTensor) -> Array:
    """int32 [groups + 1, 4 / rows, 1], for b1x4 [groups + 1, 2, 4]: where the blocks of every four output channels
    begin; the last of them is the end of all."""
    rows = ROWS[stored.layout]
    start: Array = np.asarray(stored.parts["start"]).astype(np.int32).reshape(-1, 4 if rows == 1 else 1)
    per_group = 4 // max(rows, 2)
    groups = -(-stored.shape[0] // 4)
    padded = np.tile(start[-1], ((groups + 1) * per_group, 1))
    padded[: len(start)] = start
    found: Array = padded.reshape(groups + 1, per_group, -1)
    return found


def work(first: Array, costs: tuple[float, ...]) -> Array:
    """float64 [groups]: what the blocks of every four output channels take, in 4x4 blocks of the dense kernel."""
    kinds = 3 if len(costs) == 2 else 1
    edges = np.append(first[:-1, :, :kinds].reshape(-1), first[-1, 0, 0])
    blocks = np.diff(edges).reshape(len(first) - 1, -1, kinds)
    found: Array = (blocks * np.array([costs[0], *costs[1:] * 2])).sum(axis=(1, 2))
    return found


def loading(conv: Int8Conv, rows: int) -> float:
    """How much longer blocks of so many rows take because of where their input lies."""
    level = conv.site.level
    if rows == 4 or "vnni" not in level.features:
        return 1.0
    if level.vector_bytes == 64 and conv.planes is not None and conv.g.kernel[1] > 1:
        return ACROSS
    tile = conv.group_cells * min(WIDE * level.vector_bytes, 4 * conv.pixels)
    return min(1.0 + FAR * max(tile / NEAR - 1.0, 0.0), FARTHEST)


def equal_slices(work: Array, slices: int) -> Array:
    """int32 [slices + 1]: bounds between slices of groups, each with about the same work."""
    done = np.append(0.0, np.cumsum(work))
    wanted = done[-1] * np.arange(slices + 1) / slices
    found: Array = np.rint(np.interp(wanted, done, np.arange(len(done)))).astype(np.int32)
    return found


def lines(first: Array, bias: Array, scale: Array) -> Array:
    """int32 [groups + 1, 16], the kernels' operand `channels`: for every four output channels where their blocks begin
    [8], bias [4], float32 scale [4]; and a line with the end."""
    words = np.zeros((len(first), LINE // 4), np.int32)
    starts = first.reshape(len(first), -1)
    words[:, : starts.shape[1]] = starts
    words[:-1, 8:12] = bias.reshape(-1, 4)
    words[:-1, 12:] = scale.reshape(-1, 4).view(np.int32)
    return words


@lowers("QLinearConv")
def conv_q8_sparse(site: Site) -> Offer | Refusal | list[Offer | Refusal]:
    """int8 weights in blocks of 4, 2 or 1 output channels x 4 input channels."""
    stored = site.stored[1]
    if stored is None or stored.encoding != "block" or stored.layout not in ROWS:
        return []
    kernel = f"conv2d_{stored.layout}_k4p"
    conv = Int8Conv.of(kernel, site, "block", stored.layout)
    if isinstance(conv, Refusal):
        return conv
    conv = replace(conv, density=stored.density)
    g, first, rows = conv.g, starts(stored), ROWS[stored.layout]
    cost = work(first, COSTS[site.level.symbol][stored.layout]) * loading(conv, rows) + STORE[site.level.symbol]

    def emit(e: Emitter, inputs: tuple[Buffer | None, ...], outputs: tuple[Buffer, ...]) -> None:
        slices = conv.slices
        bounds = [equal_slices(w, slices) for w in cost.reshape(g.group, -1)]
        own = {
            "taps": (e.constant(conv.taps), 0), "index": (e.weights(stored, "index"), 0),
            "w": (e.weights(stored, "data"), 0), "bounds": (e.constant(np.stack(bounds)), 4 * (slices + 1)),
            "channels": (e.constant(lines(first, conv.bias, conv.multipliers)), LINE * conv.group_out),
        }  # fmt: skip
        conv.emit(e, inputs, outputs[0], kernel, own, {}, slices, 2 * WIDE * site.level.vector_bytes)

    macs = round(g.batch * conv.pixels * 16 * float(cost.sum()))
    return Offer(
        kernel, conv.layouts, ("k4p",), macs, conv.nbytes, "dot8", PEAK,
        f"int8 {conv.form}: blocks of {rows}x4 channels, pixels as vectors", emit,
        sparse=words(stored),
    )  # fmt: skip
