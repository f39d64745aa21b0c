"""Lowering of QLinearConv with int8 weights in blocks to the kernels that skip absent blocks.

Everything else, geometry, padded planes, quantization, is conv.py's.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from edgert.format.model import StoredTensor
from edgert.graph.ir import Array
from edgert.plan.lowering.api import Buffer, Emitter, Offer, Refusal, Site, lowers
from edgert.plan.lowering.conv import Int8Conv

ROWS = {"b4x4": 4, "b2x4": 2, "b1x4": 1}
"""Output channels of a block, by layout."""
LINE = 64
"""Bytes of a line of the kernels' operand `channels`: all about four output channels."""
STORE = 4
"""What storing four channels takes, in blocks of 4x4: the work that slices share out beside the blocks themselves."""


@dataclass(frozen=True)
class Starts:
    """Where the blocks of every four output channels begin: first int32 [groups + 1][1, 2 or 8], the last one the end."""

    first: Array

    @classmethod
    def of(cls, stored: StoredTensor) -> Starts:
        rows = ROWS[stored.layout]
        start = np.asarray(stored.parts["start"]).astype(np.int32)
        groups = -(-stored.shape[0] // 4)
        if rows == 1:
            start = start.reshape(-1, 4)
        else:
            start = start.reshape(-1, 1)
        per_group = 4 // rows if rows > 1 else 2
        padded = np.broadcast_to(start[-1], ((groups + 1) * per_group, start.shape[1])).copy()
        padded[: len(start)] = start
        return cls(padded.reshape(groups + 1, -1))


def lines(first: Array, bias: Array, scale: Array) -> Array:
    """uint8 [groups + 1][64], the kernels' operand `channels` of `groups` four output channels: int32 [8] where their
    blocks begin, int32 [4] bias, float32 [4] scale; the last line tells where the last blocks end."""
    words = np.zeros((len(first), LINE // 4), np.int32)
    words[:, : first.shape[1]] = first
    words[:-1, 8:12] = bias.reshape(-1, 4)
    words[:-1, 12:] = scale.reshape(-1, 4).view(np.int32)
    return words.view(np.uint8)
