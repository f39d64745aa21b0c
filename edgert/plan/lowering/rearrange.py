"""Operators that are one strided copy in disguise: DepthToSpace, SpaceToDepth, nearest Resize by whole factors.

Plain movement (Transpose, Slice, Concat ...) is in layout.py, whose views of layouts this file uses.
"""

from __future__ import annotations

import numpy as np

from edgert.kernels_cpu.reference.resize import COORDINATES, NEAREST, choice, nearest_index, resized, source_positions
from edgert.plan.lowering.api import Offer, Refusal, Site, lowers
from edgert.plan.lowering.layout import Part, copy_offer, shared_layouts, view
from edgert.plan.lowering.shapes import is_constant
from edgert.plan.lowering.strided import KERNEL as COPY
from edgert.plan.lowering.strided import Axis


@lowers("DepthToSpace", "SpaceToDepth")
def blocks(site: Site) -> list[Offer | Refusal]:
    """Depth [N, C b b, H, W] and space [N, C, H b, W b] are both [N, b, b, C, H, W] (DCR) or [N, C, b, b, H, W]
    (CRD), with strides of their own."""
    x = site.inputs[0]
    if x is None or is_constant(site, 0) or len(x.shape) != 4:
        return [Refusal(COPY, "expected an activation [N, C, H, W]")]
    return [_blocks(site, layout) for layout in shared_layouts(x, site.outputs[0])]


def _blocks(site: Site, layout: str) -> Offer | Refusal:
    x, y, block = site.inputs[0], site.outputs[0], site.node.attr_int("blocksize", 1)
    assert x is not None
    to_space, rows_first = site.node.op == "DepthToSpace", site.node.attr_str("mode", "DCR") == "DCR"
    deep, wide = (view(x, layout), view(y, layout)) if to_space else (view(y, layout), view(x, layout))
    if deep.unit > 1 and (not rows_first or (y if to_space else x).static_shape[1] % deep.unit):
        return Refusal(COPY, "blocks of k4p must be whole groups of 4 channels, ahead of the channels")
    n, channels, height, width = wide.sizes
    sizes = (n, channels, block, block, height // block, width // block)
    # both in the order N, C, block row, block column, H, W
    plane, row, column = wide.strides[1:]
    space = [wide.strides[0], plane, row, column, block * row, block * column]
    by_block, by_channel = (channels, 1) if rows_first else (1, block * block)
    plane = deep.strides[1]
    depth = [deep.strides[0], by_channel * plane, block * by_block * plane, by_block * plane, *deep.strides[2:]]
    source, target = (depth, space) if to_space else (space, depth)
    *outer, row_of_blocks = [Axis(*a) for a in zip(sizes, source, target, strict=True)]
    # the order of the target, so that writes advance through memory, but long rows inside
    axes = [*sorted(outer, key=lambda axis: -axis.y_stride), row_of_blocks]
    return copy_offer(site, layout, [Part(0, axes, 0, 0)], deep.element, "blocks of pixels and channels exchanged")


@lowers("Resize")
def resize_nearest(site: Site) -> list[Offer | Refusal]:
    """Every axis enlarged by a whole factor: each value is read that many times, a stride of 0."""
    x, y, attrs = site.inputs[0], site.outputs[0], site.node.attrs
    values = (*site.values, None, None, None)
    if x is None or is_constant(site, 0) or site.node.attr_str("mode", "nearest") != "nearest":
        return [Refusal(COPY, f"mode {site.node.attr_str('mode', 'nearest')}: only nearest is a copy")]
    given = [v for v, name in zip(values[2:4], (*site.node.inputs, "", "")[2:4], strict=True) if name]
    if not given or any(v is None for v in given):
        return [Refusal(COPY, "scales and sizes are not constant")]
    _, scales = resized(x.static_shape, attrs, values[2], values[3])
    kind, rounding = (
        choice(attrs, "coordinate_transformation_mode", COORDINATES), choice(attrs, "nearest_mode", NEAREST)
    )  # fmt: skip
    factors = []
    for size, out, scale in zip(x.static_shape, y.static_shape, scales, strict=True):
        factor = out // size if size else 1
        positions = source_positions(kind, size, out, scale, (0.0, 1.0))
        index = np.clip(nearest_index(rounding, positions), 0, size - 1)
        if kind == "tf_crop_and_resize" or factor * size != out or (index != np.arange(out) // factor).any():
            return [Refusal(COPY, f"{list(x.shape)} to {list(y.shape)}, {kind}, {rounding}: not each value repeated")]
        factors.append(factor)
    return [_resize(site, layout, factors) for layout in shared_layouts(x, y)]


def _resize(site: Site, layout: str, factors: list[int]) -> Offer | Refusal:
    x, y = site.inputs[0], site.outputs[0]
    assert x is not None
    source, target = view(x, layout), view(y, layout)
    if source.unit > 1 and factors[1] > 1:
        return Refusal(COPY, "channels of k4p are not repeated")
    axes = []
    for size, factor, xs, ys in zip(source.sizes, factors, source.strides, target.strides, strict=True):
        axes += [Axis(size, xs, factor * ys), Axis(factor, 0, ys)]
    return copy_offer(site, layout, [Part(0, axes, 0, 0)], source.element, "each value repeated")
