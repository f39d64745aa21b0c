"""Resize of floats by any scales: one weighted sum per axis, from tables made at planning.

Resizing by repeating each value is a copy, see rearrange.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np

from edgert.graph.ir import Array, TensorType
from edgert.kernels_cpu.reference.registry import Call
from edgert.kernels_cpu.reference.resize import COORDINATES, choice, resized, source_positions, taps_of
from edgert.plan.lowering.api import Buffer, Emitter, Offer, Refusal, Site, layout_nbytes, lowers
from edgert.plan.lowering.layout import shared_layouts, view
from edgert.plan.lowering.shapes import is_constant, split, too_large

ROWS, COLUMNS = "resample_rows_f32", "resample_columns_f32"


@dataclass(frozen=True)
class Axis:
    """One axis to resample: which, to how many places, and for each the places and weights, both [out, taps]."""

    axis: int
    index: Array
    weights: Array

    @property
    def out(self) -> int:
        return len(self.index)


@lowers("Resize")
def resize(site: Site) -> list[Offer | Refusal]:
    """float32, constant scales or sizes, any mode."""
    x, y, attrs = site.inputs[0], site.outputs[0], site.node.attrs
    values = (*site.values, None, None, None)[:4]
    if x is None or x.dtype != "float32" or is_constant(site, 0) or not x.numel:
        return [Refusal(ROWS, f"expected float32 activations, found {'none' if x is None else x.dtype}")]
    if values[2] is None and values[3] is None:
        return [Refusal(ROWS, "scales and sizes are not constant")]
    kind = choice(attrs, "coordinate_transformation_mode", COORDINATES)
    if kind == "tf_crop_and_resize":
        return [Refusal(ROWS, "a region of its own: tf_crop_and_resize")]
    call, axes = Call("Resize", dict(attrs)), []
    _, scales = resized(x.static_shape, attrs, values[2], values[3])
    for axis, (size, out, scale) in enumerate(zip(x.static_shape, y.static_shape, scales, strict=True)):
        if out != size or scale != 1:
            positions = source_positions(kind, size, out, scale, (0.0, 1.0))
            axes.append(Axis(axis, *taps_of(call, positions, size, scale)))
    if not axes:
        return [Refusal(ROWS, "no size changes")]
    # What shrinks comes first; what grows does so from the last axis on, whose values are gathered one by one.
    axes.sort(key=lambda a: (a.out / x.static_shape[a.axis] >= 1, -a.axis))
    spatial = min(a.axis for a in axes) > 1
    layouts = [layout for layout in shared_layouts(x, y) if layout == "row" or spatial]
    return [_offer(site, x, layout, axes) for layout in layouts]


def _offer(site: Site, x: TensorType, layout: str, axes: list[Axis]) -> Offer | Refusal:
    y = site.outputs[0]
    shape, steps, traffic = list(x.static_shape), [], 0
    for axis in axes:
        before = tuple(shape)
        shape[axis.axis] = axis.out
        steps.append((before, tuple(shape), axis))
        traffic += 4 * (prod(before) + prod(shape))

    def emit(e: Emitter, inputs: tuple[Buffer | None, ...], outputs: tuple[Buffer, ...]) -> None:
        source, at = inputs[0], view(x, layout).strides
        assert source is not None
        for i, (before, after, axis) in enumerate(steps):
            last = i == len(steps) - 1
            target = outputs[0] if last else e.workspace(4 * prod(after) + 64)
            to = view(y if last else TensorType("float32", after), layout if last else "row").strides
            _emit(e, site.threads, source, target, before, at, to, axis)
            source, at = target, to

    absent = (None,) * (len(site.inputs) - 1)
    largest = max(layout_nbytes(x, layout), layout_nbytes(y, layout), *(4 * prod(after) for _, after, _ in steps))
    return too_large(ROWS, largest) or Offer(
        COLUMNS if axes[0].axis == len(shape) - 1 else ROWS, (layout, *absent), (layout,), 0, traffic, "bytes", 0.15,
        f"{site.node.attr_str('mode', 'nearest')}, {len(axes)} axes one by one", emit,
    )  # fmt: skip


def _emit(
    e: Emitter, threads: int, x: Buffer, y: Buffer, shape: tuple[int, ...], at: tuple[int, ...],
    to: tuple[int, ...], axis: Axis,
) -> None:  # fmt: skip
    """One op: `shape` with byte strides `at` to strides `to`. Axes before one whose planes lie apart (kp) are that
    one's `outer`."""
    columns = axis.axis == len(shape) - 1
    out, taps = axis.index.shape
    # Axes up to 1 are planes of any distance; those between them and this one are contiguous on both sides.
    first = min(axis.axis, 2)
    middle = prod(shape[first : axis.axis])
    params = {"out": out, "taps": taps}
    if columns:
        pitch = -(-out // 16) * 16
        offsets, weights = np.zeros((taps, pitch), np.int32), np.zeros((taps, pitch), np.float32)
        offsets[:, :out], weights[:, :out] = 4 * axis.index.T, axis.weights.T
        params |= {"outer": prod(shape[:first]), "count": middle, "pitch": pitch,
                   "x_outer": at[first - 1] if first else 0, "y_outer": to[first - 1] if first else 0,
                   "x_row": 4 * shape[-1], "y_row": 4 * out}  # fmt: skip
        units = prod(shape[:-1])
    else:
        offsets, weights = (at[axis.axis] * axis.index).astype(np.int32), axis.weights.astype(np.float32)
        apart = axis.axis == first
        distance = (at[first - 1], to[first - 1]) if apart and first else (0, 0)
        if not apart:
            distance = (shape[axis.axis] * at[axis.axis], out * to[axis.axis])
        params |= {"outer": prod(shape[: axis.axis]), "count": prod(shape[axis.axis + 1 :]), "pitch": taps,
                   "x_outer": distance[0], "y_outer": distance[1], "x_row": 0, "y_row": to[axis.axis]}  # fmt: skip
        units = prod(shape[: axis.axis]) * out
    chunks = split(threads, units, 4 * (prod(shape) + prod(shape) // shape[axis.axis] * out))
    operands = {"x": x, "offsets": e.constant(offsets), "weights": e.constant(weights), "y": y}
    e.op(COLUMNS if columns else ROWS, operands, params, chunks=chunks)
