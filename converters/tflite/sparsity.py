"""Fills in the zeros of TFLite's sparse tensors: traversal order, blocks, dense and CSR dimensions.
Whether they are worth storing without zeros again is decided later, by `edgert.format.encodings`.

Source: schema.fbs, SparsityParameters and DimensionMetadata; Chou et al. 2018, "Format abstraction for sparse tensor
algebra compilers". Dimensions are nested in the traversal order; each is dense (all indices) or compressed (for every
position of the dimensions outside it, a segment of the list of indices that are there).
"""

from __future__ import annotations

from math import prod

import numpy as np
import numpy.typing as npt

from edgert.converters.tflite.flat import Table
from edgert.graph.ir import Array

DENSE, SPARSE_CSR = 0, 1

INDEX_TYPES = {1: "int", 2: "ushort", 3: "ubyte"}
"""The union SparseIndexVector: tables whose only field is a vector of this type."""

MAX_LEVELS = 16
"""Dimensions and blocked dimensions; a tensor has at most 8 of each."""

Ints = npt.NDArray[np.int64]


def densify(sparsity: Table, shape: tuple[int, ...], values: Array, what: str) -> Array:
    """The dense tensor `shape` whose stored values are `values` [n], in the order that `sparsity` gives them.

    Raises FormatError when the parameters do not describe a tensor of this shape with n stored values. The tensor
    and its indices are charged to the account of the file before they are made.
    """
    flat = sparsity.flat
    order = sparsity.ints(0, f"traversal order of {what}")
    block_map = sparsity.ints(1, f"block map of {what}")
    levels = list(sparsity.tables(2, f"sparse dimensions of {what}", MAX_LEVELS))
    rank = len(shape)
    if sorted(order) != list(range(rank + len(block_map))):
        expected = f"a permutation of {rank + len(block_map)} dimensions as traversal order of {what}"
        raise flat.error(sparsity.at, expected, str(list(order))[:80])
    if len(set(block_map)) != len(block_map) or any(not 0 <= axis < rank for axis in block_map):
        raise flat.error(sparsity.at, f"different dimensions below {rank} in the block map of {what}", str(block_map))
    if len(levels) != len(order):
        raise flat.error(sparsity.at, f"{len(order)} dimensions described for {what}", str(len(levels)))

    sizes, strides = _sizes(sparsity, levels, order, block_map, shape, what)
    flat.charge(prod(shape) * values.dtype.itemsize, sparsity.at, f"the zeros of {what}")
    places: Ints = np.zeros(1, np.int64)
    for level, dimension in zip(levels, order, strict=True):
        size, stride = sizes[dimension], strides[dimension]
        if level.integer(0, "byte") == DENSE:
            count = places.size * size
            if count > max(values.size, 1) and not _more_follow(levels, level):
                raise flat.error(level.at, f"{values.size} positions for the values of {what}", str(count))
            flat.charge(8 * count, level.at, f"the positions of {what}")
            places = (places[:, None] + np.arange(size, dtype=np.int64) * stride).reshape(-1)
        else:
            parents, indices = _compressed(level, places.size, size, what)
            flat.charge(16 * indices.size, level.at, f"the positions of {what}")
            places = places[parents] + indices * stride
    if places.size != values.size:
        raise flat.error(sparsity.at, f"{places.size} stored values of {what}", str(values.size))
    dense = np.zeros(prod(shape), values.dtype)
    dense[places] = values
    return dense.reshape(shape)


def _more_follow(levels: list[Table], level: Table) -> bool:
    return any(later.integer(0, "byte") != DENSE for later in levels[levels.index(level) + 1 :])


def _sizes(
    sparsity: Table,
    levels: list[Table],
    order: tuple[int, ...],
    block_map: tuple[int, ...],
    shape: tuple[int, ...],
    what: str,
) -> tuple[list[int], list[int]]:
    """Positions of every dimension, the parts of blocked ones behind the others, and the elements between two.
    Raises FormatError where a dense size differs, a blocked dimension is no multiple or a format is unknown."""
    flat, rank = sparsity.flat, len(shape)
    by_dimension = {dimension: level for dimension, level in zip(order, levels, strict=True)}
    for level in levels:
        if level.integer(0, "byte") not in (DENSE, SPARSE_CSR):
            raise flat.error(level.at, f"a dense or CSR dimension of {what}", f"format {level.integer(0, 'byte')}")
    sizes = list(shape)
    strides = [prod(shape[axis + 1 :]) for axis in range(rank)]
    for number, axis in enumerate(block_map):
        inner = by_dimension[rank + number]
        block = inner.integer(1, "int")
        if inner.integer(0, "byte") != DENSE or block < 1 or shape[axis] % block:
            expected = f"a dense block that divides dimension {axis} of {what}, {shape[axis]}"
            raise flat.error(inner.at, expected, f"a block of {block}")
        sizes.append(block)
        strides.append(strides[axis])
        sizes[axis] //= block
        strides[axis] *= block
    for dimension, level in by_dimension.items():
        if level.integer(0, "byte") == DENSE and level.integer(1, "int") != sizes[dimension]:
            expected = f"a dense size of {sizes[dimension]} for dimension {dimension} of {what}"
            raise flat.error(level.at, expected, str(level.integer(1, "int")))
    return sizes, strides


def _compressed(level: Table, parents: int, size: int, what: str) -> tuple[Ints, Ints]:
    """(the position outside, the index) of every entry of a CSR dimension. Raises FormatError unless the segments
    partition the indices and these rise within each and stay below `size`."""
    flat = level.flat
    segments = _indices(level, 2, f"segments of {what}")
    indices = _indices(level, 4, f"indices of {what}")
    if segments.size != parents + 1:
        raise flat.error(level.at, f"{parents + 1} segments of {what}", str(segments.size))
    steps = np.diff(segments)
    if segments[0] != 0 or segments[-1] != indices.size or (steps < 0).any():
        raise flat.error(level.at, f"segments of {what} that rise from 0 to {indices.size}", _first(segments))
    if indices.size and (indices.min() < 0 or indices.max() >= size):
        found = f"{indices.min()} to {indices.max()}"
        raise flat.error(level.at, f"indices of {what} below {size}", found)
    owners = np.repeat(np.arange(parents, dtype=np.int64), steps)
    if ((np.diff(indices) <= 0) & (np.diff(owners) == 0)).any():
        raise flat.error(level.at, f"indices of {what} that rise within a segment", _first(indices))
    return owners, indices


def _indices(level: Table, slot: int, what: str) -> Ints:
    """The vector of the union whose type is in `slot` and whose table is in the next."""
    flat = level.flat
    kind = INDEX_TYPES.get(level.integer(slot, "ubyte"))
    table = level.table(slot + 1, what)
    if kind is None or table is None:
        raise flat.error(level.at, f"{what}, as 8, 16 or 32 bits", f"type {level.integer(slot, 'ubyte')}")
    values = table.array(0, kind, what)
    flat.charge(8 * values.size, table.at, what)
    return values.astype(np.int64)


def _first(values: Ints) -> str:
    return str(values[:8].tolist())
