"""Values chosen or placed by index: gathers, scatters, embeddings, one-hot, largest values, diagonals, segments.
Parts of tensors by position are in `lift_slice.py`."""

from __future__ import annotations

import numpy as np

from edgert.converters.tflite.builder import Builder, Refused
from edgert.converters.tflite.lifts import lift
from edgert.converters.tflite.model import TfliteOperator


@lift("GATHER")
def gather(b: Builder, op: TfliteOperator) -> None:
    """x along `axis` at the indices; the first batch_dims axes of both are walked together."""
    x, indices = op.inputs[:2]
    rank, places = b.rank(x), b.rank(indices)
    axis, batch = int(op.options["axis"]), int(op.options.get("batch_dims", 0))
    axis += rank if axis < 0 else 0
    batch += places if batch < 0 else 0
    if not 0 <= batch <= axis < rank or batch > places:
        raise Refused("batch_dims", f"expected 0 <= batch_dims <= axis < {rank}, found {batch} and {axis}")
    if not batch:
        b.emit(op, "Gather", [b.data(x), b.use(indices)], {"axis": axis})
        return
    # ONNX has batch axes for tuples only, which choose the axes right after them.
    tuples = b.step("Unsqueeze", [b.use(indices), b.ints("axes", [-1])])
    middle = list(range(batch, axis))
    if not middle:
        b.emit(op, "GatherND", [b.data(x), tuples], {"batch_dims": batch})
        return
    front = [*range(batch), axis, *middle, *range(axis + 1, rank)]
    found = b.step("GatherND", [b.step("Transpose", [b.data(x)], {"perm": front}), tuples], {"batch_dims": batch})
    chosen = list(range(batch, places))
    moved = [places + i for i in range(len(middle))]
    rest = [places + len(middle) + i for i in range(rank - axis - 1)]
    b.emit(op, "Transpose", [found], {"perm": [*range(batch), *moved, *chosen, *rest]})


@lift("GATHER_ND")
def gather_nd(b: Builder, op: TfliteOperator) -> None:
    b.emit(op, "GatherND", [b.data(op.inputs[0]), b.use(op.inputs[1])])


@lift("SCATTER_ND")
def scatter_nd(b: Builder, op: TfliteOperator) -> None:
    """Inputs (indices, updates, shape): zeros, to which updates are added at the tuples of the indices."""
    indices, updates, shape = op.inputs[:3]
    zero = b.constant("zero", np.zeros((), b.dtype(updates)))
    zeros = b.step("Expand", [zero, b.int64(shape)])
    b.emit(op, "ScatterND", [zeros, b.use(indices), b.use(updates)], {"reduction": "add"})


@lift("SPARSE_TO_DENSE")
def sparse_to_dense(b: Builder, op: TfliteOperator) -> None:
    """Inputs (indices, shape, values, default): one value, or one for each index tuple."""
    indices, shape, values, default = op.inputs[:4]
    count, rank = b.tensor(indices).shape, int(np.prod(b.tensor(shape).shape))
    tuples = b.step("Reshape", [b.use(indices), b.ints("shape", [-1, rank])])
    filled = b.step("Expand", [b.use(default), b.int64(shape)])
    places = int(np.prod(count)) // max(rank, 1) if len(count) == 2 else int(np.prod(count))
    if len(count) < 2 and rank > 1:
        places = 1
    spread = b.step("Expand", [b.use(values), b.ints("places", [places])])
    b.emit(op, "ScatterND", [filled, tuples, spread])


@lift("EMBEDDING_LOOKUP")
def embedding_lookup(b: Builder, op: TfliteOperator) -> None:
    """Inputs (ids, table): rows of the table."""
    ids, table = op.inputs[:2]
    name = b.use(table)
    if b.is_quantized(table) and not b.is_quantized(op.outputs[0]):
        name = b.real(table)
    b.emit(op, "Gather", [name, b.use(ids)], {"axis": 0})


@lift("ONE_HOT")
def one_hot(b: Builder, op: TfliteOperator) -> None:
    """Inputs (indices, depth, on, off). A negative index turns nothing on, where ONNX counts from the end."""
    indices, depth, on, off = op.inputs[:4]
    wide = b.step("Cast", [b.use(indices)], {"to": "int64"})
    count = b.int64(depth)
    nowhere = b.step("Less", [wide, b.scalar("zero", 0, "int64")])
    flat = [b.step("Reshape", [b.data(i), b.ints("one", [1])]) for i in (off, on)]
    places = b.step("Where", [nowhere, count, wide])
    if b.rank(indices) == 0:
        places = b.step("Reshape", [places, b.ints("scalar", [])])
    b.emit(op, "OneHot", [places, count, b.step("Concat", flat, {"axis": 0})], {"axis": int(op.options["axis"])})


@lift("TOPK_V2")
def top_k(b: Builder, op: TfliteOperator) -> None:
    """The k largest values of the last axis in order, and their positions."""
    values, positions = op.outputs[:2]
    found = b.between(op, "positions", of=positions)
    b.append("TopK", [b.use(op.inputs[0]), b.int64(op.inputs[1])], [b.declare(values), found], {"axis": -1}, op)
    b.append("Cast", [found], [b.declare(positions)], {"to": b.dtype(positions)})


@lift("WHERE")
def where(b: Builder, op: TfliteOperator) -> None:
    """Positions [n, rank] of what is not zero, in row-major order."""
    found = b.step("NonZero", [b.use(op.inputs[0])])
    out = op.outputs[0]
    if b.dtype(out) == "int64":
        b.emit(op, "Transpose", [found], {"perm": [1, 0]})
    else:
        b.emit(op, "Cast", [b.step("Transpose", [found], {"perm": [1, 0]})], {"to": b.dtype(out)})


