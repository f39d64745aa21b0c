"""How much work a node is, from its types alone: multiply-adds and bytes, for reports and host operators.

Native kernels state their own work in their offers.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from edgert.graph.ir import Node, TensorType

_CONVOLUTIONS = {"Conv", "QLinearConv", "ConvInteger"}
_PRODUCTS = {"Gemm", "MatMul", "QLinearGemm", "QLinearMatMul", "MatMulInteger", "MatMulNBits"}


def node_macs(node: Node, inputs: Sequence[TensorType | None], outputs: Sequence[TensorType]) -> int:
    """Multiply-adds of a product operator; 0 for the others, which are bound by memory."""
    if not outputs or len(inputs) < 2 or inputs[0] is None or inputs[1] is None:
        return 0
    x, w, y = inputs[0].static_shape, inputs[1].static_shape, outputs[0].numel
    if node.op in _CONVOLUTIONS:
        return y * prod(w[1:])
    if node.op == "ConvTranspose":
        return prod(x) * prod(w[1:])
    if node.op in _PRODUCTS and x:
        inner = x[0] if node.attr_int("transA", 0) and len(x) == 2 else x[-1]
        return y * inner
    return 0


def node_bytes(inputs: Sequence[TensorType | None], outputs: Sequence[TensorType]) -> int:
    """Bytes of all inputs and outputs once."""
    return sum(kind.nbytes for kind in (*inputs, *outputs) if kind is not None)
