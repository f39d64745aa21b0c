"""Operators that only move values: free renamings, and strided copies in row, kp or k4p.

Conversions between layouts and dtypes are in convert.py, from which the planner's `conversion` is re-exported.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from edgert.graph.ir import Array, TensorType
from edgert.plan.lowering.api import Buffer, Emitter, Offer, Refusal, Site, layout_nbytes, lowers
from edgert.plan.lowering.convert import conversion
from edgert.plan.lowering.shapes import (
    Planes,
    is_constant,
    plane_layout,
    same_buffer,
    same_quant,
    split,
    too_large,
)  # fmt: skip
from edgert.plan.lowering.strided import KERNEL as COPY
from edgert.plan.lowering.strided import Axis, contiguous_strides, emit_copy, merge

__all__ = ["conversion"]

VECTOR = 64
"""Bytes of the widest vector: shorter rows are copied element by element."""


@dataclass(frozen=True)
class View:
    """A tensor in a layout as an array of `element` bytes with any strides: row has the tensor's own axes; kp has
    [N, C, *spatial] floats; k4p has [N, C/4, *spatial] pixels of four bytes."""

    element: int
    sizes: tuple[int, ...]
    strides: tuple[int, ...]
    unit: int = 1
    """Channels per step of axis 1."""


def view(kind: TensorType, layout: str) -> View:
    if layout == "row":
        element = kind.np_dtype.itemsize
        return View(element, kind.static_shape, tuple(contiguous_strides(kind.static_shape, element)))
    planes = Planes.of(kind)
    unit = 4 if layout == "k4p" else 1
    channels = -(-planes.channels // unit)
    plane = 4 * planes.padded
    strides = (channels * plane, plane, *contiguous_strides(planes.spatial, 4))
    return View(4, (planes.batch, channels, *planes.spatial), strides, unit)


@lowers("Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Dropout")
def rename(site: Site) -> list[Offer | Refusal]:
    """The same values under another shape: free where the output may take the input's memory."""
    x, y = site.inputs[0], site.outputs[0]
    if x is None or is_constant(site, 0) or len(site.outputs) > 1:
        return [Refusal(COPY, "expected one activation in and one out")]
    if site.node.op == "Dropout" and len(site.inputs) > 2 and site.inputs[2] is not None and site.values[2] is None:
        return [Refusal(COPY, "expected a training_mode that is known, found one of the run")]
    layouts = ["row"]
    planes = plane_layout(x)
    if planes and planes == plane_layout(y):
        a, b = Planes.of(x), Planes.of(y)
        if (a.batch, a.channels, a.pixels) == (b.batch, b.channels, b.pixels):
            layouts.insert(0, planes)
    absent = (None,) * (len(site.inputs) - 1)
    return [_rename(site, x, layout, absent) for layout in layouts]


