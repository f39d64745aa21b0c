"""AWQ: channels with large inputs are scaled up before rounding, and what makes those inputs is scaled down.
Lin et al. 2023, "AWQ", sections 3.2 and 4.1; its clipping by the error of the output is `round_to_nearest`'s."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from edgert.converters.llm.compress.calibration import Linear
from edgert.converters.llm.compress.round_to_nearest import round_to_nearest
from edgert.converters.llm.groups import GroupEncoding
from edgert.converters.llm.weights import Weight, dequantized
from edgert.graph.ir import Array, Graph, Node

EXPONENTS = np.linspace(0.05, 1.0, 20)
"""How strongly a channel is scaled by the size of its input. 0, no scaling, is tried as well."""
SCORED_ROWS = 512
"""Rows, evenly spaced, that a scaling is judged by: it is one for all rows, and a few hundred tell."""


@dataclass(frozen=True)
class Rows:
    """Where the inputs of a matrix come from: the vector or the rows of the matrix `weight` that are divided.

    rows: None for all of a vector. Each of them feeds `copies` input channels in runs of `run`: with fewer value
    heads than query heads, several heads of the output projection read one value head.
    """

    weight: str
    rows: slice | None = None
    copies: int = 1
    run: int = 1

    def spread(self, scale: Array) -> Array:
        """scale, one for each row, for the input channels they feed."""
        return np.repeat(scale.reshape(-1, self.run), self.copies, axis=0).reshape(-1)

    def gather(self, channels: Array) -> Array:
        """The mean of `channels` over those that a row feeds."""
        return np.asarray(channels.reshape(-1, self.copies, self.run).mean(axis=1).reshape(-1))


def sources(graph: Graph, linear: Node) -> Rows | None:
    """What can be scaled down to make good a scaling of the inputs of `linear`; None if there is nothing.

    The network stays exactly what it was when: a norm feeds this product alone; GLU multiplies by its upper half;
    attention averages values. A residual connection or any other operator between forbids it.
    """
    made = {name: node for node in graph.nodes for name in node.outputs}
    x = linear.inputs[0]
    maker = made.get(x)
    if maker is None or sum(node.inputs.count(x) for node in graph.nodes) != 1 or x in graph.outputs:
        return None
    if maker.op in ("RMSNormalization", "LayerNormalization"):
        return Rows(maker.inputs[1])
    before = made.get(maker.inputs[0])
    if before is None or before.op != "Gemm" or before.attr_int("residual", 0):
        return None
    if sum(node.inputs.count(maker.inputs[0]) for node in graph.nodes) != 1:
        return None
    rows = _rows(graph, before.inputs[1])
    if maker.op == "GLU":
        return Rows(before.inputs[1], slice(rows // 2, rows))
    if maker.op == "GroupQueryAttention":
        heads, kv_heads = maker.attr_int("num_heads", 1), maker.attr_int("kv_num_heads", 1)
        depth = rows // (heads + 2 * kv_heads)
        return Rows(before.inputs[1], slice(rows - kv_heads * depth, rows), heads // kv_heads, depth)
    return None


def _rows(graph: Graph, matrix: str) -> int:
    return graph.types[matrix].static_shape[0]


def biases_of(graph: Graph) -> dict[str, str]:
    """Matrix, or scale of a norm -> its bias, where it has one."""
    kinds = ("Gemm", "LayerNormalization")
    return {n.inputs[1]: n.inputs[2] for n in graph.nodes if n.op in kinds and len(n.inputs) > 2 and n.inputs[2]}


class Values(dict[str, Array]):
    """The values of weights by name, loaded when they are first asked for."""

    def __init__(self, weights: Mapping[str, Weight]) -> None:
        super().__init__()
        self._weights = weights

    def __missing__(self, name: str) -> Array:
        self[name] = self._weights[name].load()
        return self[name]


def find_scale(weights: Array, moments: Array, encoding: GroupEncoding, rows: Rows) -> Array:
    """For each of `rows`, the scale of the channels it feeds, float32: of a grid, the least error of the output."""
    size = rows.gather(np.sqrt(np.diag(moments)))
    size = np.maximum(size, 1e-4 * float(size.max(initial=0.0)) or 1.0)
    weights = weights[:: -(-len(weights) // SCORED_ROWS)]
    best, least = np.ones(len(size), np.float32), np.inf
    for exponent in (0.0, *EXPONENTS):
        scale = size**exponent
        scale = np.asarray(scale / np.sqrt(scale.max() * scale.min()), np.float32)
        channels = rows.spread(scale)
        rounded = dequantized(round_to_nearest(weights * channels, encoding, search=False)) / channels
        error = output_error(weights - rounded, moments)
        if error < least:
            best, least = scale, error
    return best


def fold(values: dict[str, Array], rows: Rows, scale: Array, biases: Mapping[str, str]) -> None:
    """Divides `rows` by `scale`, and what is added to them, in place. biases: matrix or vector -> its bias."""
    for name in filter(None, (rows.weight, biases.get(rows.weight, ""))):
        part = rows.rows or slice(None)
        divided = np.array(values[name], np.float32)
        divided[part] /= scale.reshape(-1, *[1] * (divided.ndim - 1))
        values[name] = divided


def output_error(difference: Array, moments: Array) -> float:
    """The mean square of difference @ x summed over outputs, for x with `moments`: difference [N, K]."""
    return float(np.einsum("nk,nk->", difference @ moments.astype(np.float32), difference, dtype=np.float64))


def scaled(linear: Linear, channels: Array) -> Linear:
    """`linear` when its inputs are divided by `channels`."""
    return Linear(linear.node, linear.moments / np.outer(channels, channels), linear.mean / channels)
