"""Selection by indices or by value: gathers, scatters, one-hot, non-zero positions and the largest values.
Selection by position alone (Slice, Split) is in `shape.py`."""

from __future__ import annotations

import numpy as np

from edgert.errors import InputError, UnsupportedError
from edgert.kernels_cpu.reference.registry import Array, Call, reference


def positions(call: Call, indices: Array, size: int) -> Array:
    """`indices` with negative ones counted from the end. Raises InputError where one is outside the axis."""
    if indices.size and (indices.min() < -size or indices.max() >= size):
        raise InputError(f"{call.op}: expected indices in [{-size}, {size}), found {indices.min()} to {indices.max()}")
    return np.where(indices < 0, indices + size, indices)


@reference("Gather")
def gather(call: Call, x: Array, indices: Array) -> Array:
    """ONNX Gather: numpy.take along `axis`."""
    axis = call.attr_int("axis", 0)
    return np.asarray(np.take(x, positions(call, indices, x.shape[axis]), axis=axis))


def element_index(call: Call, shape: tuple[int, ...], indices: Array) -> tuple[Array, ...]:
    """The index of each value of GatherElements and ScatterElements: its own place, but `indices` along
    `axis`."""
    axis = call.attr_int("axis", 0)
    index: list[Array] = list(np.indices(indices.shape, sparse=True))
    index[axis] = positions(call, indices, shape[axis])
    return tuple(index)


@reference("GatherElements")
def gather_elements(call: Call, x: Array, indices: Array) -> Array:
    """ONNX GatherElements: y[i][j] = x[indices[i][j]][j] for axis 0; the shape of `indices`."""
    return x[element_index(call, x.shape, indices)]


def tuple_index(call: Call, shape: tuple[int, ...], indices: Array, batch: int = 0) -> tuple[Array, ...]:
    """The index arrays of GatherND and ScatterND: the last axis of `indices` holds positions in the axes
    after the first `batch`, which are walked in step."""
    grid = np.indices(shape[:batch], sparse=True)
    steps = [g.reshape(g.shape + (1,) * (indices.ndim - 1 - batch)) for g in grid]
    return (*steps, *(positions(call, indices[..., i], shape[batch + i]) for i in range(indices.shape[-1])))


@reference("GatherND")
def gather_nd(call: Call, x: Array, indices: Array) -> Array:
    """ONNX GatherND: the slice of x at each tuple in the last axis of `indices`, after `batch_dims` axes."""
    return np.asarray(x[tuple_index(call, x.shape, indices, call.attr_int("batch_dims", 0))])


def scatter(call: Call, x: Array, index: tuple[Array, ...], updates: Array) -> Array:
    """A copy of x with `updates` written, or combined by `reduction`, at `index`; of equal places without
    reduction the last one stays."""
    y, reduction = x.copy(), call.attr_str("reduction", "none")
    ufuncs: dict[str, np.ufunc] = {"add": np.add, "mul": np.multiply, "max": np.maximum, "min": np.minimum}
    if reduction == "none":
        y[index] = updates
    elif reduction in ufuncs:
        ufuncs[reduction].at(y, index, updates)
    else:
        raise UnsupportedError(f"expected reduction none, {', '.join(ufuncs)}, found {reduction!r}")
    return y


@reference("ScatterElements")
def scatter_elements(call: Call, x: Array, indices: Array, updates: Array) -> Array:
    """ONNX ScatterElements: y[indices[i][j]][j] = updates[i][j] for axis 0."""
    return scatter(call, x, element_index(call, x.shape, indices), updates)


@reference("ScatterND")
def scatter_nd(call: Call, x: Array, indices: Array, updates: Array) -> Array:
    """ONNX ScatterND: the slice of x at each tuple in the last axis of `indices` is taken from `updates`."""
    return scatter(call, x, tuple_index(call, x.shape, indices), updates)


@reference("TensorScatter")
def tensor_scatter(call: Call, cache: Array, update: Array, start: Array | None = None) -> Array:
    """A copy of `cache` with `update` written along `axis` (-2) from start[b] on (0) in batch b; mode circular
    goes on at the beginning. Source: ONNX TensorScatter-24."""
    axis = call.attr_int("axis", -2) % cache.ndim
    begin = np.zeros(len(cache), np.int64) if start is None else start
    index = begin.reshape(-1, *(1,) * (cache.ndim - 1))
    index = index + np.arange(update.shape[axis]).reshape(-1, *(1,) * (cache.ndim - 1 - axis))
    if call.attr_str("mode", "linear") == "circular":
        index = index % max(cache.shape[axis], 1)
    if index.size and (index.min() < 0 or index.max() >= cache.shape[axis]):
        raise InputError(
            f"{call.op}: expected places in [0, {cache.shape[axis]}), found {index.min()} to {index.max()}"
        )
    y = cache.copy()
    np.put_along_axis(y, np.broadcast_to(index, update.shape), update, axis)
    return y


@reference("OneHot")
def one_hot(call: Call, indices: Array, depth: Array, values: Array) -> Array:
    """ONNX OneHot: a new `axis` of `depth` places, values = [off, on]; indices out of range turn none on."""
    count, index = int(depth.item()), indices.astype(np.int64)
    index = np.where(index < 0, index + count, index)
    hot = np.moveaxis(index[..., None] == np.arange(count), -1, call.attr_int("axis", -1))
    return np.where(hot, values[1], values[0])


@reference("NonZero")
def non_zero(call: Call, x: Array) -> Array:
    """ONNX NonZero: int64 [rank, n] positions of the non-zero values, in row-major order."""
    return np.stack(np.nonzero(np.atleast_1d(x)))[: x.ndim].astype(np.int64)


@reference("TopK")
def top_k(call: Call, x: Array, k: Array) -> tuple[Array, Array]:
    """ONNX TopK: the k largest (or smallest) values along `axis` in order and their int64 positions; of equal
    values the first comes first. The result is in order whether or not `sorted` asks for it."""
    axis, count = call.attr_int("axis", -1), int(k.item())
    if call.attr_int("largest", 1):  # backwards twice, so that equal values keep their order
        order = x.shape[axis] - 1 - np.flip(np.argsort(np.flip(x, axis), axis=axis, kind="stable"), axis)
    else:
        order = np.argsort(x, axis=axis, kind="stable")
    order = np.take(order, np.arange(count), axis=axis)
    return np.take_along_axis(x, order, axis), order.astype(np.int64)
