"""Sizes of convolutions, the padded planes that their taps read, and how images are cut into chunks.

The rules, and everything about quantization, are in conv.py and conv_amx.py.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgert.graph.ir import Array, Node, TensorType
from edgert.kernels_cpu.levels import Level
from edgert.kernels_cpu.reference.window import window
from edgert.plan.lowering.api import Buffer, Emitter, plane_pixels
from edgert.plan.lowering.shapes import split

MAX_NBYTES = 1 << 30
"""Offsets into padded planes are of 32 bits."""


@dataclass(frozen=True)
class Geometry:
    """Sizes of a 1-D or 2-D convolution, 1-D as one row."""

    batch: int
    channels: int
    height: int
    width: int
    filters: int
    kernel: tuple[int, int]
    strides: tuple[int, int]
    dilations: tuple[int, int]
    pads: tuple[int, int, int, int]
    """top, left, bottom, right."""
    group: int
    out: tuple[int, int]

    @property
    def pixels(self) -> int:
        return self.out[0] * self.out[1]

    @property
    def macs(self) -> int:
        return self.batch * self.filters * self.pixels * self.kernel[0] * self.kernel[1] * self.channels // self.group

    @property
    def direct(self) -> bool:
        """Whether taps can read the input as it lies: pointwise, stride 1, no border."""
        return self.kernel == (1, 1) and self.strides == (1, 1) and self.pads == (0, 0, 0, 0)

    @property
    def depthwise(self) -> bool:
        return self.group == self.channels and self.group > 1

    @classmethod
    def of(cls, node: Node, x: TensorType, w: TensorType, y: TensorType) -> Geometry | None:
        """None for a rank, or an image with its border, that planes cannot hold."""
        xs, ws, ys = x.static_shape, w.static_shape, y.static_shape
        spatial = len(xs) - 2
        if spatial not in (1, 2):
            return None
        win = window(xs[2:], ws[2:], node.attrs)
        one, zero = (1,) * (2 - spatial), (0,) * (2 - spatial)
        height, width = one + tuple(xs[2:])
        top, left = zero + win.before
        bottom, right = zero + win.after
        # Planes are rounded up to whole strides, and their rows to whole vectors of strides.
        down, across = _pair(one + win.strides)
        rows, columns = top + height + bottom + down, left + width + right + 32 * across
        if 4 * xs[0] * xs[1] * rows * columns > MAX_NBYTES:
            return None
        return cls(
            xs[0], xs[1], height, width, ws[0], _pair(one + win.kernel), _pair(one + win.strides),
            _pair(one + win.dilations), (top, left, bottom, right), node.attr_int("group", 1),
            _pair(one + tuple(ys[2:])),
        )  # fmt: skip


def _pair(values: tuple[int, ...]) -> tuple[int, int]:
    return values[0], values[1]


@dataclass(frozen=True)
class Planes:
    """The padded, phase-split input: `phases` planes of rows x columns cells per channel plane."""

    rows: int
    columns: int
    phases: tuple[int, int]

    @classmethod
    def of(cls, g: Geometry, level: Level) -> Planes:
        reach = [(k - 1) * d for k, d in zip(g.kernel, g.dilations, strict=True)]
        lanes = level.vector_bytes // 4
        rows = g.out[0] + reach[0] // g.strides[0]
        columns = max(g.out[1], min(lanes, g.out[1])) + reach[1] // g.strides[1]
        return cls(rows, columns, g.strides)

    @property
    def nbytes(self) -> int:
        """Bytes of one channel plane with all its phases."""
        return 4 * self.rows * self.columns * self.phases[0] * self.phases[1]

    def runs_on(self, g: Geometry) -> bool:
        """Whether the pixels that a tap meets lie one after the other over all rows: nothing is between the rows, as
        where windows do not overlap, or there is one row."""
        return g.out[0] == 1 or self.columns == g.out[1]

    def tap(self, g: Geometry, ky: int, kx: int) -> int:
        """Byte offset of a tap from the plane's beginning."""
        y, x = ky * g.dilations[0], kx * g.dilations[1]
        phase = (y % g.strides[0]) * g.strides[1] + x % g.strides[1]
        return 4 * ((phase * self.rows + y // g.strides[0]) * self.columns + x // g.strides[1])


def row_params(g: Geometry, level: Level, planes: Planes | None, x_plane: int, cells: int) -> dict[str, int]:
    """The geometry params that both convolution kernels share."""
    vector, plane = level.vector_bytes, 4 * plane_pixels(g.pixels)
    if planes is None:
        per_row = vectors = -(-4 * g.pixels // vector)
        row_bytes, pitch = plane, 0
    else:
        row_bytes, pitch = 4 * g.out[1], 4 * planes.columns
        per_row = -(-row_bytes // vector)
        vectors = per_row * g.out[0]
    return {
        "vectors": vectors, "per_row": per_row, "row_last": max(row_bytes - vector, 0), "row_bytes": row_bytes,
        "x_pitch": pitch, "y_plane": plane,
        "x_batch": x_plane * cells,
    }  # fmt: skip


def parts_of(threads: int, vectors: int, macs: int) -> int:
    """Chunks of an image of `macs` multiply-adds: enough for the threads, not less than two tiles each."""
    if threads == 1:
        return 1
    return max(1, min(-(-vectors // 12), split(threads, vectors, 0, macs)))


def slices_of(threads: int, parts: int, groups: int, macs: int) -> int:
    """Slices of the output channels, where an image has too few pixels to give every thread some."""
    return max(1, min(groups, split(threads, groups * parts, 0, macs) // parts))


def emit_planes(e: Emitter, g: Geometry, planes: Planes, x: Buffer, cells: int, border: int) -> tuple[Buffer, int]:
    """The padded copy of `cells` channel planes per image; returns it and its bytes per channel plane."""
    space = e.workspace(g.batch * cells * planes.nbytes + 64)
    e.op(
        "planes_x4", {"x": x, "y": space},
        {
            "height": g.height, "width": g.width, "top": g.pads[0], "left": g.pads[1],
            "stride_h": g.strides[0], "stride_w": g.strides[1], "rows": planes.rows, "columns": planes.columns,
            "border": border, "x_plane": 4 * plane_pixels(g.height * g.width), "y_plane": planes.nbytes,
        },
        chunks=g.batch * cells, scratch=4 * planes.columns + 128,
    )  # fmt: skip
    return space, planes.nbytes


def tap_offsets(g: Geometry, planes: Planes | None, cells: int, plane_bytes: int) -> Array:
    """Byte offset of every (tap, channel cell) in weight order: taps outer, channels inner."""
    offsets = []
    for ky in range(g.kernel[0]):
        for kx in range(g.kernel[1]):
            tap = planes.tap(g, ky, kx) if planes is not None else 0
            offsets += [tap + c * plane_bytes for c in range(cells)]
    return np.array(offsets, np.int32)
