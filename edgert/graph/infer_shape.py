"""Shape functions of operators that move, copy or make values by shape alone.
What they compute is in `kernels_cpu/reference/shape.py`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from edgert.errors import UnsupportedError
from edgert.graph.broadcast import (
    BIND,
    axes_of,
    axis_of,
    broadcast,
    constant_ints,
    derived,
    known_size,
    merge_dims,
    optional_ints,
    product,
    same_dtype,
    same_quant,
    total,
)
from edgert.graph.infer_elementwise import NUMBERS, dtype_attr, one_of, present
from edgert.graph.ir import Array, Dim, Node, TensorType
from edgert.graph.registry import check, need, need_const, operator
from edgert.kernels_cpu.reference.shape import range_length


def _has(ins: Sequence[TensorType | None], at: int) -> bool:
    """Whether optional input number `at` is there."""
    return at < len(ins) and ins[at] is not None


def _moved(x: TensorType, shape: Sequence[Dim]) -> list[TensorType]:
    """One output of the values of x in another shape, with its quantization."""
    return [TensorType(x.dtype, tuple(shape), same_quant(x))]


@operator("Identity", inputs=(1, 1))
def identity(node: Node, ins: Sequence[TensorType | None], consts: Sequence[Array | None]) -> list[TensorType]:
    """The input's type."""
    return present(ins)


@operator("Shape", inputs=(1, 1))
def shape(node: Node, ins: Sequence[TensorType | None], consts: Sequence[Array | None]) -> list[TensorType]:
    """int64 [number of axes from `start` to `end`]."""
    (x,) = present(ins)
    rank = len(x.shape)
    chosen = x.shape[node.attr_int("start", 0) : node.attr_int("end", rank)]
    return [TensorType("int64", (len(chosen),))]


@operator("Size", inputs=(1, 1))
def size(node: Node, ins: Sequence[TensorType | None], consts: Sequence[Array | None]) -> list[TensorType]:
    """An int64 scalar."""
    return [TensorType("int64", ())]


@operator("Reshape", inputs=(2, 2))
def reshape(node: Node, ins: Sequence[TensorType | None], consts: Sequence[Array | None]) -> list[TensorType]:
    """The constant second input; 0 copies a size unless `allowzero`, one -1 takes the rest."""
    x = need(ins[0], "data")
    target = constant_ints(consts[1], "shape")
    check(min(target, default=0) >= -1 and target.count(-1) <= 1, "sizes >= 0 and at most one -1", target)
    sizes: list[Dim] = list(target)
    if not node.attr_int("allowzero", 0):
        zeros = [i for i, d in enumerate(target) if d == 0]
        check(max(zeros, default=-1) < len(x.shape), f"a 0 only among the first {len(x.shape)} sizes", target)
        for i in zeros:
            sizes[i] = x.shape[i]
    if -1 in target:
        rest = target.index(-1)
        sizes[rest] = _remaining(x.shape, sizes[:rest] + sizes[rest + 1 :])
    elif x.is_static:
        check(math.prod(map(int, sizes)) == x.numel, f"a shape of {x.numel} values", f"{tuple(sizes)}")
    return _moved(x, sizes)


