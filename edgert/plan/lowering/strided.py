"""Copies of row-major tensors as one `copy_strided_row` op each: merging axes and choosing the inner one.

Which operators are such copies is in layout.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod

from edgert.plan.lowering.api import Buffer, Emitter
from edgert.plan.lowering.shapes import MAX_PARAM, split

KERNEL = "copy_strided_row"
AXES = 8


@dataclass(frozen=True)
class Axis:
    """`size` steps of x_stride bytes in the source and y_stride bytes in the target."""

    size: int
    x_stride: int
    y_stride: int


def contiguous_strides(shape: Sequence[int], element: int) -> list[int]:
    """Byte strides of a row-major array."""
    return [element * prod(shape[i + 1 :]) for i in range(len(shape))]


def merge(axes: Sequence[Axis]) -> list[Axis] | None:
    """The same copy over as few axes as possible, in the target's order; None when more than 8 remain or a stride
    is too large for a record."""
    merged: list[Axis] = []
    for axis in axes:
        if axis.size == 1:
            continue
        outer = merged[-1] if merged else None
        if outer and (outer.x_stride, outer.y_stride) == (
            axis.size * axis.x_stride,
            axis.size * axis.y_stride,
        ):
            merged[-1] = Axis(outer.size * axis.size, axis.x_stride, axis.y_stride)
        else:
            merged.append(axis)
    fits = all(max(a.size, abs(a.x_stride), abs(a.y_stride)) <= MAX_PARAM for a in merged)
    return merged if len(merged) <= AXES and fits else None


def emit_copy(
    emitter: Emitter, x: Buffer, y: Buffer, axes: Sequence[Axis], element: int, threads: int,
    x_offset: int = 0, y_offset: int = 0,
) -> None:  # fmt: skip
    """Appends the copy of merged `axes`, outermost first."""
    if any(axis.size == 0 for axis in axes):
        return
    axes = [Axis(1, 0, 0)] * (AXES - len(axes)) + list(axes)
    if axes[-1].size == 1:
        axes[-1] = Axis(1, element, element)
    params: dict[str, int] = {"element": element}
    for i, axis in enumerate(axes):
        params |= {f"size{i}": axis.size, f"x_stride{i}": axis.x_stride, f"y_stride{i}": axis.y_stride}
    rows, nbytes = prod(axis.size for axis in axes[:-1]), element * prod(axis.size for axis in axes)
    offsets: Mapping[str, int] = {"x": x_offset, "y": y_offset}
    emitter.op(KERNEL, {"x": x, "y": y}, params, chunks=split(threads, rows, 2 * nbytes), offsets=offsets)


def reach_back(params: Mapping[str, int | float], side: str) -> int:
    """Bytes before the address of operand `side` ('x' or 'y') that a copy touches: axes of negative stride go there."""
    axes = ((int(params[f"size{i}"]), int(params[f"{side}_stride{i}"])) for i in range(AXES))
    return sum((size - 1) * -stride for size, stride in axes if stride < 0)
