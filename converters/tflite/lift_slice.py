"""Parts of tensors by position, and what is put around them: slices, reversals and padding.
Positions may be computed at run time; what is constant of them is worked out here."""

from __future__ import annotations

import numpy as np

from edgert.converters.tflite.builder import Builder, Refused
from edgert.converters.tflite.lifts import lift
from edgert.converters.tflite.model import TfliteOperator

TO_START, TO_END = -(2**63), 2**63 - 1
"""Ends of a slice that reach the first or last value whatever the size."""


@lift("SLICE")
def slice_(b: Builder, op: TfliteOperator) -> None:
    """Inputs (x, begin, size); a size of -1 reaches to the end."""
    x, begin, size = op.inputs[:3]
    first, count = b.value(begin), b.value(size)
    if first is not None and count is not None:
        pairs = list(zip(first.ravel().tolist(), count.ravel().tolist(), strict=True))
        ends = b.ints("ends", [TO_END if n == -1 else f + n for f, n in pairs])
    else:
        many = b.int64(size)
        rest = b.step("Equal", [many, b.scalar("rest", -1, "int64")])
        ends = b.step("Add", [b.int64(begin), many])
        ends = b.step("Where", [rest, b.scalar("end", TO_END, "int64"), ends])
    b.emit(op, "Slice", [b.data(x), b.int64(begin), ends, b.ints("axes", range(b.rank(x)))])


@lift("STRIDED_SLICE")
def strided_slice(b: Builder, op: TfliteOperator) -> None:
    """Inputs (x, begin, end, strides) and masks: Python's x[begin:end:stride, ..., new axis, index].

    Source: TensorFlow, StridedSlice: bit i of a mask is about entry i of begin. begin_mask and end_mask: from the
    first, to the last value; shrink_axis_mask: one value, the axis goes; new_axis_mask: an axis of size 1, nothing
    of x is taken; ellipsis_mask: all axes that no other entry takes.
    """
    x, begin, end, strides = op.inputs[:4]
    entries = int(np.prod(b.tensor(begin).shape))
    masks = {key: int(op.options[f"{key}_mask"]) for key in ("begin", "end", "ellipsis", "new_axis", "shrink_axis")}
    steps = b.need_ints(strides, "strides")
    if len(steps) != entries or int(np.prod(b.tensor(end).shape)) != entries or 0 in steps:
        raise Refused("strides", f"expected {entries} begins, ends and strides other than 0, found {steps}")
    axes, taken, new, shrunk, place = [], [], [], [], 0
    ellipsis = [i for i in range(entries) if masks["ellipsis"] >> i & 1]
    consumed = sum(1 for i in range(entries) if i not in ellipsis and not masks["new_axis"] >> i & 1)
    rank, made = b.rank(x), 0
    if consumed > rank or len(ellipsis) > 1:
        raise Refused("begin", f"expected at most {rank} entries and one ellipsis, found {consumed}")
    for i in range(entries):
        if i in ellipsis:
            made, place = made + rank - consumed, place + rank - consumed
        elif masks["new_axis"] >> i & 1:
            new.append(made)
            made += 1
        else:
            axes.append(place)
            taken.append(i)
            if masks["shrink_axis"] >> i & 1:
                shrunk.append(place)
            else:
                made += 1
            place += 1
    starts, ends = _bounds(b, op, masks, taken, steps)
    given = [b.data(x), starts, ends, b.ints("axes", axes), b.ints("steps", [_step(masks, i, steps) for i in taken])]
    if not shrunk and not new:
        b.emit(op, "Slice", given)
        return
    name = b.step("Slice", given)
    if shrunk:
        inputs = [name, b.ints("axes", shrunk)]
        if not new:
            b.emit(op, "Squeeze", inputs)
            return
        name = b.step("Squeeze", inputs)
    b.emit(op, "Unsqueeze", [name, b.ints("axes", new)])


def _step(masks: dict[str, int], i: int, steps: list[int]) -> int:
    """The stride of entry i; where one value is taken it does not matter."""
    return 1 if masks["shrink_axis"] >> i & 1 else steps[i]


