"""Lowering of QLinearConv to AMX tiles: weights repacked into tiles, and when tiles are worth their fixed cost.

Everything else, geometry, padded planes, quantization, is conv.py's.
"""

from __future__ import annotations

import numpy as np

from edgert.graph.ir import Array
from edgert.plan.lowering.api import Buffer, Emitter, Offer, Refusal, Site, lowers
from edgert.plan.lowering.conv import Int8Conv

TILE_ROWS = 16
"""Rows of a tile: output channels of the weights' tiles, cells (4 channels of 16 pixels) of the input's."""
TILE_BYTES = 1024
SCRATCH = 4 * TILE_BYTES + 2 * 64 + 64 + 8 * TILE_BYTES
"""Four tiles of sums, two vectors of narrow rows, and the configuration and eight tiles of the software model."""
EFFICIENCY, FIXED_DEPTH = 2.4, 58
"""Share of the *vector* unit's int8 peak, so above 1, at great depth, and the depth at which half of it is reached:
the tiles' sums take as long to leave as about 58 steps of k. Fitted to pointwise prototypes, 2.2 times the vector
kernel around k = 120 and 2.6 and more at several hundred; not yet measured with this kernel on silicon."""


def tile_starts(cells: int) -> tuple[int, list[int]]:
    """(cells per tile, first cell of each tile): equal tiles of at most 16 cells that cover all; the last one may
    overlap the one before, so that no tile reads beyond the input's planes."""
    count = -(-cells // TILE_ROWS)
    rows = -(-cells // count)
    return rows, [min(i * rows, cells - rows) for i in range(count)]


def tile_weights(data: Array, groups: int, taps: int, cells: int) -> Array:
    """n4k4 weights, int8 [groups * N/4, taps, cells, 4 n, 4 c], as [groups, N/16, taps, tiles, 16 n, 16 cells, 4 c],
    with zeros where a tile has fewer channels or cells, or covers what the tile before it did."""
    rows, starts = tile_starts(cells)
    per_group = data.size // (groups * taps * cells * 16)
    blocks = -(-per_group // 4)
    padded = np.zeros((groups, blocks * 4, taps, cells, 4, 4), np.int8)
    padded[:, :per_group] = data.reshape(groups, per_group, taps, cells, 4, 4)
    # [groups, N/16, taps, 16 n, cells, 4 c]
    lines = padded.reshape(groups, blocks, 4, taps, cells, 4, 4).transpose(0, 1, 3, 2, 5, 4, 6)
    lines = lines.reshape(groups, blocks, taps, 16, cells, 4)
    tiles = np.zeros((groups, blocks, taps, len(starts), 16, TILE_ROWS, 4), np.int8)
    for i, start in enumerate(starts):
        done = i * rows - start
        tiles[:, :, :, i, :, done:rows] = lines[:, :, :, :, start + done : start + rows]
    return tiles


def tile_config(rows: int) -> Array:
    """uint8 [64], palette 1: tiles 0-3 are sums [16, 16] int32, 4-5 weights [16, 4 rows], 6-7 input [rows, 16 x 4]."""
    config = np.zeros(64, np.uint8)
    config[0] = 1
    config[16:32].view(np.uint16)[:] = [64] * 4 + [4 * rows] * 2 + [64] * 2
    config[48:56] = [16] * 6 + [rows] * 2
    return config


def efficiency(depth: int) -> float:
    """Predicted share of the vector unit's peak when `depth` products are summed for each output."""
    return EFFICIENCY * depth / (depth + FIXED_DEPTH)


@lowers("QLinearConv")
def conv_q8_amx(site: Site) -> Offer | Refusal:
    """int8 on AMX tiles; levels without them, and images of one vector of pixels, are left to conv_q8."""
    kernel = "conv2d_q8_k4p_amx"
    if "amx" not in site.level.features:
        return Refusal(kernel, f"{site.level.name} has no AMX tiles")
    conv = Int8Conv.of(kernel, site)
    if isinstance(conv, Refusal):
        return conv
    if conv.pixels <= TILE_ROWS:
        return Refusal(kernel, f"{conv.g.pixels} output pixels: half of a 32 x 32 block would be idle")
    g, cells = conv.g, conv.group_cells
    rows, starts = tile_starts(cells)
    taps = g.kernel[0] * g.kernel[1]
    blocks = taps * len(starts)
    channel_tiles = -(-conv.group_out // 4)

    def emit(e: Emitter, inputs: tuple[Buffer | None, ...], outputs: tuple[Buffer, ...]) -> None:
        data = np.asarray(conv.stored.parts["data"]).reshape(-1)
        tiles = e.constant(tile_weights(data, g.group, taps, cells))
        offsets = np.ascontiguousarray(conv.taps.reshape(taps, cells)[:, starts])
        own = {
            "taps": (e.constant(offsets), 0), "w": (tiles, TILE_BYTES * blocks * channel_tiles),
            "config": (e.constant(tile_config(rows)), 0), **conv.per_filter(e),
        }  # fmt: skip
        params = {"blocks": blocks, "x_plane": conv.x_plane, "groups4": conv.group_out}
        slices = min(conv.slices, -(-channel_tiles // 2))
        conv.emit(e, inputs, outputs[0], kernel, own, params, slices, SCRATCH)

    depth = blocks * 4 * TILE_ROWS
    macs = g.batch * g.group * channel_tiles * TILE_ROWS * conv.pixels * depth
    return Offer(
        kernel, conv.layouts, ("k4p",), macs, conv.nbytes, "dot8", efficiency(depth),
        f"int8 {conv.form}: AMX tiles of 16 channels x {4 * rows} k, weights repacked at load", emit,
    )  # fmt: skip
