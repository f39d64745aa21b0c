"""One node of a graph on given values, by its reference operator.
Whole graphs are run by `edgert.graph.execute`."""

from __future__ import annotations

from collections.abc import Mapping

from edgert.graph.ir import Array, Graph, Node, TensorType
from edgert.kernels_cpu.reference import Quant, evaluate


def evaluate_node(graph: Graph, node: Node, values: Mapping[str, Array]) -> tuple[Array, ...]:
    """The outputs of `node`; `values` has its inputs. Raises UnsupportedError as the reference does."""
    kinds = [graph.types.get(name) for name in node.outputs]
    return evaluate(
        node.op,
        [values[name] if name else None for name in node.inputs],
        dict(node.attrs),
        [quant_of(graph.types.get(name)) for name in node.inputs],
        [quant_of(kind) for kind in kinds],
        [kind.dtype if kind is not None else "" for kind in kinds],
    )


def quant_of(kind: TensorType | None) -> Quant | None:
    """The quantization of a tensor type as reference operators take it."""
    if kind is None or kind.quant is None:
        return None
    return Quant(kind.quant.scale, kind.quant.zero_point, kind.quant.axis)