@lift("UNIQUE")
def unique(b: Builder, op: TfliteOperator) -> None:
    """The values of a vector in the order in which they first occur, and where each value of the input went."""
    values, places = op.outputs[:2]
    found = b.between(op, "places", of=places)
    inner = [b.declare(values), b.between(op, "first", of=values), found]
    b.append("Unique", [b.use(op.inputs[0])], inner, {"sorted": 0}, op)
    b.append("Cast", [found], [b.declare(places)], {"to": b.dtype(places)})


@lift("REVERSE_SEQUENCE")
def reverse_sequence(b: Builder, op: TfliteOperator) -> None:
    """The first lengths[i] values along seq_dim, backwards, for each i of batch_dim."""
    x, lengths = op.inputs[:2]
    time, batch, rank = int(op.options["seq_dim"]), int(op.options["batch_dim"]), b.rank(x)
    time, batch = time % rank, batch % rank
    attrs = {"time_axis": 1, "batch_axis": 0}
    wide = b.int64(lengths)
    if (batch, time) in ((0, 1), (1, 0)):
        b.emit(op, "ReverseSequence", [b.data(x), wide], {"time_axis": time, "batch_axis": batch})
        return
    perm = [batch, time, *(axis for axis in range(rank) if axis not in (batch, time))]
    front = b.step("Transpose", [b.data(x)], {"perm": list(perm)})
    reversed_ = b.step("ReverseSequence", [front, wide], dict(attrs))
    b.emit(op, "Transpose", [reversed_], {"perm": [perm.index(axis) for axis in range(rank)]})


@lift("MATRIX_DIAG", "MATRIX_SET_DIAG")
def matrix_diag(b: Builder, op: TfliteOperator) -> None:
    """Matrices with the last axis of the last input as their diagonal; the rest zeros, or that of the first input."""
    diagonal = op.inputs[-1]
    rows = b.need_size(diagonal, b.rank(diagonal) - 1, "size of the diagonal")
    column = b.step("Unsqueeze", [b.data(diagonal), b.ints("axes", [-1])])
    if op.op == "MATRIX_DIAG":
        b.check_made("diagonal", rows, rows)
        eye = b.constant("eye", np.eye(rows, dtype=bool))
        zero = b.constant("zero", np.zeros((), b.dtype(diagonal)))
        b.emit(op, "Where", [eye, column, zero])
        return
    x = op.inputs[0]
    height, width = (b.need_size(x, b.rank(x) + axis, "size of the matrices") for axis in (-2, -1))
    b.check_made("matrix", height, width)
    eye = b.constant("eye", np.eye(height, width, dtype=bool))
    if rows < height:  # a wide or tall matrix has a shorter diagonal, which must reach every row
        pads = [0] * (2 * b.rank(x))
        pads[-2] = height - rows
        column = b.step("Pad", [column, b.ints("pads", pads)])
    b.emit(op, "Where", [eye, column, b.data(x)])


SEGMENTS = {"SEGMENT_SUM": "add", "UNSORTED_SEGMENT_SUM": "add", "UNSORTED_SEGMENT_PROD": "mul",
            "UNSORTED_SEGMENT_MAX": "max", "UNSORTED_SEGMENT_MIN": "min"}  # fmt: skip


@lift(*SEGMENTS)
def segments(b: Builder, op: TfliteOperator) -> None:
    """Inputs (x, ids, count): rows of x with one id are added (multiplied ...) to one row of the output."""
    x, ids = op.inputs[:2]
    if b.rank(ids) != 1:
        raise Refused("segment_ids", f"expected a vector of ids, found rank {b.rank(ids)}")
    if op.op == "SEGMENT_SUM":
        count = [int(b.need_value(ids, "segment_ids").max(initial=-1)) + 1]
    else:
        count = b.need_ints(op.inputs[2], "num_segments")
    rest = [b.need_size(x, axis, "size") for axis in range(1, b.rank(x))]
    dtype, how = np.dtype(b.dtype(x)), SEGMENTS[op.op]
    ends = np.finfo(dtype) if dtype.kind == "f" else np.iinfo(dtype)
    first = {"add": 0, "mul": 1, "max": ends.min, "min": ends.max}[how]
    start = b.step("Expand", [b.constant("start", np.array(first, dtype)), b.ints("shape", [*count, *rest])])
    tuples = b.step("Unsqueeze", [b.use(ids), b.ints("axes", [-1])])
    b.emit(op, "ScatterND", [start, tuples, b.use(x)], {"reduction": how})


@lift("DYNAMIC_UPDATE_SLICE")
def dynamic_update_slice(b: Builder, op: TfliteOperator) -> None:
    """Inputs (x, update, starts): x with a block of it replaced; starts are held inside.
    Source: StableHLO dynamic_update_slice."""
    x, update, starts = op.inputs[:3]
    sizes = [b.need_size(update, axis, "size of the update") for axis in range(b.rank(update))]
    whole = [b.need_size(x, axis, "size") for axis in range(b.rank(x))]
    most = b.ints("most", [w - s for w, s in zip(whole, sizes, strict=True)])
    corner = b.step("Min", [b.step("Max", [b.int64(starts), b.scalar("zero", 0, "int64")]), most])
    b.check_made("update", *sizes, len(sizes))
    grid = np.stack(np.meshgrid(*(np.arange(s) for s in sizes), indexing="ij"), axis=-1).astype(np.int64)
    places = b.step("Add", [b.constant("grid", grid), corner])
    b.emit(op, "ScatterND", [b.data(x), places, b.data(update)])
