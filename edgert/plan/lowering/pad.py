"""Pad: a copy into the middle of the output, around it a constant, or copies of the input's borders.

The other operators that only move values are in layout.py, whose views and copies this file uses.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from edgert.graph.ir import Array, TensorType
from edgert.plan.lowering.api import Offer, Refusal, Site, lowers
from edgert.plan.lowering.layout import Part, View, copy_offer, shared_layouts, view
from edgert.plan.lowering.shapes import act_byte, is_constant
from edgert.plan.lowering.strided import KERNEL as COPY
from edgert.plan.lowering.strided import Axis

MODES = ("constant", "reflect", "edge", "wrap")


@dataclass(frozen=True)
class Segment:
    """`size` places of one axis: from place `x` on, in steps of `step` (0 repeats, -1 goes back), to place `y` on."""

    size: int
    x: int
    step: int
    y: int


def segments(size: int, before: int, after: int, mode: str) -> list[Segment] | None:
    """The copies that make one axis of a Pad; None where a border reaches further than the axis does. Negative pads
    crop. Source: ONNX Pad-21, mode."""
    first, last = max(-before, 0), size - max(-after, 0)
    left, right, kept = max(before, 0), max(after, 0), last - first
    middle = Segment(kept, first, 1, left)
    if mode == "constant" or not (left or right):
        return [middle]
    if mode == "reflect":
        borders = [Segment(left, first + left, -1, 0), Segment(right, last - 2, -1, left + kept)]
        fits = max(left, right) < kept
    elif mode == "edge":
        borders, fits = [Segment(left, first, 0, 0), Segment(right, last - 1, 0, left + kept)], kept > 0
    else:
        borders = [Segment(left, last - left, 1, 0), Segment(right, first, 1, left + kept)]
        fits = max(left, right) <= kept
    return [middle, *(s for s in borders if s.size)] if fits else None


@lowers("Pad")
def pad(site: Site) -> list[Offer | Refusal]:
    """An activation and constant pads."""
    x, y, mode = site.inputs[0], site.outputs[0], site.node.attr_str("mode", "constant")
    values = (*site.values, None, None)[:4]
    names = (*site.node.inputs, "", "")[:4]
    pads, fill, axes = values[1:4]
    constant = pads is not None and all(v is not None for v, n in zip(values[2:], names[2:], strict=True) if n)
    if x is None or is_constant(site, 0) or not constant or mode not in MODES:
        return [Refusal(COPY, "expected an activation and constant pads")]
    assert pads is not None
    at = range(len(x.shape)) if axes is None else [int(a) % len(x.shape) for a in axes]
    around = [(0, 0)] * len(x.shape)
    for i, axis in enumerate(at):
        around[axis] = int(pads[i]), int(pads[i + len(at)])
    if fill is not None and fill.size:
        value = fill.ravel()[:1].astype(x.np_dtype)
    else:
        value = np.array([0 if x.quant is None else x.quant.zero_point.item()], x.np_dtype)
    return [_pad(site, x, y, layout, mode, around, value) for layout in shared_layouts(x, y)]


def _pad(
    site: Site, x: TensorType, y: TensorType, layout: str, mode: str, around: Sequence[tuple[int, int]], value: Array
) -> Offer | Refusal:  # fmt: skip
    source, target = view(x, layout), view(y, layout)
    if source.unit > 1:
        moved = around[1] != (0, 0)
        if moved and (mode != "constant" or any(n % 4 for n in (*around[1], x.static_shape[1]))):
            return Refusal(COPY, f"channels of k4p are padded by multiples of 4, not by {around[1]}")
        value = np.array([act_byte(site.level, int(value[0]))], np.int8)
        around = [(b // 4, a // 4) if i == 1 else (b, a) for i, (b, a) in enumerate(around)]
    raw = value.tobytes()
    pattern = np.frombuffer((raw * 4)[: max(4, len(raw))], np.int32)
    if pattern.min() != pattern.max():
        return Refusal("fill_row", "repeats four bytes; this 8-byte value has two different halves")
    choices = []
    for size, (before, after) in zip(source.sizes, around, strict=True):
        found = segments(size, before, after, mode)
        if found is None:
            return Refusal(COPY, f"{mode} pads {before}, {after} reach beyond an axis of {size}")
        choices.append(found)
    parts = [_part(source, target, chosen) for chosen in product(*choices)]
    filled = mode == "constant"
    reason = "filled, then copied into the middle" if filled else f"copied, then its borders ({mode})"
    return copy_offer(site, layout, parts, source.element, reason, int(pattern[0]) if filled else None)


def _part(source: View, target: View, chosen: Sequence[Segment]) -> Part:
    """The copy of one segment of each axis."""
    axes = [Axis(s.size, s.step * xs, ys) for s, xs, ys in zip(chosen, source.strides, target.strides, strict=True)]
    x_offset = sum(s.x * stride for s, stride in zip(chosen, source.strides, strict=True))
    return Part(0, axes, x_offset, sum(s.y * stride for s, stride in zip(chosen, target.strides, strict=True)))
