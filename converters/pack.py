"""From a finished graph to the objects of a .edge file: an encoding and a layout for every constant.
Layouts are those the kernels read, so that the file needs no repacking when it is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from edgert.converters.int8_weights import pack_grid
from edgert.converters.passes.share_between_bodies import share_between_bodies
from edgert.converters.quantize.insert import QUANTIZED
from edgert.converters.report import LayerWeights
from edgert.converters.sparse_encoding import Fit, fit_conv, fit_conv_float
from edgert.format.encodings import Q8_LIMIT
from edgert.format.model import Model, ModelInfo, StoredTensor
from edgert.graph.ir import Array, Graph, Node, TensorType

PRODUCTS = ("Conv", "QLinearConv", "Gemm", "QLinearGemm")

HALVES = ("Conv", "Gemm", "MatMul", "PRelu", "Add", "Sub", "Mul", "Div")
"""Operators whose float32 constants are stored in float16 if that changes none of their values, as where they come from
a model with float16 weights. The device widens them once, when it plans; the file is half as long."""

FEW_HALVES = 8
"""Values: fewer take a line of the file either way."""

FEW = 0.01
"""Shares of zeros below this are chance."""


def pack_model(
    graph: Graph,
    info: ModelInfo,
    report: dict[str, Any],
    source: dict[str, Any],
    pattern: str = "auto",
    fits: dict[str, str] | None = None,
    int8: bool = False,
) -> Model:
    """The model with every constant of `graph` packed, weights of convolutions without their zeros where that pays.

    pattern: how zeros lie if that is known, see `fit_conv`. fits: collects, for each weight that could be sparse, a
    line of words about that. int8: store float weights on an int8 grid as such, see `int8_weights.py`.
    Raises FormatError for what the format cannot hold.
    """
    graph = share_between_bodies(graph)
    tensors = {}
    for part in (graph, *graph.bodies()):
        readers = part.consumers()
        for name, value in part.constants.items():
            on_grid = pack_grid(name, value, readers.get(name, [])) if int8 else None
            stored = on_grid or pack_constant(name, value, part.types[name], readers.get(name, []))
            found, words = without_zeros(stored, value, readers.get(name, []), pattern)
            tensors[name] = found or stored
            if words and fits is not None:
                fits[name] = words
    return Model(graph, tensors, info, source, report)


def without_zeros(stored: StoredTensor, value: Array, readers: list[Node], pattern: str) -> Fit:
    """The sparse form of a constant, None where dense is better; and words about it, '' for what has no sparse form."""
    if stored.layout not in ("n4k4", "n4k1"):
        return None, ""
    groups = readers[0].attr_int("group", 1)
    if stored.quant is not None:
        return fit_conv(stored.name, value, stored.quant.scale, groups=groups, pattern=pattern)
    return fit_conv_float(stored.name, value, groups=groups, pattern=pattern, halves=stored.encoding == "f16")


def pack_constant(name: str, value: Array, kind: TensorType, readers: list[Node]) -> StoredTensor:
    """One constant with its zeros, in the layout that all its readers share, else in row order."""
    layouts = {weight_layout(reader, name, value) for reader in readers}
    layout = layouts.pop() if len(layouts) == 1 else "row"
    quant = kind.quant
    if value.dtype == np.int8 and layout != "row" and quant is not None and not quant.zero_point.any():
        if quant.axis in (None, 0) and int(value.min(initial=0)) >= -Q8_LIMIT:
            return StoredTensor.pack_q8(name, value, quant.scale, layout)
        layout = "row"
    halves = quant is None and readers and all(node.op in HALVES for node in readers)
    if halves and fits_float16(value):
        # Lines of halves (n16k1) are for kernels of language models, which round what they are multiplied with.
        return StoredTensor.pack_f16(name, value, "n4k1" if layout == "n4k1" else "row")
    return StoredTensor.pack_dense(name, value, layout, quant)


def fits_float16(value: Array) -> bool:
    """Whether `value` is float32, of more than a few numbers, and the same after a way through float16 and back."""
    if value.dtype != np.float32 or value.size < FEW_HALVES:
        return False
    with np.errstate(over="ignore", invalid="ignore"):
        return bool((value.astype(np.float16).astype(np.float32) == value).all())


def stored_layers(model: Model, left: Mapping[str, str], fits: Mapping[str, str]) -> list[LayerWeights]:
    """How the weights of every convolution and matrix product lie in `model`. left: output tensor of a layer, as it
    is called in float -> why it was not pruned. fits: what `pack_model` collects."""
    found = []
    for node in model.graph.nodes:
        stored = model.tensors.get(node.inputs[1]) if len(node.inputs) > 1 and node.op in PRODUCTS else None
        if stored is None:
            continue
        name = node.outputs[0].removesuffix(QUANTIZED)
        dense = stored.dense()
        zeros = 1.0 - np.count_nonzero(dense) / max(dense.size, 1)
        why = "" if stored.sparse else left.get(name) or ("no zeros" if zeros < FEW else fits.get(stored.name, ""))
        size = stored.expanded().nbytes
        found.append(LayerWeights(name, node.op, zeros, stored.pattern, stored.nbytes, size, why))
    return found


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