def _rename(site: Site, x: TensorType, layout: str, absent: tuple[None, ...]) -> Offer | Refusal:
    nbytes = layout_nbytes(x, layout)
    element = x.np_dtype.itemsize if layout == "row" else 4
    # A run of bytes: cut in rows so that threads can share it.
    rows = next((n for n in (256, 64, 16, 4) if nbytes // element % n == 0), 1)
    axes = [Axis(rows, nbytes // rows, nbytes // rows), Axis(nbytes // element // rows, element, element)]

    def emit(emitter: Emitter, inputs: tuple[Buffer | None, ...], outputs: tuple[Buffer, ...]) -> None:
        if inputs[0] is not None and not same_buffer(inputs[0], outputs[0]):
            emit_copy(emitter, inputs[0], outputs[0], axes, element, site.threads)

    return too_large(COPY, nbytes) or Offer(
        COPY, (layout, *absent), (layout,), 0, 2 * nbytes, "bytes", 0.6, "another shape of the same bytes", emit,
        in_place=0,
    )  # fmt: skip


@lowers("Transpose")
def transpose(site: Site) -> Offer | Refusal:
    x, y = site.inputs[0], site.outputs[0]
    if x is None or is_constant(site, 0):
        return Refusal(COPY, "expected an activation")
    perm = site.node.attr_ints("perm", list(range(len(x.shape)))[::-1])
    source, target = view(x, "row"), view(y, "row")
    axes = [Axis(target.sizes[i], source.strides[p], target.strides[i]) for i, p in enumerate(perm)]
    return copy_offer(site, "row", [Part(0, axes, 0, 0)], source.element, "axes in another order")


@lowers("Expand")
def expand(site: Site) -> Offer | Refusal:
    """Broadcasting is a stride of 0."""
    x, y = site.inputs[0], site.outputs[0]
    if x is None or is_constant(site, 0):
        return Refusal(COPY, "expected an activation")
    source, target = view(x, "row"), view(y, "row")
    missing = len(target.sizes) - len(source.sizes)
    strides = [0] * missing + [s if n > 1 else 0 for n, s in zip(source.sizes, source.strides, strict=True)]
    axes = [Axis(n, x_stride, s) for n, x_stride, s in zip(target.sizes, strides, target.strides, strict=True)]
    return copy_offer(site, "row", [Part(0, axes, 0, 0)], source.element, "broadcast")


@lowers("Tile")
def tile(site: Site) -> Offer | Refusal:
    """Axis i becomes two: the repetitions, which read the same values, and the values."""
    x, repeats = site.inputs[0], site.values[1]
    if x is None or is_constant(site, 0) or repeats is None:
        return Refusal(COPY, "expected an activation and constant repeats")
    source, target = view(x, "row"), view(site.outputs[0], "row")
    axes = []
    for n, times, xs, ys in zip(source.sizes, repeats.tolist(), source.strides, target.strides, strict=True):
        axes += [Axis(int(times), 0, n * ys), Axis(n, xs, ys)]
    return copy_offer(site, "row", [Part(0, axes, 0, 0)], source.element, "repeated")


@lowers("Slice")
def slice_(site: Site) -> list[Offer | Refusal]:
    x, y = site.inputs[0], site.outputs[0]
    rest = site.values[1:]
    constant = all(v is not None for v, name in zip(rest, site.node.inputs[1:], strict=True) if name)
    if x is None or is_constant(site, 0) or not constant:
        return [Refusal(COPY, "expected an activation and constant starts, axes and steps")]
    starts = _listed(rest[:1], ())
    axes = _listed(rest[2:3], range(len(starts)))
    steps = _listed(rest[3:4], [1] * len(starts))
    first, step = [0] * len(x.shape), [1] * len(x.shape)
    for axis, start, by in zip(axes, starts, steps, strict=True):
        n = x.static_shape[axis]
        # Python's rules: negative positions count from the end, too large ones are clipped
        first[axis] = slice(start, None, by).indices(n)[0]
        step[axis] = by
    return [_slice(site, x, y, layout, first, step) for layout in shared_layouts(x, y)]


def _listed(value: Sequence[Array | None], default: Sequence[int]) -> list[int]:
    """The values of an optional input: `value` is empty or holds it."""
    found = value[0] if value else None
    return [int(v) for v in (default if found is None else found.ravel())]


def _slice(
    site: Site, x: TensorType, y: TensorType, layout: str, first: Sequence[int], step: Sequence[int]
) -> Offer | Refusal:
    source, target = view(x, layout), view(y, layout)
    if source.unit > 1 and (first[1] % source.unit or step[1] != 1):
        return Refusal(COPY, f"a slice of k4p must begin at a multiple of 4 channels, not at {first[1]}")
    at = [f // source.unit if i == 1 else f for i, f in enumerate(first)]
    axes = [
        Axis(n, xs * by, ys) for n, xs, ys, by in zip(target.sizes, source.strides, target.strides, step, strict=True)
    ]
    offset = sum(a * s for a, s in zip(at, source.strides, strict=True))
    return copy_offer(site, layout, [Part(0, axes, offset, 0)], source.element, "a part of the input")


@lowers("Split")
def split_(site: Site) -> list[Offer | Refusal]:
    """One copy per output."""
    x = site.inputs[0]
    if x is None or is_constant(site, 0):
        return [Refusal(COPY, "expected an activation")]
    axis = site.node.attr_int("axis", 0) % len(x.shape)
    offers: list[Offer | Refusal] = []
    for layout in shared_layouts(x, *site.outputs):
        source, parts, position, fits = view(x, layout), [], 0, True
        for i, y in enumerate(site.outputs):
            target = view(y, layout)
            unit = source.unit if axis == 1 else 1
            fits = fits and position % unit == 0
            axes = [Axis(*a) for a in zip(target.sizes, source.strides, target.strides, strict=True)]
            parts.append(Part(0, axes, position // unit * source.strides[axis], 0, output=i))
            position += y.static_shape[axis]
        if fits:
            offers.append(copy_offer(site, layout, parts, source.element, "each part copied"))
        else:
            offers.append(Refusal(COPY, "parts of k4p must begin at multiples of 4 channels"))
    return offers


@lowers("Concat", "QLinearConcat")
def concat(site: Site) -> list[Offer | Refusal]:
    """One copy per input, where bytes mean the same in all of them."""
    y = site.outputs[0]
    inputs = [x for x in site.inputs if x is not None]
    if any(is_constant(site, i) for i in range(len(site.inputs))) or len(inputs) != len(site.inputs):
        return [Refusal(COPY, "expected activations only")]
    if not same_quant(*inputs, y) or any(len(x.shape) != len(y.shape) for x in inputs):
        return [Refusal(COPY, "the inputs are quantized differently from the output")]
    axis = site.node.attr_int("axis", 0) % len(y.shape)
    offers: list[Offer | Refusal] = []
    for layout in shared_layouts(*inputs, y):
        target, parts, position, fits = view(y, layout), [], 0, True
        for i, x in enumerate(inputs):
            source = view(x, layout)
            unit = target.unit if axis == 1 else 1
            fits = fits and position % unit == 0
            axes = [Axis(*a) for a in zip(source.sizes, source.strides, target.strides, strict=True)]
            parts.append(Part(i, axes, 0, position // unit * target.strides[axis]))
            position += x.static_shape[axis]
        if fits:
            offers.append(copy_offer(site, layout, parts, target.element, "each input copied to its place"))
        else:
            offers.append(Refusal(COPY, "inputs in k4p must end at multiples of 4 channels"))
    return offers


@dataclass(frozen=True)
class Part:
    """One copy of a node: which input, over which axes, from which byte to which byte of which output."""

    input: int
    axes: list[Axis]
    x_offset: int
    y_offset: int
    output: int = 0


def shared_layouts(*kinds: TensorType) -> list[str]:
    """Layouts in which all tensors can be: planes first, as they save conversions."""
    planes = plane_layout(kinds[0])
    ok = planes is not None and all(plane_layout(k) == planes and len(k.shape) == len(kinds[0].shape) for k in kinds)
    return [planes, "row"] if ok and planes else ["row"]


def copy_offer(
    site: Site, layout: str, parts: Sequence[Part], element: int, reason: str, fill: int | None = None
) -> Offer | Refusal:  # fmt: skip
    """The offer that makes all `parts`, after filling the output with `fill`."""
    kinds = [k for k in (*site.inputs, *site.outputs) if k is not None]
    nbytes = max(prod(v.sizes) * v.element for v in (view(k, "row") for k in kinds))
    refusal = too_large(COPY, 4 * nbytes)
    merged = [merge(part.axes) for part in parts]
    if refusal is not None or None in merged:
        return refusal or Refusal(COPY, "more than 8 axes remain, or strides beyond 2 GB")
    longest = [axes[-1] for axes in merged if axes]
    efficiency = min((_speed(axis, element) for axis in longest), default=0.5)
    traffic = sum(2 * element * prod(a.size for a in part.axes) for part in parts)
    total = sum(layout_nbytes(y, layout) for y in site.outputs)

    def emit(emitter: Emitter, inputs: tuple[Buffer | None, ...], outputs: tuple[Buffer, ...]) -> None:
        if fill is not None and total:
            chunks = split(site.threads, total // 64, total)
            emitter.op("fill_row", {"y": outputs[0]}, {"nbytes": total, "pattern": fill}, chunks=chunks)
        for part, axes in zip(parts, merged, strict=True):
            x = inputs[part.input]
            if x is not None and axes is not None:
                y = outputs[part.output]
                emit_copy(emitter, x, y, axes, element, site.threads, part.x_offset, part.y_offset)

    moved = {part.input for part in parts}
    return Offer(
        COPY, tuple(layout if i in moved else None for i in range(len(site.inputs))), (layout,) * len(site.outputs),
        0, traffic + (total if fill is not None else 0), "bytes", efficiency, reason, emit,
    )  # fmt: skip


def _speed(inner: Axis, element: int) -> float:
    """Share of the memory peak that a copy with this innermost axis reaches: measured on runs of whole vectors, and
    element by element."""
    run = inner.x_stride == inner.y_stride == element and inner.size * element >= VECTOR
    return 0.5 if run else 0.03 * element
