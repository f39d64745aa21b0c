"""What every rule of convolutions asks of a site: which inputs are fused, how the weights lie, sizes of work.

Geometry is conv_geometry.py's; the rules are in conv.py (int8), conv_float.py and the files of other kernels.
"""

from __future__ import annotations

import numpy as np

from edgert.format.model import StoredTensor
from edgert.graph.ir import Array
from edgert.kernels_cpu.levels import Level
from edgert.plan.lowering.api import Site
from edgert.plan.lowering.conv_geometry import Geometry, Planes

DEPTHWISE_SCRATCH = 24 << 10
"""Bytes of padded rows that a depthwise band may take: half of a 48 KB first-level cache."""


def slope_of(site: Site) -> int | None:
    """Index of the fused PRelu's slopes, None without one."""
    return len(site.inputs) - 1 if site.node.attr_str("activation", "") == "PRelu" else None


def residual_of(site: Site) -> int | None:
    """Index of the fused residual input, None without one."""
    return _unfused(site) if site.node.attr_int("residual", 0) else None


def bias_of(site: Site) -> int | None:
    """Index of the bias, None without one."""
    last = _unfused(site)
    return 2 if last > 2 and site.inputs[2] is not None else None


def _unfused(site: Site) -> int:
    """How many inputs there are before residual and slopes."""
    return len(site.inputs) - site.node.attr_int("residual", 0) - int(slope_of(site) is not None)


def padded(values: Array, count: int) -> Array:
    """`values` with zeros up to `count` of them."""
    out = np.zeros(count, values.dtype)
    out[: len(values)] = values
    return out


def packed(site: Site, encoding: str, layout: str) -> StoredTensor | None:
    """The stored weight if it has this encoding and layout."""
    stored = site.stored[1]
    return stored if stored is not None and (stored.encoding, stored.layout) == (encoding, layout) else None


def too_big(*sizes: int) -> bool:
    """Whether a size does not fit the 32 bits of a param."""
    return max(sizes) >= 2**31


def vector_pixels(g: Geometry, level: Level, planes: Planes | None) -> int:
    """Pixels of an image that vectors of them really compute, dead lanes included."""
    lanes = level.vector_bytes // 4
    if planes is None:
        return -(-g.pixels // lanes) * lanes
    return -(-g.out[1] // lanes) * lanes * g.out[0]


def padded_macs(g: Geometry, level: Level, planes: Planes | None, cell: int) -> int:
    """Multiply-adds that dense kernels really do, dead lanes included."""
    channels = -(-(g.channels // g.group) // cell) * cell
    filters = -(-g.filters // 4) * 4
    return g.batch * filters * vector_pixels(g, level, planes) * g.kernel[0] * g.kernel[1] * channels
