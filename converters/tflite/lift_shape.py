"""Operators that rearrange, join, repeat or make values by shape alone.
Parts of tensors by position are in `lift_slice.py`, by index in `lift_index.py`."""

from __future__ import annotations

import numpy as np

from edgert.converters.tflite.builder import Builder, Refused
from edgert.converters.tflite.lifts import lift
from edgert.converters.tflite.model import ABSENT, TfliteOperator
from edgert.graph.ir import Attr


@lift("RESHAPE")
def reshape(b: Builder, op: TfliteOperator) -> None:
    """The shape is the second input, or the option of old files; one -1 takes the rest, a 0 is a size of 0."""
    x, given = op.inputs[0], op.input(1)
    if given != ABSENT and b.value(given) is None:
        b.emit(op, "Reshape", [b.data(x), b.int64(given)], {"allowzero": 1})
        return
    stored = op.options.get("new_shape")
    sizes = b.need_ints(given, "shape") if given != ABSENT else [int(v) for v in ([] if stored is None else stored)]
    if given == ABSENT and sizes == [0]:
        sizes = []  # how old converters wrote a scalar
    attrs: dict[str, Attr] = {"allowzero": 1} if 0 in sizes else {}
    b.emit(op, "Reshape", [b.data(x), b.ints("shape", sizes)], attrs)


@lift("SQUEEZE")
def squeeze(b: Builder, op: TfliteOperator) -> None:
    """Without the axes squeeze_dims, or without all of size 1."""
    x, given = op.inputs[0], op.options.get("squeeze_dims")
    axes = [int(a) for a in ([] if given is None else given)] or [i for i, d in enumerate(b.shape(x)) if d == 1]
    b.emit(op, "Squeeze", [b.data(x), b.ints("axes", axes)])


@lift("EXPAND_DIMS")
def expand_dims(b: Builder, op: TfliteOperator) -> None:
    b.emit(op, "Unsqueeze", [b.data(op.inputs[0]), b.int64(op.inputs[1])])


@lift("TRANSPOSE")
def transpose(b: Builder, op: TfliteOperator) -> None:
    perm = b.need_ints(op.inputs[1], "perm")
    rank = b.rank(op.inputs[0])
    inside = all(-rank <= p < rank for p in perm)
    if not inside or sorted(p % rank for p in perm) != list(range(rank)):
        raise Refused("perm", f"expected an order of {rank} axes, found {perm}")
    b.emit(op, "Transpose", [b.data(op.inputs[0])], {"perm": [p % rank for p in perm]})


@lift("CONCATENATION")
def concatenation(b: Builder, op: TfliteOperator) -> None:
    b.emit_fused(op, "Concat", [b.data(i) for i in op.inputs], {"axis": int(op.options["axis"])})


@lift("PACK")
def pack(b: Builder, op: TfliteOperator) -> None:
    """Inputs of one shape, stacked along a new axis."""
    rank = b.rank(op.inputs[0]) + 1
    axis = int(op.options["axis"])
    axes = b.ints("axes", [axis % rank])
    b.emit(op, "Concat", [b.step("Unsqueeze", [b.data(i), axes]) for i in op.inputs], {"axis": axis % rank})


@lift("UNPACK")
def unpack(b: Builder, op: TfliteOperator) -> None:
    """The parts of the input along an axis, which disappears."""
    axis, count = int(op.options["axis"]), len(op.outputs)
    axes = b.ints("axes", [axis])
    parts = [b.between(op, "part", of=out) for out in op.outputs]
    b.append("Split", [b.data(op.inputs[0]), b.ints("sizes", [1] * count)], parts, {"axis": axis}, op)
    for part, out in zip(parts, op.outputs, strict=True):
        b.append("Squeeze", [part, axes], [b.declare(out)])


@lift("SPLIT")
def split(b: Builder, op: TfliteOperator) -> None:
    """Inputs (axis, x): equal parts."""
    axis = b.need_ints(op.inputs[0], "axis")
    b.emit(op, "Split", [b.data(op.inputs[1])], {"axis": axis[0], "num_outputs": len(op.outputs)})


@lift("SPLIT_V")
def split_v(b: Builder, op: TfliteOperator) -> None:
    """Inputs (x, sizes, axis); one size may be -1, what is left."""
    x, given = op.inputs[:2]
    (axis,) = b.need_ints(op.inputs[2], "axis")
    sizes = b.need_ints(given, "sizes")
    if -1 in sizes:
        whole = b.need_size(x, axis, "size to split")
        sizes[sizes.index(-1)] = whole - sum(s for s in sizes if s != -1)
    b.emit(op, "Split", [b.data(x), b.ints("sizes", sizes)], {"axis": axis})


@lift("TILE")
def tile(b: Builder, op: TfliteOperator) -> None:
    b.emit(op, "Tile", [b.data(op.inputs[0]), b.int64(op.inputs[1])])


@lift("BROADCAST_TO")
def broadcast_to(b: Builder, op: TfliteOperator) -> None:
    b.emit(op, "Expand", [b.data(op.inputs[0]), b.int64(op.inputs[1])])


@lift("BROADCAST_ARGS")
def broadcast_args(b: Builder, op: TfliteOperator) -> None:
    """The shape that two shapes broadcast to: that of zeros of both shapes, added."""
    zero = b.scalar("zero", 0, "uint8")
    zeros = [b.step("Expand", [zero, b.int64(i)]) for i in op.inputs[:2]]
    shape = b.step("Shape", [b.step("Add", zeros)])
    b.emit(op, "Cast", [shape], {"to": b.dtype(op.outputs[0])})


