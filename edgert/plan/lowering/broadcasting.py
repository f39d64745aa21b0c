"""How an operand of a binary operator lies against the output: strides over two outer axes and one inner run.

Both elementwise kernels take their operands this way; which operators use them is in elementwise.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np

from edgert.graph.ir import Array
from edgert.plan.lowering.api import Buffer, Emitter, Site
from edgert.plan.lowering.shapes import Planes, has_planes, is_constant


@dataclass(frozen=True)
class Operand:
    """Element strides over the outer axes; spread: one value for the whole inner run. constant: its values where
    the planner makes the buffer; then `layout` is None."""

    layout: str | None
    stride0: int
    stride1: int
    spread: bool
    constant: Array | None = None

    def buffer(self, emitter: Emitter, given: Buffer | None) -> Buffer | None:
        return given if self.constant is None else emitter.constant(self.constant)


@dataclass(frozen=True)
class Walk:
    """The output as [size0][size1][count] and its two operands."""

    size0: int
    size1: int
    count: int
    a: Operand
    b: Operand


def walk_rows(site: Site) -> Walk | None:
    """Row layout: see walk_inputs."""
    found = walk_inputs(site, 2)
    return None if found is None else Walk(*found[0], *found[1])


def walk_inputs(site: Site, count: int) -> tuple[tuple[int, int, int], list[Operand]] | None:
    """The first `count` inputs in row layout: runs of axes over which each either has all values or repeats become
    one axis of (size0, size1, count); None when more than three such runs remain."""
    y = site.outputs[0].static_shape
    full = []
    for kind in site.inputs[:count]:
        assert kind is not None
        shape = (1,) * (len(y) - len(kind.shape)) + kind.static_shape
        full.append([n == d for n, d in zip(shape, y, strict=True)])
    runs: list[tuple[int, tuple[bool, ...]]] = []  # size, which inputs have all values
    for size, *has_all in zip(y, *full, strict=True):
        if size == 1:
            continue
        if runs and runs[-1][1] == tuple(has_all):
            runs[-1] = (runs[-1][0] * size, tuple(has_all))
        else:
            runs.append((size, tuple(has_all)))
    if len(runs) > 3:
        return None
    runs = [(1, (False,) * count)] * (3 - len(runs)) + runs
    operands = []
    for side in range(count):
        sizes = [size if has_all[side] else 1 for size, has_all in runs]
        stride0 = sizes[1] * sizes[2] if runs[0][1][side] else 0
        stride1 = sizes[2] if runs[1][1][side] else 0
        fixed, value = is_constant(site, side), site.values[side]
        if fixed and value is None:
            return None
        constant = np.ascontiguousarray(value) if fixed else None
        spread = not runs[2][1][side] and runs[2][0] > 1
        operands.append(Operand(None if fixed else "row", stride0, stride1, spread, constant))
    return (runs[0][0], runs[1][0], runs[2][0]), operands


def walk_planes(site: Site) -> Walk | None:
    """kp: rows are planes. Operands may be of the output's shape, one value per channel, or one plane for all
    channels; constants one value per channel or one in all. None for anything else."""
    y = site.outputs[0]
    if not has_planes(y):
        return None
    planes = Planes.of(y)
    operands = [_plane_operand(site, i, planes, len(y.shape)) for i in (0, 1)]
    if operands[0] is None or operands[1] is None:
        return None
    if all(o == Operand("kp", planes.channels * planes.padded, planes.padded, False) for o in operands):
        flat = Operand("kp", 0, 0, False)
        return Walk(1, 1, planes.batch * planes.channels * planes.padded, flat, flat)
    return Walk(planes.batch, planes.channels, planes.padded, operands[0], operands[1])


def _plane_operand(site: Site, index: int, planes: Planes, rank: int) -> Operand | None:
    kind, value = site.inputs[index], site.values[index]
    assert kind is not None
    if is_constant(site, index):
        if value is None:
            return None
        channels = channel_values(value, rank, planes.channels)
        if channels is None:
            return None
        return Operand(None, 0, 1 if len(channels) > 1 else 0, True, channels)
    shape = kind.static_shape
    if len(shape) != rank or not has_planes(kind):
        return None
    own = Planes.of(kind)
    whole = own.spatial == planes.spatial
    if not whole and own.pixels != 1:
        return None
    stride0 = own.channels * own.padded if own.batch == planes.batch else 0
    stride1 = own.padded if own.channels == planes.channels else 0
    return Operand("kp", stride0, stride1, not whole)


def channel_values(value: Array, rank: int, channels: int) -> Array | None:
    """A constant as one value per channel, [C], or one in all, [1]; None when it varies along another axis."""
    shape = (1,) * (rank - value.ndim) + value.shape
    if value.ndim > rank or prod(shape) != shape[1] or shape[1] not in (1, channels):
        return None
    return np.ascontiguousarray(value).reshape(-1)
