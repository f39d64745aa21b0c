"""One node applied to values: the bridge from a typed graph to the reference operators.
Running a whole graph is in `execute.py`."""

from __future__ import annotations

from collections.abc import Sequence

from edgert.graph.ir import Array, Graph, Node, Quantization
from edgert.kernels_cpu.reference import Quant, evaluate


def as_quant(quant: Quantization | None) -> Quant | None:
    """The same scale and zero point as the reference operators take them."""
    return None if quant is None else Quant(quant.scale, quant.zero_point, quant.axis)


def evaluate_node(graph: Graph, node: Node, inputs: Sequence[Array | None]) -> dict[str, Array]:
    """Values of the named outputs of `node`, whose types `graph.types` has.

    Raises UnsupportedError for an operator without a reference, and AssertionError when a value is not of
    the inferred type, which is a bug in one of the two.
    """
    quants = [as_quant(graph.types[name].quant) if name else None for name in node.inputs]
    kinds = [graph.types[name] if name else None for name in node.outputs]
    results = evaluate(
        node.op, inputs, node.attrs, quants,
        [as_quant(kind.quant) if kind else None for kind in kinds],
        [kind.dtype if kind else "" for kind in kinds],
    )  # fmt: skip
    found = {}
    for name, kind, value in zip(node.outputs, kinds, results, strict=False):
        if kind is None:
            continue
        fits = len(value.shape) == len(kind.shape) and all(
            isinstance(d, str) or d == n for d, n in zip(kind.shape, value.shape, strict=True)
        )
        if value.dtype != kind.np_dtype or not fits:
            raise AssertionError(
                f"node {node.name!r} ({node.op}): inferred {kind.dtype}{list(kind.shape)} for {name!r}, "
                f"but its reference made {value.dtype}{list(value.shape)}"
            )
        found[name] = value
    return found
