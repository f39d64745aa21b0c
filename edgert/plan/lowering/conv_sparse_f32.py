"""Lowering of Conv with float weights in blocks to the kernels that skip absent blocks.

Everything else, geometry and padded planes, is conv_float.py's.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from edgert.plan.lowering.api import Buffer, Emitter, Offer, Refusal, Site, lowers
from edgert.plan.lowering.conv_float import FloatConv

ROWS = {"b4x1": 4, "b2x1": 2, "b1x1": 1}
"""Output channels of a block, by layout."""
COSTS = {"b4x1": 1.0, "b2x1": 1.0, "b1x1": 1.0}
EFFICIENCY = 0.85
FIXED_DEPTH = 8
"""What storing an output takes, in multiply-adds."""


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
    conv, g = replace(conv, density=stored.density), conv.g
    start = np.asarray(stored.parts["start"], np.int64)
    # of a pair: where its blocks of both channels, of the first, of the second and its weights begin
    group = max(rows, 2)
    weights = int(start[-1, 3]) if rows == 1 else rows * int(start[-1])

    def emit(e: Emitter, inputs: tuple[Buffer | None, ...], outputs: tuple[Buffer, ...]) -> None:
        per_group = conv.group_filters // group * start[0].size * start.itemsize // 2
        own = {
            "taps": (e.constant(conv.taps), 0), "index": (e.weights(stored, "index"), 0),
            "start": (e.weights(stored, "start"), per_group), "w": (e.weights(stored, "data"), 0),
        }  # fmt: skip
        conv.emit(e, inputs, outputs[0], kernel, own, conv.rows(group))

    macs = g.batch * conv.pixels * (weights + FIXED_DEPTH * g.filters)
    return [
        Offer(
            kernel, conv.layouts, ("kp",), macs, conv.nbytes, "fma32", EFFICIENCY,
            f"float {conv.form}: blocks of {rows} output channels, pixels as vectors", emit,
            sparse=f"{stored.pattern} {round(100 * (1 - stored.density))} %",
        )
    ]  # fmt: skip
