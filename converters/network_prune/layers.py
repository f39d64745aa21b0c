"""Which convolutions of a network are pruned, and their weights as matrices whose blocks are the encoding's.
How a matrix is pruned is in `prune_layer.py`."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase

import numpy as np

from edgert.converters.network_prune.options import NetworkPruning
from edgert.errors import ConversionError
from edgert.graph.ir import Array, Graph, Node

CELL = 4
"""Input channels are padded to whole cells, so that four columns of a matrix are four channels of one tap."""

MIN_CHANNELS = 16
"""Convolutions with fewer inputs or outputs have too few blocks: they lose much and save nothing."""


@dataclass(frozen=True)
class Chosen:
    """sparsities: output tensor of each layer to prune, in order -> its share of zeros. sharing: those among them
    whose share follows from the common budget. left: other layers with weights -> why they stay dense."""

    sparsities: dict[str, float]
    sharing: tuple[str, ...]
    left: dict[str, str]


def choose_layers(graph: Graph, pruning: NetworkPruning) -> Chosen:
    """Pointwise and k x k convolutions with enough channels, but for the first and the last layer with weights.

    An override may add one of them, or leave any out. Layers go by the name of their node or their output.
    Raises ConversionError for an override that matches nothing, or where nothing is left to prune.
    """
    weighted = [node for node in graph.nodes if node.op in ("Conv", "Gemm", "MatMul") and has_weights(graph, node)]
    sparsities, sharing, left = {}, [], {}
    for i, node in enumerate(weighted):
        name = node.outputs[0]
        override = pruning.override(name) or (pruning.override(node.name) if node.name else None)
        reason = unfit(graph, node) or (reserve(graph, node, i, len(weighted)) if override is None else "")
        if reason:
            left[name] = reason
        elif override is None:
            sparsities[name] = pruning.sparsity
            sharing.append(name)
        elif override.sparsity:
            sparsities[name] = override.sparsity
        else:
            left[name] = "left dense as asked"
    names = [name for node in weighted for name in (node.name, node.outputs[0])]
    for override in pruning.overrides:
        if not any(fnmatchcase(name, override.pattern) for name in names):
            raise ConversionError(f"expected layers that match {str(override)!r}, found none; --report names them all")
    if not sparsities:
        raise ConversionError("expected convolutions to prune, found none with enough channels")
    return Chosen(sparsities, tuple(sharing), left)


def has_weights(graph: Graph, node: Node) -> bool:
    return len(node.inputs) > 1 and node.inputs[1] in graph.constants


def unfit(graph: Graph, node: Node) -> str:
    """Why there is no sparse form of a layer; '' when there is."""
    weight, group = graph.constants[node.inputs[1]], node.attr_int("group", 1)
    if node.op != "Conv":
        return "a matrix product"
    if weight.ndim != 4:
        return "no sparse form but of images"
    if weight.dtype != np.float32:
        return f"its weights are {weight.dtype}"
    if group > 1:
        return "depthwise" if weight.shape[1] == 1 else "grouped"
    return ""


def reserve(graph: Graph, node: Node, number: int, count: int) -> str:
    """Why a layer is left dense unless asked for: where networks hurt most, or where nothing is saved."""
    outputs, inputs = graph.constants[node.inputs[1]].shape[:2]
    if number == 0:
        return "the first layer"
    if number == count - 1:
        return "the last layer"
    if min(outputs, inputs) < MIN_CHANNELS:
        return f"{inputs} to {outputs} channels are few"
    return ""


def to_matrix(weight: Array) -> Array:
    """Weights [N, C, *K] as float32 [N, taps * C4]: taps outer, channels padded to whole cells with zeros."""
    rows, inputs = weight.shape[:2]
    flat = weight.reshape(rows, inputs, -1).swapaxes(1, 2)
    return np.pad(flat, ((0, 0), (0, 0), (0, -inputs % CELL))).reshape(rows, -1).astype(np.float32)


def to_weight(matrix: Array, shape: tuple[int, ...]) -> Array:
    """The inverse of `to_matrix`, for weights of `shape`."""
    taps = int(np.prod(shape[2:]))
    flat = matrix.reshape(shape[0], taps, -1)[:, :, : shape[1]]
    return np.ascontiguousarray(flat.swapaxes(1, 2)).reshape(shape)
