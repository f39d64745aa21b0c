"""Shape functions of selection by indices or by value: gathers, scatters, OneHot, NonZero and TopK.
What they compute is in `kernels_cpu/reference/select.py`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgert.graph.broadcast import axis_of, constant_ints, known_size, merge_dims, same_dtype, same_quant
from edgert.graph.infer_elementwise import INTEGERS, NUMBERS, one_of, present
from edgert.graph.ir import Array, Dim, Node, TensorType
from edgert.graph.registry import check, need_const, operator


@operator("Gather", inputs=(2, 2))
def gather(node: Node, ins: Sequence[TensorType | None], consts: Sequence[Array | None]) -> list[TensorType]:
    """The shape of the indices in place of `axis`."""
    x, indices = present(ins)
    one_of(indices.dtype, INTEGERS)
    axis = axis_of(node.attr_int("axis", 0), len(x.shape))
    shape = (*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :])
    return [TensorType(x.dtype, shape, same_quant(x))]


def _along_axis(node: Node, x: TensorType, indices: TensorType) -> None:
    """Checks `axis` and that the indices reach no further than x on the other axes."""
    one_of(indices.dtype, INTEGERS)
    same_rank = len(x.shape) == len(indices.shape)
    check(same_rank, f"indices of rank {len(x.shape)}", f"shape {indices.shape}")
    axis = axis_of(node.attr_int("axis", 0), len(x.shape))
    for i, (size, count) in enumerate(zip(x.shape, indices.shape, strict=True)):
        if i != axis and isinstance(size, int) and isinstance(count, int):
            check(count <= size, f"indices of at most {size} on axis {i}", count)


@operator("GatherElements", inputs=(2, 2))
def gather_elements(node: Node, ins: Sequence[TensorType | None], consts: Sequence[Array | None]) -> list[TensorType]:
    """The shape of the indices."""
    x, indices = present(ins)
    _along_axis(node, x, indices)
    return [TensorType(x.dtype, indices.shape, same_quant(x))]


@operator("ScatterElements", inputs=(3, 3))
def scatter_elements(node: Node, ins: Sequence[TensorType | None], consts: Sequence[Array | None]) -> list[TensorType]:
    """The first input's type; updates are shaped like the indices."""
    x, indices, updates = present(ins)
    _along_axis(node, x, indices)
    _same_shape(updates, indices.shape)
    return [TensorType(same_dtype(x, updates), x.shape, same_quant(x, updates))]


def _same_shape(updates: TensorType, shape: Sequence[Dim]) -> None:
    """Checks that the updates of a scatter have `shape`, as far as sizes are known."""
    check(len(updates.shape) == len(shape), f"updates of shape {tuple(shape)}", updates.shape)
    for pair in zip(updates.shape, shape, strict=True):
        merge_dims(pair, f"updates {updates.shape} and the places they go to, {tuple(shape)}")


def _tuple_shape(x: TensorType, indices: TensorType, batch: int = 0) -> tuple[Dim, ...]:
    """The shape of what the tuples in the last axis of `indices` select, after `batch` common axes."""
    one_of(indices.dtype, INTEGERS)
    limit = min(len(x.shape), len(indices.shape))
    check(0 <= batch < max(limit, 1) and limit >= 1, f"batch_dims in [0, {limit})", batch)
    depth = known_size(indices.shape[-1], "number of indices per tuple")
    most = len(x.shape) - batch
    check(1 <= depth <= most, f"tuples of 1 to {most} indices", depth)
    lead = [merge_dims(pair, "the batch axes") for pair in zip(x.shape[:batch], indices.shape[:batch], strict=True)]
    return (*lead, *indices.shape[batch:-1], *x.shape[batch + depth :])


@operator("GatherND", inputs=(2, 2))
def gather_nd(node: Node, ins: Sequence[TensorType | None], consts: Sequence[Array | None]) -> list[TensorType]:
    """The shape of the indices but its last axis, then the axes of x that the tuples do not reach."""
    x, indices = present(ins)
    return [TensorType(x.dtype, _tuple_shape(x, indices, node.attr_int("batch_dims", 0)), same_quant(x))]


