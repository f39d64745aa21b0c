"""Large products cut along their output rows, so that weights can come in pieces: no piece is larger than a limit.

The same bits as before: every output is a sum of its own. The bytes are those of the file (format/slices.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from edgert.format.model import StoredTensor
from edgert.format.slices import block_rows, row_slices, why_not
from edgert.graph.ir import Array, Graph, Node, Quantization, TensorType

STEP = 64
"""Rows: pieces end where the widest panels of the kernels do, and whole blocks of every layout."""

PIECES = 64
"""Weights are cut so that none is more than this part of all: a small ring is enough, and a budget can be small."""
SMALLEST_PIECE, LARGEST_PIECE = 256 << 10, 8 << 20
"""Bytes: smaller pieces are read slower than larger ones, and larger ones not faster."""

LOOKED_UP = ("Gather",)
"""Operators that read some rows of a table, and need no pieces of it."""


@dataclass(frozen=True)
class Split:
    """refused: stored tensors beyond the limit that stay whole -> why."""

    graph: Graph
    tensors: Mapping[str, StoredTensor]
    refused: Mapping[str, str]


def limit_for(graph: Graph, tensors: Mapping[str, StoredTensor]) -> int:
    """Bytes of the largest piece, for split_products: by those of all stored tensors that the graph uses."""
    used = graph.used()
    total = sum(tensor.nbytes for name, tensor in tensors.items() if name in used)
    return min(max(total // PIECES, SMALLEST_PIECE), LARGEST_PIECE)


def split_products(graph: Graph, tensors: Mapping[str, StoredTensor], limit: int) -> Split:
    """`graph` with every Gemm and QLinearGemm whose stored weights [N, K] take more than `limit` bytes as several of
    them, side by side. Pieces have the same number of rows, a multiple of STEP, the last one what is left; STEP rows
    are a piece even if they exceed the limit. Where zeros are left out, rows are taken to have equally many bytes.

    Types of the graph may be bound or not. Raises FormatError for weights damaged where their blocks begin.
    """
    large = {name for name in graph.used() if name in tensors and tensors[name].nbytes > limit}
    if not large:
        return Split(graph, tensors, {})
    cutter = _Cutter(graph.copy(), dict(tensors), limit)
    nodes: list[Node] = []
    for node in cutter.graph.nodes:
        whys = {name: cutter.refusal(node, name) for name in node.inputs if name in large}
        cutter.refused.update((name, why) for name, why in whys.items() if why and node.op not in LOOKED_UP)
        nodes += cutter.cut(node) if "" in whys.values() else [node]
    cutter.graph.nodes = nodes
    return Split(cutter.graph, cutter.tensors, cutter.refused)


class _Cutter:
    """The graph and the tensors as they become."""

    def __init__(self, graph: Graph, tensors: dict[str, StoredTensor], limit: int) -> None:
        self.graph, self.tensors, self.limit = graph, tensors, limit
        self.refused: dict[str, str] = {}
        self._slices: dict[str, list[StoredTensor]] = {}

    def refusal(self, node: Node, name: str) -> str:
        """Why `node` can not be cut along the rows of its stored tensor `name`; '' if it can."""
        if node.op not in ("Gemm", "QLinearGemm") or [i for i, at in enumerate(node.inputs) if at == name] != [1]:
            return f"{node.op} {node.name!r} does not read it as the weights of a product"
        if node.op == "Gemm" and (not node.attr_int("transB", 0) or node.attr_int("transA", 0)):
            return f"{node.op} {node.name!r} has weights that are not rows of outputs"
        bias = self._bias(node)
        if bias and self._value(bias) is None:
            return f"{node.op} {node.name!r} adds a bias that is computed"
        return why_not(self.tensors[name])

    def cut(self, node: Node) -> list[Node]:
        """Products of each slice, and what brings their parts of a residual and puts their outputs together."""
        weights = self._sliced(node.inputs[1])
        residual = node.inputs[-1] if node.attr_int("residual", 0) else ""
        bias, kind = self._bias(node), self.graph.types.get(node.outputs[0])
        nodes: list[Node] = []
        outputs: list[str] = []
        first = 0
        for stored in weights:
            last = first + stored.shape[0]
            inputs = [node.inputs[0], stored.name]
            if bias or residual:
                inputs.append(self._sliced_bias(bias, first, last, node) if bias else "")
            if residual:
                taken = self._named(f"{residual}[{first}:{last}]", self.graph.types.get(residual), last - first)
                nodes.append(self._slice(residual, taken, first, last))
                inputs.append(taken)
            outputs.append(self._named(f"{node.outputs[0]}[{first}:{last}]", kind, last - first))
            nodes.append(replace(node.copy(), inputs=tuple(inputs), outputs=(outputs[-1],),
                                 name=f"{node.name}[{first}:{last}]"))  # fmt: skip
            first = last
        nodes.append(Node("Concat", tuple(outputs), node.outputs, {"axis": -1}, f"{node.name}[:]"))
        return nodes

    def _sliced(self, name: str) -> list[StoredTensor]:
        """The slices of a stored tensor, made once."""
        if name not in self._slices:
            stored = self.tensors[name]
            height, rows = block_rows(stored.layout), stored.shape[0]
            steps = -(-rows // STEP)
            most = max(1, self.limit * -(-rows // height) * height // (stored.nbytes * STEP))
            each = STEP * -(-steps // -(-steps // most))
            edges = [*range(0, rows, each), rows]
            names = [self.graph.unique(f"{name}[{a}:{b}]") for a, b in pairwise(edges)]
            self._slices[name] = row_slices(stored, edges, names)
            self.tensors.update((s.name, s) for s in self._slices[name])
            self.graph.types.update((s.name, s.type) for s in self._slices[name])
        return self._slices[name]

    @staticmethod
    def _bias(node: Node) -> str:
        """The name of what is added besides a residual, '' if nothing is."""
        inputs = node.inputs[2:-1] if node.attr_int("residual", 0) else node.inputs[2:]
        return inputs[0] if inputs else ""

    def _value(self, name: str) -> Array | None:
        """The row-major values of a constant."""
        if name in self.graph.constants:
            return self.graph.constants[name]
        return self.tensors[name].dense() if name in self.tensors else None

    def _sliced_bias(self, name: str, first: int, last: int, node: Node) -> str:
        value, kind = self._value(name), self.graph.types[name]
        assert value is not None
        if not value.shape or value.shape[-1] == 1:
            return name
        quant = kind.quant
        if quant is not None and not quant.per_tensor:
            quant = Quantization(quant.scale[first:last], quant.zero_point[first:last], quant.axis)
        part = np.ascontiguousarray(value[..., first:last])
        return self.graph.add_constant(f"{name}[{first}:{last}]", part, quant)

    def _slice(self, source: str, target: str, first: int, last: int) -> Node:
        """Columns first .. last of `source`."""
        places = [self.graph.add_constant(f"{target}.{what}", np.array([at], np.int64))
                  for what, at in (("start", first), ("end", last), ("axis", -1))]  # fmt: skip
        return Node("Slice", (source, *places), (target,), {}, target)

    def _named(self, name: str, like: TensorType | None, columns: int) -> str:
        """A new tensor as `like`, where that is known, but for its columns."""
        name = self.graph.unique(name)
        if like is not None:
            self.graph.types[name] = like.with_shape((*like.shape[:-1], columns) if like.shape else ())
        return name
