"""From a finished graph to the objects of a .edge file: an encoding and a layout for every constant.
Layouts are those the kernels read, so that the file needs no repacking when it is loaded."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgert.format.encodings import Q8_LIMIT
from edgert.format.model import Model, ModelInfo, StoredTensor
from edgert.graph.ir import Array, Graph, Node, TensorType


def pack_model(graph: Graph, info: ModelInfo, report: dict[str, Any], source: dict[str, Any]) -> Model:
    """The model with every constant of `graph` packed. Raises FormatError for what the format cannot hold."""
    readers = graph.consumers()
    tensors = {
        name: pack_constant(name, value, graph.types[name], readers.get(name, []))
        for name, value in graph.constants.items()
    }
    return Model(graph, tensors, info, source, report)


def pack_constant(name: str, value: Array, kind: TensorType, readers: list[Node]) -> StoredTensor:
    """One constant in the layout that all its readers share, else dense in row order."""
    layouts = {weight_layout(reader, name, value) for reader in readers}
    layout = layouts.pop() if len(layouts) == 1 else "row"
    quant = kind.quant
    if value.dtype == np.int8 and layout != "row" and quant is not None and not quant.zero_point.any():
        if quant.axis in (None, 0) and int(value.min(initial=0)) >= -Q8_LIMIT:
            return StoredTensor.pack_q8(name, value, quant.scale, layout)
        layout = "row"
    return StoredTensor.pack_dense(name, value, layout, quant)


def weight_layout(node: Node, name: str, value: Array) -> str:
    """The layout in which `node` reads its constant input `name`; `row` unless it is the weights.

    Blocks of four output channels must not straddle groups, so grouped weights of other sizes stay in rows.
    """
    if len(node.inputs) < 2 or node.inputs[1] != name or node.inputs.count(name) != 1:
        return "row"
    if node.op in ("Conv", "QLinearConv") and value.ndim == 4:
        groups, per_group = node.attr_int("group", 1), value.shape[1]
        depthwise = groups > 1 and per_group == 1 and value.shape[0] == groups
        if depthwise:
            return "dw4" if value.dtype == np.int8 else "row"
        if groups > 1 and (value.shape[0] // groups) % 4:
            return "row"
        return {"int8": "n4k4", "float32": "n4k1"}.get(value.dtype.name, "row")
    if node.op in ("Gemm", "QLinearGemm") and value.ndim == 2 and node.attr_int("transB", 0):
        return {"int8": "n16k4", "float32": "n16k1"}.get(value.dtype.name, "row")
    return "row"
