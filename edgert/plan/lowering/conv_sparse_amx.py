"""Lowering of QLinearConv with 64x4 patterns to AMX tiles: the kept cells repacked as tiles of weights.

What is shared with the vector kernel for such weights is conv_lines.py's, the tiles' shapes are conv_amx.py's.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from edgert.graph.ir import Array
from edgert.plan.lowering.api import Buffer, Emitter, Offer, Refusal, Site, lowers
from edgert.plan.lowering.conv_amx import EFFICIENCY, FIXED_DEPTH, SCRATCH, TILE_BYTES, TILE_ROWS, tile_config
from edgert.plan.lowering.conv_lines import CELL, CHANNELS, SharedPattern

GATHER = 0.35
"""What gathering a cell's lines takes, as a share of multiplying them. From prototypes with groups of 32 channels, at
2 of 3 zeros twice as fast as dense tiles from K = 480 on; not yet measured with this kernel on silicon."""
PIXELS = 2 * TILE_ROWS
"""Of a block: two vectors."""
MAX_PANEL = 512 << 10
"""Bytes of gathered lines per thread: they should stay in a second-level cache."""


def tile_starts(start: Array) -> Array:
    """int32 [groups + 1]: where each group's tiles of 16 cells begin, from where its cells do."""
    tiles = -(-np.diff(start) // TILE_ROWS)
    return np.append(0, np.cumsum(tiles)).astype(np.int32)


def tile_weights(data: Array, start: Array, first: Array) -> Array:
    """Lines of kept cells, int8 [cells, 64 n, 4 c], as int8 [tiles * 4, 16 n, 16 cells, 4 c]: for each group its tiles
    of channels 0 to 15, then of 16 to 31 and so on, with zeros where the last of them has fewer cells."""
    padded = _padded(data.reshape(-1, CHANNELS, CELL), start, first)
    tiles = padded.reshape(-1, TILE_ROWS, 4, TILE_ROWS, CELL).transpose(2, 0, 3, 1, 4)
    groups = [tiles[:, a:b].reshape(-1, TILE_ROWS, TILE_ROWS, CELL) for a, b in pairwise(first)]
    return np.concatenate(groups)


def tile_taps(taps: Array, start: Array, first: Array) -> Array:
    """int32 [tiles * 16]: the offset of every cell of the tiles; of no cell, 0, which is as good as any."""
    return _padded(taps, start, first)


def _padded(values: Array, start: Array, first: Array) -> Array:
    """Something per kept cell, with room for whole tiles in each group."""
    shift = np.repeat(TILE_ROWS * first[:-1] - start[:-1], np.diff(start))
    padded = np.zeros((TILE_ROWS * int(first[-1]), *values.shape[1:]), values.dtype)
    padded[np.arange(len(values)) + shift] = values
    return padded


@lowers("QLinearConv")
def conv_b64x4_amx(site: Site) -> list[Offer | Refusal]:
    """int8 on AMX tiles; levels without them, and images of one vector of pixels, are left to conv_lines."""
    kernel = "conv2d_b64x4_k4p_amx"
    pattern = SharedPattern.of(kernel, site)
    if not isinstance(pattern, SharedPattern):
        return [] if pattern is None else [pattern]
    if "amx" not in site.level.features:
        return [Refusal(kernel, f"{site.level.name} has no AMX tiles")]
    conv, first = pattern.conv, tile_starts(pattern.start)
    if conv.pixels <= TILE_ROWS:
        return [Refusal(kernel, f"{conv.g.pixels} output pixels: half of a block of 32 would be idle")]
    panel = 2 * TILE_BYTES * int(np.diff(first).max(initial=0))
    if panel > MAX_PANEL:
        return [Refusal(kernel, f"{panel} bytes of gathered lines, at most {MAX_PANEL}")]

    def emit(e: Emitter, inputs: tuple[Buffer | None, ...], outputs: tuple[Buffer, ...]) -> None:
        data = np.asarray(conv.stored.parts["data"])
        config = np.concatenate([tile_config(TILE_ROWS), first.view(np.uint8)])
        own = {
            "taps": (e.constant(tile_taps(pattern.taps, pattern.start, first)), 0),
            "w": (e.constant(tile_weights(data, pattern.start, first)), 0), "config": (e.constant(config), 0),
            **pattern.per_filter(e),
        }  # fmt: skip
        params = {"groups4": conv.out_cells, "panel": SCRATCH}
        conv.emit(e, inputs, outputs[0], kernel, own, params, pattern.slices, SCRATCH + panel)

    # the tiles' sums take as long to leave as FIXED_DEPTH steps of k
    depth = (1 + GATHER) * CELL * TILE_ROWS * int(first[-1]) + FIXED_DEPTH * pattern.groups
    pixels = -(-conv.pixels // PIXELS) * PIXELS
    return [
        Offer(
            kernel, conv.layouts, ("k4p",), round(conv.g.batch * pixels * CHANNELS * depth), conv.nbytes, "dot8",
            EFFICIENCY, f"int8 {conv.form}: AMX tiles of 16 channels x 16 kept cells, gathered; repacked at load", emit,
            sparse=pattern.sparse,
        )
    ]  # fmt: skip