def _remaining(shape: Sequence[Dim], others: Sequence[Dim]) -> Dim:
    """What -1 stands for in a Reshape of `shape` whose other sizes are `others`."""
    names = [d for d in shape if isinstance(d, str)]
    for name in (d for d in others if isinstance(d, str)):
        names.remove(name)  # it was copied from `shape` by a 0
    count = math.prod(d for d in shape if isinstance(d, int))
    known = math.prod(d for d in others if isinstance(d, int))
    check(known > 0, "no size 0 beside -1", tuple(others))
    if count % known == 0:
        return product([count // known, *names])
    check(bool(names), f"a multiple of {known} values", count)
    return derived(f"{product([count, *names])}/{known}")


@operator("Flatten", inputs=(1, 1))
def flatten(node: Node, ins: Sequence[TensorType | None], consts: Sequence[Array | None]) -> list[TensorType]:
    """[product of the axes before `axis`, product of the others]."""
    (x,) = present(ins)
    axis, rank = node.attr_int("axis", 1), len(x.shape)
    check(-rank <= axis <= rank, f"an axis in [{-rank}, {rank}]", axis)
    axis += rank if axis < 0 else 0
    return _moved(x, (product(x.shape[:axis]), product(x.shape[axis:])))


@operator("Transpose", inputs=(1, 1))
def transpose(node: Node, ins: Sequence[TensorType | None], consts: Sequence[Array | None]) -> list[TensorType]:
    """Axes in the order of `perm`, reversed by default; a quantized axis moves along."""
    (x,) = present(ins)
    perm = node.attr_ints("perm", list(range(len(x.shape)))[::-1])
    check(sorted(perm) == list(range(len(x.shape))), f"perm: an order of {len(x.shape)} axes", perm)
    quant = x.quant
    if quant is not None and quant.axis is not None:
        quant = replace(quant, axis=perm.index(quant.axis))
    return [TensorType(x.dtype, tuple(x.shape[p] for p in perm), quant)]


@operator("Squeeze", inputs=(1, 2))
def squeeze(node: Node, ins: Sequence[TensorType | None], consts: Sequence[Array | None]) -> list[TensorType]:
    """Without the axes of the constant second input, or without all of size 1."""
    x = need(ins[0], "data")
    given = optional_ints(consts, 1, _has(ins, 1), "axes")
    if given is None:
        sizes = [known_size(d, "size, to tell whether it is 1") for d in x.shape]
        axes = [i for i, d in enumerate(sizes) if d == 1]
    else:
        axes = axes_of(given, len(x.shape))
    for i in axes:
        check(x.shape[i] == 1 or isinstance(x.shape[i], str), f"size 1 on axis {i}", x.shape[i])
    return _moved(x, [d for i, d in enumerate(x.shape) if i not in axes])


@operator("Unsqueeze", inputs=(2, 2))
def unsqueeze(node: Node, ins: Sequence[TensorType | None], consts: Sequence[Array | None]) -> list[TensorType]:
    """With an axis of size 1 at each place of the constant second input, counted in the output."""
    x = need(ins[0], "data")
    given = constant_ints(consts[1], "axes")
    rank, rest = len(x.shape) + len(given), iter(x.shape)
    axes = axes_of(given, rank)
    return _moved(x, [1 if i in axes else next(rest) for i in range(rank)])


@operator("Expand", inputs=(2, 2))
def expand(node: Node, ins: Sequence[TensorType | None], consts: Sequence[Array | None]) -> list[TensorType]:
    """Broadcast together with the constant shape in the second input."""
    x = need(ins[0], "data")
    target = constant_ints(consts[1], "shape")
    check(min(target, default=0) >= 0, "sizes >= 0", target)
    return _moved(x, broadcast(x.shape, target))


@operator("Tile", inputs=(2, 2))
def tile(node: Node, ins: Sequence[TensorType | None], consts: Sequence[Array | None]) -> list[TensorType]:
    """Each size times the constant repeats."""
    x = need(ins[0], "data")
    repeats = constant_ints(consts[1], "repeats")
    good = len(repeats) == len(x.shape) and min(repeats, default=0) >= 0
    check(good, f"{len(x.shape)} repeats >= 0", repeats)
    return _moved(x, [product(pair) for pair in zip(x.shape, repeats, strict=True)])


@operator("Concat", inputs=(1, None))
def concat(node: Node, ins: Sequence[TensorType | None], consts: Sequence[Array | None]) -> list[TensorType]:
    """The sum of the sizes on `axis`; all else must agree."""
    types = present(ins)
    check("axis" in node.attrs, "attribute axis", "none")
    rank = len(types[0].shape)
    axis = axis_of(node.attr_int("axis", 0), rank)
    ranks = [len(t.shape) for t in types]
    check(ranks == [rank] * len(types), "inputs of one rank", f"ranks {ranks}")
    columns = list(zip(*(t.shape for t in types), strict=True))
    sizes = [total(c) if i == axis else merge_dims(c, f"axis {i}") for i, c in enumerate(columns)]
    return [TensorType(same_dtype(*types), tuple(sizes), same_quant(*types))]


@operator("Split", inputs=(1, 2))
def split(node: Node, ins: Sequence[TensorType | None], consts: Sequence[Array | None]) -> list[TensorType]:
    """The constant sizes of the second input, or `num_outputs` parts of which the last may be smaller."""
    x = need(ins[0], "data")
    axis = axis_of(node.attr_int("axis", 0), len(x.shape))
    sizes, whole = optional_ints(consts, 1, _has(ins, 1), "split"), x.shape[axis]
    if sizes is None:
        parts = node.attr_int("num_outputs", len(node.outputs))
        check(parts >= 1, "at least 1 part", parts)
        whole = known_size(whole, "size to divide evenly")
        chunk = -(-whole // parts)
        sizes = [chunk] * (parts - 1) + [whole - chunk * (parts - 1)]
    good = min(sizes, default=0) >= 0 and len(sizes) == len(node.outputs)
    check(good, f"{len(node.outputs)} sizes >= 0, one for each output", sizes)
    check(isinstance(whole, str) or sum(sizes) == whole, f"sizes that add up to {whole}", sizes)
    return [_moved(x, (*x.shape[:axis], s, *x.shape[axis + 1 :]))[0] for s in sizes]


@operator("Slice", inputs=(3, 5))
def slice_(node: Node, ins: Sequence[TensorType | None], consts: Sequence[Array | None]) -> list[TensorType]:
    """Python's slices by constant starts, ends, axes (all in order by default) and steps (1 by default)."""
    x = need(ins[0], "data")
    starts, ends = constant_ints(consts[1], "starts"), constant_ints(consts[2], "ends")
    given = optional_ints(consts, 3, _has(ins, 3), "axes")
    axes = axes_of(list(range(len(starts))) if given is None else given, len(x.shape))
    steps = optional_ints(consts, 4, _has(ins, 4), "steps") or [1] * len(starts)
    counts = [len(starts), len(ends), len(axes), len(steps)]
    check(len(set(counts)) == 1, "as many starts as ends, axes and steps", counts)
    check(0 not in steps, "steps other than 0", steps)
    sizes = list(x.shape)
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        sizes[axis] = _sliced(x.shape[axis], start, end, step)
    return _moved(x, sizes)


SLICE_TO_END = 2**31 - 1
"""Exporters write the largest int32 or int64 as an end for 'to the end'."""


def _sliced(dim: Dim, start: int, end: int, step: int) -> Dim:
    """How many of `dim` places start:end:step takes."""
    if isinstance(dim, int):
        return len(range(*slice(start, end, step).indices(dim)))
    forward = step == 1 and start == 0 and end >= SLICE_TO_END
    backward = step == -1 and (start == -1 or start >= SLICE_TO_END) and end < -SLICE_TO_END
    return dim if forward or backward else derived(f"({dim})[{start}:{end}:{step}]")


@operator("Pad", inputs=(2, 4))
def pad(node: Node, ins: Sequence[TensorType | None], consts: Sequence[Array | None]) -> list[TensorType]:
    """Constant starts and ends added to the sizes of the axes in the fourth input (all by default)."""
    x = need(ins[0], "data")
    mode = node.attr_str("mode", "constant")
    check(mode in ("constant", "reflect", "edge", "wrap"), "mode constant, reflect, edge or wrap", mode)
    pads, given = constant_ints(consts[1], "pads"), optional_ints(consts, 3, _has(ins, 3), "axes")
    axes = axes_of(list(range(len(x.shape))) if given is None else given, len(x.shape))
    check(len(pads) == 2 * len(axes), f"{2 * len(axes)} pads", pads)
    value = ins[2] if _has(ins, 2) else None
    check(value is None or value.shape in ((), (1,)), "one constant to pad with", value and value.shape)
    if value is not None:
        same_dtype(x, value)
    sizes = list(x.shape)
    for i, axis in enumerate(axes):
        dim, cropped = x.shape[axis], min(pads[i], 0) + min(pads[i + len(axes)], 0)
        sizes[axis] = total((dim, pads[i] + pads[i + len(axes)]))
        left = dim + cropped if isinstance(dim, int) else 1
        check(left >= 0, f"pads that crop at most {dim} on axis {axis}", -cropped)
        grows = sizes[axis] != total((dim, cropped))
        check(mode == "constant" or left > 0 or not grows, f"values to {mode} on axis {axis}", "none")
    return _moved(x, sizes)


@operator("ConstantOfShape", inputs=(1, 1))
def constant_of_shape(node: Node, ins: Sequence[TensorType | None], consts: Sequence[Array | None]) -> list[TensorType]:
    """The constant input as the shape; attribute `dtype` names the dtype of `value`, float32 by default."""
    sizes = constant_ints(consts[0], "shape")
    check(min(sizes, default=0) >= 0, "sizes >= 0", sizes)
    return [TensorType(dtype_attr(node, "dtype", "float32"), tuple(sizes))]


@operator("Range", inputs=(3, 3))
def range_(node: Node, ins: Sequence[TensorType | None], consts: Sequence[Array | None]) -> list[TensorType]:
    """1-D, as long as the constant start, limit and delta say."""
    dtype = one_of(same_dtype(*present(ins)), NUMBERS)
    names = ("start", "limit", "delta")
    start, limit, delta = (need_const(c, f"{n} (or {BIND})") for c, n in zip(consts, names, strict=True))
    check(start.size == limit.size == delta.size == 1, "scalars", "vectors")
    try:
        return [TensorType(dtype, (range_length(start, limit, delta),))]
    except (OverflowError, ValueError):  # an infinite or NaN count
        raise UnsupportedError(f"expected a finite Range, found {start} to {limit} by {delta}") from None


@operator("EyeLike", inputs=(1, 1))
def eye_like(node: Node, ins: Sequence[TensorType | None], consts: Sequence[Array | None]) -> list[TensorType]:
    """The shape of a matrix; attribute `dtype`, or the input's."""
    (x,) = present(ins)
    check(len(x.shape) == 2, "a matrix", f"shape {x.shape}")
    return [TensorType(dtype_attr(node, "dtype", x.dtype), x.shape)]


@operator("Trilu", inputs=(1, 2))
def trilu(node: Node, ins: Sequence[TensorType | None], consts: Sequence[Array | None]) -> list[TensorType]:
    """The input's type; k is a scalar that need not be constant. 0 is 0, so x must not be quantized."""
    x = need(ins[0], "data")
    check(len(x.shape) >= 2, "matrices", f"shape {x.shape}")
    check(x.quant is None, "an input that is not quantized", "a scale and zero point; dequantize it first")
    return [x]


def _blocksize(node: Node, x: TensorType) -> int:
    """The checked attribute `blocksize` of an operator on [N, C, H, W]."""
    check(len(x.shape) == 4, "an input [N, C, H, W]", f"shape {x.shape}")
    block = node.attr_int("blocksize", 0)
    check(block >= 1, "a blocksize of at least 1", block)
    return block


def _divided(dim: Dim, by: int) -> Dim:
    """dim / by, which must be whole."""
    if isinstance(dim, str):
        return dim if by == 1 else derived(f"({dim})/{by}")
    check(dim % by == 0, f"a multiple of {by}", dim)
    return dim // by


@operator("DepthToSpace", inputs=(1, 1))
def depth_to_space(node: Node, ins: Sequence[TensorType | None], consts: Sequence[Array | None]) -> list[TensorType]:
    """[N, C*b*b, H, W] to [N, C, H*b, W*b]."""
    (x,) = present(ins)
    block = _blocksize(node, x)
    mode = node.attr_str("mode", "DCR")
    check(mode in ("DCR", "CRD"), "mode DCR or CRD", mode)
    n, c, h, w = x.shape
    return _moved(x, (n, _divided(c, block * block), product((h, block)), product((w, block))))


@operator("SpaceToDepth", inputs=(1, 1))
def space_to_depth(node: Node, ins: Sequence[TensorType | None], consts: Sequence[Array | None]) -> list[TensorType]:
    """[N, C, H, W] to [N, b*b*C, H/b, W/b]."""
    (x,) = present(ins)
    block = _blocksize(node, x)
    n, c, h, w = x.shape
    return _moved(x, (n, product((c, block * block)), _divided(h, block), _divided(w, block)))