def _bounds(
    b: Builder, op: TfliteOperator, masks: dict[str, int], taken: list[int], steps: list[int]
) -> tuple[str, str]:
    """(starts, ends) of the entries `taken`, int64 vectors, as ONNX Slice takes them."""
    begin, end = op.inputs[1:3]
    first, last = b.value(begin), b.value(end)
    offset = bool(op.options.get("offset"))
    free_start = [bool(masks["begin"] >> i & 1) and not masks["shrink_axis"] >> i & 1 for i in taken]
    free_end = [bool(masks["end"] >> i & 1) and not masks["shrink_axis"] >> i & 1 for i in taken]
    from_first = [0 if steps[i] > 0 else TO_END for i in taken]
    to_last = [TO_END if steps[i] > 0 else TO_START for i in taken]
    single = [bool(masks["shrink_axis"] >> i & 1) for i in taken]
    if first is not None and (last is not None or all(f or s for f, s in zip(free_end, single, strict=True))):
        starts = [int(first.ravel()[i]) for i in taken]
        ends = [0 if last is None else int(last.ravel()[i]) + (starts[at] if offset else 0)
                for at, i in enumerate(taken)]  # fmt: skip
        after = [s + 1 if s != -1 else TO_END for s in starts]
        ends = [after[at] if single[at] else to_last[at] if free_end[at] else e for at, e in enumerate(ends)]
        starts = [from_first[at] if free_start[at] else s for at, s in enumerate(starts)]
        return b.ints("starts", starts), b.ints("ends", ends)
    one = b.scalar("one", 1, "int64")
    chosen = b.ints("taken", taken)
    begins = b.step("Gather", [b.int64(begin), chosen], {"axis": 0})
    limits = b.step("Gather", [b.int64(end), chosen], {"axis": 0})
    if offset:
        limits = b.step("Add", [limits, begins])
    is_last = b.step("Equal", [begins, b.scalar("last", -1, "int64")])
    after_name = b.step("Where", [is_last, b.scalar("end", TO_END, "int64"), b.step("Add", [begins, one])])
    limits = b.step("Where", [b.constant("free_end", np.array(free_end)), b.ints("to_last", to_last), limits])
    limits = b.step("Where", [b.constant("single", np.array(single)), after_name, limits])
    begins = b.step("Where", [b.constant("free_start", np.array(free_start)), b.ints("from_first", from_first), begins])
    return begins, limits


@lift("REVERSE_V2")
def reverse_v2(b: Builder, op: TfliteOperator) -> None:
    """Backwards along the axes of the second input."""
    axes = b.need_ints(op.inputs[1], "axes")
    n = len(axes)
    bounds = [b.ints("starts", [TO_END] * n), b.ints("ends", [TO_START] * n)]
    b.emit(op, "Slice", [b.data(op.inputs[0]), *bounds, b.ints("axes", axes), b.ints("steps", [-1] * n)])


@lift("PAD", "PADV2")
def pad(b: Builder, op: TfliteOperator) -> None:
    """Constant padding, [rank, 2] before and after each axis; with 0 if there is no third input."""
    x, pads = op.inputs[:2]
    inputs = [b.data(x), _pads(b, pads)]
    if op.op == "PADV2":
        inputs.append(b.data(op.inputs[2]))
    b.emit(op, "Pad", inputs)


def _pads(b: Builder, index: int) -> str:
    """Paddings [rank, 2] as ONNX has them: all before, then all after."""
    value = b.value(index)
    if value is not None:
        return b.ints("pads", value.reshape(-1, 2).T.ravel().tolist())
    wide = b.step("Cast", [b.use(index)], {"to": "int64"})
    return b.step("Reshape", [b.step("Transpose", [wide], {"perm": [1, 0]}), b.ints("flat", [-1])])


@lift("MIRROR_PAD")
def mirror_pad(b: Builder, op: TfliteOperator) -> None:
    """REFLECT leaves the border value out of the mirror image; SYMMETRIC repeats it, which ONNX lacks: there the
    values are gathered axis by axis."""
    x, pads = op.inputs[:2]
    if op.options["mode"] == "REFLECT":
        b.emit(op, "Pad", [b.data(x), _pads(b, pads)], {"mode": "reflect"})
        return
    table = b.need_value(pads, "paddings").reshape(-1, 2)
    name = b.data(x)
    padded = [axis for axis, widths in enumerate(table.tolist()) if any(widths)]
    for axis in padded[:-1]:
        name = b.step("Gather", [name, _mirrored(b, x, axis, table)], {"axis": axis})
    if padded:
        b.emit(op, "Gather", [name, _mirrored(b, x, padded[-1], table)], {"axis": padded[-1]})
    else:
        b.emit(op, "Identity", [name])


def _mirrored(b: Builder, x: int, axis: int, table: np.typing.NDArray[np.integer]) -> str:
    """Positions of `axis` with its mirror image on both sides."""
    size = b.need_size(x, axis, "size to mirror")
    before, after = (int(v) for v in table[axis])
    if not 0 <= before <= size or not 0 <= after <= size:
        raise Refused("paddings", f"expected mirror images of at most {size} values, found {before} and {after}")
    b.check_made("size to mirror", size + before + after)
    return b.ints("mirrored", np.pad(np.arange(size), (before, after), mode="symmetric").tolist())