@operator("ScatterND", inputs=(3, 3))
def scatter_nd(node: Node, ins: Sequence[TensorType | None], consts: Sequence[Array | None]) -> list[TensorType]:
    """The first input's type; updates are shaped as GatherND would gather."""
    x, indices, updates = present(ins)
    _same_shape(updates, _tuple_shape(x, indices))
    return [TensorType(same_dtype(x, updates), x.shape, same_quant(x, updates))]


@operator("TensorScatter", inputs=(2, 3))
def tensor_scatter(node: Node, ins: Sequence[TensorType | None], consts: Sequence[Array | None]) -> list[TensorType]:
    """cache [B, ..., N, ...], update [B, ..., n, ...] with n <= N on `axis` (-2), int64 write_indices [B]."""
    cache, update = present(ins[:2])
    rank = len(cache.shape)
    axis = axis_of(node.attr_int("axis", -2), rank)
    check(axis != 0, "an axis other than the batch", axis)
    check(node.attr_str("mode", "linear") in ("linear", "circular"), "mode linear or circular", node.attrs)
    check(len(update.shape) == rank, f"an update of rank {rank}", f"shape {update.shape}")
    for i, pair in enumerate(zip(cache.shape, update.shape, strict=True)):
        if i != axis:
            merge_dims(pair, f"axis {i} (cache, update)")
        elif isinstance(pair[0], int) and isinstance(pair[1], int):
            check(pair[1] <= pair[0], f"an update of at most {pair[0]} on axis {i}", pair[1])
    if len(ins) > 2 and ins[2] is not None:
        one_of(ins[2].dtype, ("int64",))
        _same_shape(ins[2], cache.shape[:1])
    return [TensorType(same_dtype(cache, update), cache.shape, same_quant(cache, update))]


@operator("OneHot", inputs=(3, 3))
def one_hot(node: Node, ins: Sequence[TensorType | None], consts: Sequence[Array | None]) -> list[TensorType]:
    """The shape of the indices with a new axis of `depth`, a constant input; the dtype of the values."""
    indices, _, values = present(ins)
    one_of(indices.dtype, NUMBERS)
    check(values.shape == (2,), "values [off, on]", f"shape {values.shape}")
    depth = need_const(consts[1], "depth")
    check(depth.size == 1 and 0 <= float(depth.item()) < np.inf, "one depth >= 0", depth)
    axis = axis_of(node.attr_int("axis", -1), len(indices.shape) + 1)
    shape = (*indices.shape[:axis], int(depth.item()), *indices.shape[axis:])
    return [TensorType(values.dtype, shape, same_quant(values))]


@operator("NonZero", inputs=(1, 1), dynamic=True)
def non_zero(node: Node, ins: Sequence[TensorType | None], consts: Sequence[Array | None]) -> list[TensorType]:
    """int64 [rank, number of non-zero values]: known for a constant alone."""
    (x,) = present(ins)
    value = need_const(consts[0], "input, because the output's size depends on its values")
    return [TensorType("int64", (len(x.shape), int(np.count_nonzero(value))))]


@operator("TopK", inputs=(2, 2))
def top_k(node: Node, ins: Sequence[TensorType | None], consts: Sequence[Array | None]) -> list[TensorType]:
    """Values like the first input and int64 positions, k (a constant input) on `axis`."""
    x, _ = present(ins)
    one_of(x.dtype, NUMBERS)
    axis = axis_of(node.attr_int("axis", -1), len(x.shape))
    k, size = constant_ints(consts[1], "k"), x.shape[axis]
    fits = len(k) == 1 and k[0] >= 0 and (isinstance(size, str) or k[0] <= size)
    check(fits, f"one k in [0, {size}]", k)
    shape = (*x.shape[:axis], k[0], *x.shape[axis + 1 :])
    return [TensorType(x.dtype, shape, same_quant(x)), TensorType("int64", shape)]
