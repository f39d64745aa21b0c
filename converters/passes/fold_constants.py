"""Nodes whose inputs are all constant are computed now, by the reference operators.
Shapes that only depend on known dimensions are in `fold_shapes.py`."""

from __future__ import annotations

import numpy as np

from edgert.converters.passes.deduplicate import RANDOM
from edgert.converters.passes.rewrite import Rewriter
from edgert.errors import EdgertError
from edgert.graph.evaluate import as_quant
from edgert.graph.infer import node_types
from edgert.graph.ir import Array, Graph, Node, TensorType
from edgert.graph.registry import NeedsValue
from edgert.kernels_cpu.reference import REFERENCE, evaluate

GROWTH_LIMIT = 1 << 16
"""Bytes a folded value may have beyond those of its inputs: Expand and Tile of a constant stay in the graph
rather than in the file."""

WIDENING = {"DequantizeLinear", "Cast"}
"""May make as much as they like: weights that were stored in fewer bits."""

KEPT = {"DequantizeLinear"}
"""Left for `absorb_qdq`, which needs the integers; `fold_dequantize` folds what it leaves."""


def fold_constants(graph: Graph) -> Graph:
    """Replaces constant sub-graphs by their values, weights under Transpose or QuantizeLinear included."""
    return fold(graph, KEPT)


def fold_dequantize(graph: Graph) -> Graph:
    """`fold_constants` for what no quantized operator took up: dequantized weights become float ones."""
    return fold(graph, set())


def fold(graph: Graph, kept: set[str]) -> Graph:
    rw = Rewriter(graph)
    for node in list(rw.graph.nodes):
        if node.op in kept or node.op in RANDOM or node.op not in REFERENCE:
            continue
        names = [name for name in node.inputs if name]
        if not names or any(name not in rw.graph.constants for name in names):
            continue
        if any(name in rw.graph.outputs for name in node.outputs):
            continue
        most = 2 * sum(rw.graph.constants[name].nbytes for name in names) + GROWTH_LIMIT
        try:
            if node.op not in WIDENING and grown(rw.graph, node) > most:
                continue  # known before it is computed: a few bytes may ask for more than there is memory
            values = constant_values(rw.graph, node)
        except EdgertError:
            continue  # what the reference does not take stays in the graph, for `check` to name
        if sum(value.nbytes for value in values) > most and node.op not in WIDENING:
            continue
        for name, value in zip(node.outputs, values, strict=False):
            if name:
                kind = rw.type_of(name)
                rw.graph.constants[name] = np.asarray(value, order="C")
                rw.graph.types[name] = TensorType(value.dtype.name, value.shape, kind.quant if kind else None)
        rw.replace([node], [])
    return rw.finish()


def grown(graph: Graph, node: Node) -> int:
    """Bytes of the outputs of a node whose inputs are constants, 0 where only their values tell: those have no more
    elements than the inputs. Raises UnsupportedError for what the operator does not take."""
    try:
        return sum(kind.nbytes for kind in node_types(graph, node, graph.constants).values() if kind.is_static)
    except NeedsValue:
        return 0


def constant_values(graph: Graph, node: Node) -> tuple[Array, ...]:
    """Values of a node whose inputs are constants; its types need not be inferred yet."""
    quants = [as_quant(kind.quant) if (kind := graph.types.get(name)) else None for name in node.inputs]
    outs = [graph.types.get(name) for name in node.outputs]
    return evaluate(
        node.op, [graph.constants[name] if name else None for name in node.inputs], node.attrs, quants,
        [as_quant(kind.quant) if kind else None for kind in outs], [kind.dtype if kind else "" for kind in outs],
    )  # fmt: skip
