"""Weights that were exported as int8 stay int8 in the file: found again in the float graph, and stored by groups.
The forms exporters write are recognised in `passes/recognise_weight_only.py` and `passes/recognise_dynamic_int8.py`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgert.converters.passes.rewrite import Rewriter
from edgert.format.model import StoredTensor
from edgert.graph.ir import Array, Dim, Graph, Node

GROUP = 32
"""Values along a row that share a scale in the encoding q8g."""

FEWEST = 4096
"""Values: smaller matrices stay float32, they cost nothing."""

EXACT = 2.0**-20
"""Relative error of a value that counts as on the grid: rounding of the product of integer and scale."""

COARSE = 2.0**-10
"""Relative error up to which a scale may be rounded to half precision."""


def has_int8_weights(graph: Graph) -> bool:
    """Whether weights alone are integers, or activations only while the model runs: no scale of an activation is
    known, so that products are computed in float or with scales of the moment."""
    operators = {node.op for node in graph.nodes}
    if any(op == "QuantizeLinear" or op.startswith("QLinear") for op in operators):
        return False
    if "DynamicQuantizeLinear" in operators:
        return True
    stored = ("int8", "uint8")
    return any(
        node.op in ("DequantizeLinear", "Cast")
        and node.inputs[0] in graph.constants
        and graph.constants[node.inputs[0]].dtype.name in stored
        and graph.constants[node.inputs[0]].size >= FEWEST
        for node in graph.nodes
    )


def products_by_rows(graph: Graph) -> Graph:
    """Writes MatMul of more than two axes with constant weights on an int8 grid, and the bias added to it, as a Gemm
    between two Reshapes: the form whose weights can be stored by groups."""
    rw = Rewriter(graph)
    targets: dict[tuple[Dim, ...], str] = {}
    for node in list(rw.graph.nodes):
        weight = rw.constant(node.inputs[1]) if node.op == "MatMul" else None
        kind = rw.type_of(node.inputs[0])
        if weight is None or weight.ndim != 2 or kind is None or len(kind.shape) < 2 or kind.dtype != "float32":
            continue
        rows = np.ascontiguousarray(weight.T)
        if weight.size < FEWEST or grid_of(rows) is None:
            continue
        last, inputs = node, [rw.add_constant(f"{node.inputs[1]}_rows", rows)]
        added = rw.sole_reader(node.outputs[0]) if not node.attr_str("activation", "") else None
        if added is not None and added.op == "Add":
            bias = rw.constant(next(name for name in added.inputs if name != node.outputs[0]))
            if bias is not None and bias.shape == (len(rows),):
                inputs.append(rw.add_constant(f"{node.outputs[0]}_bias", bias))
                last = added
        old = [node] if last is node else [node, last]
        rw.replace(old, by_rows(rw, node, inputs, last, kind.shape, targets))
    return rw.finish()


def by_rows(
    rw: Rewriter,
    node: Node,
    inputs: Sequence[str],
    last: Node,
    shape: Sequence[Dim],
    targets: dict[tuple[Dim, ...], str],
) -> list[Node]:
    """The nodes that compute what `last` does, from the first input of `node`, of `shape`, by a Gemm with `inputs`.

    targets: shape of a result -> a tensor that holds it. Equal names of sizes are equal sizes.
    """
    depth, count = rw.graph.constants[inputs[0]].shape[1], len(rw.graph.constants[inputs[0]])
    stem, x = node.name or last.outputs[0], node.inputs[0]
    outputs, attrs = last.outputs, {**last.attrs, "transB": 1}
    if len(shape) == 2:
        return [Node("Gemm", (x, *inputs), outputs, dict(attrs), stem)]
    flat, product = (rw.add_tensor(f"{outputs[0]}_{what}", None) for what in ("flat", "product"))
    rows = rw.add_constant(f"{stem}_flat", np.array([-1, depth], np.int64))
    found, made = (*shape[:-1], count), list[Node]()
    if found not in targets:
        sizes, targets[found] = (rw.add_tensor(f"{outputs[0]}_{what}", None) for what in ("sizes", "shape"))
        columns = rw.add_constant(f"{stem}_columns", np.array([count], np.int64))
        made = [
            Node("Shape", (x,), (sizes,), {"start": 0, "end": len(shape) - 1}, f"{stem}_sizes"),
            Node("Concat", (sizes, columns), (targets[found],), {"axis": 0}, f"{stem}_shape"),
        ]
    return [
        Node("Reshape", (x, rows), (flat,), {}, f"{stem}_flat"),
        Node("Gemm", (flat, *inputs), (product,), dict(attrs), stem),
        *made,
        Node("Reshape", (product, targets[found]), outputs, {}, f"{stem}_back"),
    ]


def pack_grid(name: str, value: Array, readers: Sequence[Node]) -> StoredTensor | None:
    """The weights of a Gemm (float32 [N, K], transB) or a table of Gather as int8 without loss beyond the rounding of
    a scale; None for what is no such thing, or on no grid."""
    if value.dtype != np.float32 or value.ndim != 2 or value.size < FEWEST or not readers:
        return None
    products = all(
        node.op == "Gemm" and node.inputs.index(name) == 1 and node.attr_int("transB", 0) for node in readers
    )
    tables = all(node.op == "Gather" and node.inputs[0] == name and not node.attr_int("axis", 0) for node in readers)
    found = grid_of(value) if products or tables else None
    if found is None:
        return None
    numbers, scale = found
    if tables:
        whole = scale.shape[1] == 1 and int(numbers.min()) >= -127
        return StoredTensor.pack_q8(name, numbers, scale[:, 0], dtype="float32") if whole else None
    groups = -(-value.shape[1] // GROUP)
    halves = np.array(np.broadcast_to(scale, (len(value), groups))).astype(np.float16)
    wide = np.broadcast_to(scale, halves.shape)
    if not np.isfinite(halves).all() or (np.abs(halves.astype(np.float32) - wide) > COARSE * wide).any():
        return None
    return StoredTensor.pack_q8g(name, numbers, halves)


def grid_of(value: Array) -> tuple[Array, Array] | None:
    """(int8 numbers [N, K], float32 scales [N, 1] or [N, K / 32]) whose product is `value`, up to rounding; else None.

    A scale for each row is looked for first, then one for each group of 32 values in a row.
    """
    count, depth = value.shape
    found = rows_on_grid(value)
    if found is not None:
        return found[0], found[1][:, None]
    if depth % GROUP:
        return None
    found = rows_on_grid(value.reshape(-1, GROUP))
    return None if found is None else (found[0].reshape(count, depth), found[1].reshape(count, -1))


def rows_on_grid(value: Array) -> tuple[Array, Array] | None:
    """(int8 numbers, float32 scale of each row), None as soon as it is clear that a row is on no grid.

    The largest magnitude of a row is one of 1..128 steps; each is tried on the rows that are left, the largest first.
    A few rows are tried alone before all are.
    """
    numbers, scale = np.zeros(value.shape, np.int8), np.ones(len(value), np.float32)
    largest = np.abs(value).max(1, initial=0)
    if not np.isfinite(largest).all():
        return None
    left = np.flatnonzero(largest)
    if len(left) > FEW_ROWS and rows_on_grid(value[left[:FEW_ROWS]]) is None:
        return None
    for steps in range(128, 0, -1):
        step = largest[left] / np.float32(steps)
        whole = np.rint(value[left] / step[:, None])
        near = np.abs(whole * step[:, None] - value[left]) <= EXACT * largest[left, None]
        good = near.all(1) & (whole.max(1, initial=0) <= 127)
        numbers[left[good]], scale[left[good]] = whole[good], step[good]
        left = left[~good]
        if not len(left):
            return numbers, scale
    return None


FEW_ROWS = 4
