"""One node's values by the reference, which gets the types and quantization that the graph knows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from edgert.errors import EdgertError
from edgert.graph.ir import Array, Node, TensorType
from edgert.kernels_cpu.reference import Quant, evaluate


def quant_of(kind: TensorType | None) -> Quant | None:
    """The reference's form of a type's quantization."""
    if kind is None or kind.quant is None:
        return None
    return Quant(kind.quant.scale, kind.quant.zero_point, kind.quant.axis)


def evaluate_node(node: Node, inputs: Sequence[Array | None], types: Mapping[str, TensorType]) -> list[Array]:
    """Values of the node's outputs, one per output name. types: of its inputs and outputs where known.

    Raises the reference's typed error with the node's name in front.
    """
    outs = [types.get(name) if name else None for name in node.outputs]
    try:
        values = evaluate(
            node.op, inputs, node.attrs, [quant_of(types.get(name)) if name else None for name in node.inputs],
            [quant_of(kind) for kind in outs], [kind.dtype if kind is not None else "" for kind in outs],
        )  # fmt: skip
    except EdgertError as error:
        raise type(error)(f"node {node.name or node.outputs[0]!r} ({node.op}): {error}") from error
    return list(values)