@lift("FILL")
def fill(b: Builder, op: TfliteOperator) -> None:
    """Inputs (dims, value)."""
    b.emit(op, "Expand", [b.data(op.inputs[1]), b.int64(op.inputs[0])])


@lift("ZEROS_LIKE")
def zeros_like(b: Builder, op: TfliteOperator) -> None:
    x = op.inputs[0]
    zero = b.constant("zero", np.zeros((), b.dtype(op.outputs[0])))
    b.emit(op, "Expand", [zero, b.step("Shape", [b.use(x)])])


@lift("SHAPE")
def shape(b: Builder, op: TfliteOperator) -> None:
    b.emit(op, "Cast", [b.step("Shape", [b.use(op.inputs[0])])], {"to": b.dtype(op.outputs[0])})


@lift("RANK")
def rank(b: Builder, op: TfliteOperator) -> None:
    b.fold(op.outputs[0], np.array(b.rank(op.inputs[0]), b.dtype(op.outputs[0])))


@lift("RANGE")
def range_(b: Builder, op: TfliteOperator) -> None:
    """start, start + delta ... before limit."""
    b.emit(op, "Range", [b.use(i) for i in op.inputs[:3]])


@lift("DEPTH_TO_SPACE")
def depth_to_space(b: Builder, op: TfliteOperator) -> None:
    """Channels hold the places of a block before its channels."""
    attrs: dict[str, Attr] = {"blocksize": int(op.options["block_size"]), "mode": "DCR"}
    b.emit_nchw(op, "DepthToSpace", [b.nchw(op.inputs[0])], attrs)


@lift("SPACE_TO_DEPTH")
def space_to_depth(b: Builder, op: TfliteOperator) -> None:
    b.emit_nchw(op, "SpaceToDepth", [b.nchw(op.inputs[0])], {"blocksize": int(op.options["block_size"])})


@lift("SPACE_TO_BATCH_ND")
def space_to_batch_nd(b: Builder, op: TfliteOperator) -> None:
    """Pads x [B, *S, ...], then moves the places of each block into the batch: [block * B, *S / block, ...].
    Source: TensorFlow, SpaceToBatchND."""
    x = op.inputs[0]
    block, pads = b.need_ints(op.inputs[1], "block_shape"), b.need_ints(op.inputs[2], "paddings")
    shape, m = b.shape(x), len(block)
    name = b.data(x)
    sizes = [b.need_size(x, 1 + i, "image size") + pads[2 * i] + pads[2 * i + 1] for i in range(m)]
    _check_blocks(block, sizes)
    if any(pads):
        full = [0, *pads[::2], *[0] * (len(shape) - 1 - m)], [0, *pads[1::2], *[0] * (len(shape) - 1 - m)]
        name = b.step("Pad", [name, b.ints("pads", [*full[0], *full[1]])])
    rest = [b.need_size(x, axis, "size") for axis in range(m + 1, len(shape))]
    split = [size for pair in zip([s // k for s, k in zip(sizes, block, strict=True)], block, strict=True)
             for size in pair]  # fmt: skip
    name = b.step("Reshape", [name, b.ints("shape", [-1, *split, *rest])])
    places = range(2, 2 * m + 1, 2)
    order = [*places, 0, *range(1, 2 * m, 2), *range(2 * m + 1, 2 * m + 1 + len(rest))]
    name = b.step("Transpose", [name], {"perm": order})
    small = [s // k for s, k in zip(sizes, block, strict=True)]
    b.emit(op, "Reshape", [name, b.ints("shape", [-1, *small, *rest])])


@lift("BATCH_TO_SPACE_ND")
def batch_to_space_nd(b: Builder, op: TfliteOperator) -> None:
    """The reverse of SPACE_TO_BATCH_ND, after which the image is cropped. Source: TensorFlow, BatchToSpaceND."""
    x = op.inputs[0]
    block, crops = b.need_ints(op.inputs[1], "block_shape"), b.need_ints(op.inputs[2], "crops")
    rank, m = b.rank(x), len(block)
    if min(block, default=1) < 1:
        raise Refused("block_shape", f"expected blocks >= 1, found {block}")
    sizes = [b.need_size(x, 1 + i, "image size") for i in range(m)]
    rest = [b.need_size(x, axis, "size") for axis in range(m + 1, rank)]
    name = b.step("Reshape", [b.data(x), b.ints("shape", [*block, -1, *sizes, *rest])])
    pairs = [axis for i in range(m) for axis in (m + 1 + i, i)]
    name = b.step("Transpose", [name], {"perm": [m, *pairs, *range(2 * m + 1, 2 * m + 1 + len(rest))]})
    large = [s * k for s, k in zip(sizes, block, strict=True)]
    name = b.step("Reshape", [name, b.ints("shape", [-1, *large, *rest])])
    ends = [size - after for size, after in zip(large, crops[1::2], strict=True)]
    axes = range(1, m + 1)
    b.emit(op, "Slice", [name, b.ints("starts", crops[::2]), b.ints("ends", ends), b.ints("axes", axes)])


def _check_blocks(block: list[int], sizes: list[int]) -> None:
    """Raises Refused unless blocks divide the padded sizes."""
    if any(k < 1 or s % k for k, s in zip(block, sizes, strict=True)):
        raise Refused("block_shape", f"expected blocks that divide {sizes}, found {block}")
