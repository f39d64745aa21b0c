"""Sequences and optionals of ONNX, resolved while importing: a list whose length is known is so many tensors.
Graphs have no such type; inputs, outputs and loop variables that are sequences are refused.

Source: ONNX SequenceAt-11, SplitToSequence-24, ConcatFromSequence-11, OptionalHasElement-18.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from edgert.converters.onnx.builder import Builder, Refused
from edgert.converters.onnx.hints import Hint
from edgert.converters.onnx.normalize import lift
from edgert.converters.onnx.reader import OnnxNode
from edgert.graph.ir import Dim

MAX_PARTS = 4096
"""Tensors a split may make: each is a name in the graph, and a file can declare an axis of any size."""

MAX_LISTED = 1 << 20
"""Tensors in all sequences of a graph together: one that grows by a tensor at a time is so many lists."""

NODE = 16
"""What a node counts among them, about: sequences that are joined have one for each tensor."""

UNKNOWN = "its list of tensors is not known before the model runs; export with a fixed number of tensors"


def elements(b: Builder, name: str) -> list[str]:
    """The ONNX tensors that sequence `name` is made of. Raises Refused when nobody knows them."""
    if name not in b.sequences:
        raise Refused("", UNKNOWN)
    return b.sequences[name]


def keep(b: Builder, name: str, parts: list[str]) -> None:
    """Sequence `name` is made of `parts`. Raises Refused when the sequences of the graph are too long together."""
    charge(b, len(parts))
    b.sequences[name] = parts


def charge(b: Builder, count: int) -> None:
    b.listed += count
    if b.listed > MAX_LISTED:
        raise Refused("", f"expected at most {MAX_LISTED} tensors in all sequences, each counted where it is made")


def position(b: Builder, n: OnnxNode, index: int, count: int, what: str) -> int:
    """Constant input `index` as a position from 0 among `count`. Raises Refused."""
    value = b.value(n.inputs[index])
    if value is None or value.size != 1:
        raise Refused("", f"expected a constant {what}; export the model with one")
    found = int(value.reshape(-1)[0])
    if not -count <= found < count:
        raise Refused("", f"expected a {what} from {-count} to {count - 1}, found {found}")
    return found % count


@lift("SequenceEmpty", "SequenceConstruct")
def construct(b: Builder, n: OnnxNode) -> None:
    keep(b, n.outputs[0], list(n.inputs))


@lift("SequenceInsert")
def insert(b: Builder, n: OnnxNode) -> None:
    """Before `position`, which may be the end."""
    parts = list(elements(b, n.inputs[0]))
    # ONNX counts negative positions from the last tensor, not from behind it.
    at = len(parts)
    if n.has(2):
        value = b.value(n.inputs[2])
        whole = value is not None and int(value.reshape(-1)[0]) == len(parts)
        at = len(parts) if whole else position(b, n, 2, len(parts), "position")
    parts.insert(at, n.inputs[1])
    keep(b, n.outputs[0], parts)


@lift("SequenceErase")
def erase(b: Builder, n: OnnxNode) -> None:
    """The tensor at `position`, or the last."""
    parts = list(elements(b, n.inputs[0]))
    if not parts:
        raise Refused("", "expected a sequence with tensors, found an empty one")
    del parts[position(b, n, 1, len(parts), "position") if n.has(1) else -1]
    keep(b, n.outputs[0], parts)


@lift("SequenceLength")
def length(b: Builder, n: OnnxNode) -> None:
    b.values[n.outputs[0]] = np.array(len(elements(b, n.inputs[0])), np.int64)


@lift("SequenceAt")
def at(b: Builder, n: OnnxNode) -> None:
    """Where the position is computed, tensors of one shape are stacked and one of them gathered."""
    parts = elements(b, n.inputs[0])
    shapes = {b.hint(name).shape for name in parts}
    if b.value(n.inputs[1]) is None and len(shapes) == 1 and None not in shapes:
        stacked = b.between(n, "stacked", Hint(b.dtype(parts[0])))
        _concat(b, n, parts, 0, True, [stacked])
        b.emit(n, "Gather", [stacked, b.use(n.inputs[1])], {"axis": 0})
        return
    same(b, n, parts[position(b, n, 1, len(parts), "position")])


def same(b: Builder, n: OnnxNode, name: str) -> None:
    """Makes the first output of `n` another name for ONNX tensor `name`."""
    b.same(replace(n, inputs=[name]))


@lift("ConcatFromSequence")
def concat(b: Builder, n: OnnxNode) -> None:
    parts = elements(b, n.inputs[0])
    if not parts:
        raise Refused("", "expected a sequence with tensors, found an empty one")
    _concat(b, n, parts, int(n.attrs["axis"]), bool(n.attrs.get("new_axis", 0)), None)


def _concat(b: Builder, n: OnnxNode, parts: list[str], axis: int, new_axis: bool, outputs: list[str] | None) -> None:
    charge(b, NODE * len(parts))
    tensors = [b.data(name) for name in parts]
    if new_axis:
        axes = b.ints(n, "axes", [axis])
        tensors = [
            b.emit(n, "Unsqueeze", [tensor, axes], {}, [b.between(n, "unsqueezed", Hint(b.dtype(name)))])
            for name, tensor in zip(parts, tensors, strict=True)
        ]
    b.emit(n, "Concat", tensors, {"axis": axis}, outputs)


@lift("SplitToSequence")
def split(b: Builder, n: OnnxNode) -> None:
    """By given sizes, in parts of one size, or into slices of one, whose axis goes unless `keepdims`."""
    x, shape = n.inputs[0], b.hint(n.inputs[0]).shape
    axis = int(n.attrs.get("axis", 0))
    size = shape[axis] if shape is not None and -len(shape) <= axis < len(shape) else None
    sizes: list[Dim]
    if n.has(1) and b.rank(n.inputs[1]) == 1:
        given, kind = b.value(n.inputs[1]), b.hint(n.inputs[1]).shape
        count = kind[0] if kind else None
        if not isinstance(count, int):
            raise Refused("", UNKNOWN)
        _check_parts(count)
        sizes = [f"{n.name}_size{i}" for i in range(count)] if given is None else [int(v) for v in given]
        split_input = b.use(n.inputs[1])
    else:
        part = b.value(n.inputs[1]) if n.has(1) else np.array(1)
        if part is None or not isinstance(size, int) or int(part.reshape(-1)[0]) < 1:
            raise Refused("", UNKNOWN)
        step = int(part.reshape(-1)[0])
        _check_parts(-(-size // step))
        sizes = [min(step, size - start) for start in range(0, size, step)]
        split_input = b.ints(n, "sizes", [int(v) for v in sizes])
    kinds = [_resized(b.hint(x), axis, size) for size in sizes]
    names = [b.between(n, f"part{i}", kind) for i, kind in enumerate(kinds)]
    if names:
        b.emit(n, "Split", [b.data(x), split_input], {"axis": axis}, names)
    if not n.has(1) and not n.attrs.get("keepdims", 1):
        axes = b.ints(n, "axes", [axis])
        names = [
            b.emit(n, "Squeeze", [name, axes], {}, [b.between(n, f"slice{i}", _resized(b.hint(x), axis, None))])
            for i, name in enumerate(names)
        ]
    keep(b, n.outputs[0], names)


def _check_parts(count: int) -> None:
    if count > MAX_PARTS:
        raise Refused("", f"expected a split into at most {MAX_PARTS} tensors, found {count}")


def _resized(hint: Hint, axis: int, size: Dim | None) -> Hint:
    """`hint` with `size` along `axis`, or without that axis."""
    if hint.shape is None:
        return hint
    kept = axis % len(hint.shape)
    middle = () if size is None else (size,)
    return replace(hint, shape=(*hint.shape[:kept], *middle, *hint.shape[kept + 1 :]))


@lift("OptionalHasElement")
def has_element(b: Builder, n: OnnxNode) -> None:
    """True of a tensor, false of an input that is not there."""
    b.values[n.outputs[0]] = np.array(n.has(0))


@lift("Optional", "OptionalGetElement")
def get_element(b: Builder, n: OnnxNode) -> None:
    """The tensor or sequence itself."""
    if not n.has(0):
        raise Refused("", "an optional that is empty has no element")
    if n.inputs[0] in b.sequences:
        b.sequences[n.outputs[0]] = b.sequences[n.inputs[0]]
    else:
        same(b, n, n.inputs[0])
