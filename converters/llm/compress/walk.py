"""A language model run in float32 on many windows of text at once, node by node, as calibration needs it.
Each weight is read once for all windows and not kept, so that models larger than the memory can be measured."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from edgert.converters.llm.weights import Weight
from edgert.graph.evaluate import evaluate_node
from edgert.graph.infer import infer_types
from edgert.graph.ir import Array, Graph, Node
from edgert.graph.prune import prune

Window = Array
"""Token ids, int32 [n]; each window is a text of its own."""


class Walk:
    """One pass over `graph`, a decoder's. The weights are looked up when a node needs them: whoever replaces one in
    `weights` while a matrix is being looked at changes what later nodes see."""

    def __init__(self, graph: Graph, weights: Mapping[str, Weight], windows: Sequence[Window]) -> None:
        graph = prune(graph, graph.outputs[:1])
        self._weights, self._output = weights, graph.outputs[0]
        lengths = {len(window) for window in windows}
        self._graphs = [infer_types(graph, {"T": n, "C": n}) for n in lengths]
        by_length = dict(zip(lengths, self._graphs, strict=True))
        self._typed = [by_length[len(window)] for window in windows]
        self._nodes = graph.nodes
        self._last = {name: i for i, node in enumerate(graph.nodes) for name in node.inputs}
        caches = {n: _empty_caches(by_length[n]) for n in lengths}
        self._values: list[dict[str, Array]] = [
            {"tokens": window, "positions": np.arange(len(window), dtype=np.int32), **caches[len(window)]}
            for window in windows
        ]
        self._end = max(i for i, node in enumerate(graph.nodes) if node.op == "Gemm")

    def linears(self) -> Iterator[tuple[Node, list[Array]]]:
        """Every matrix product in order, with its input [n, K] of each window, before it is computed."""
        for i in range(self._end + 1):
            if self._nodes[i].op == "Gemm":
                yield self._nodes[i], [values[self._nodes[i].inputs[0]] for values in self._values]
            if i < self._end:
                self._compute(i)

    def logits(self) -> Iterator[Array]:
        """The logits float32 [n, V] of each window, made when asked for: all of them rarely fit in memory."""
        for i in range(self._end):
            self._compute(i)
        last = range(self._end, len(self._nodes))
        constants = [self._constants(self._nodes[i]) for i in last]
        for k, values in enumerate(self._values):
            for i, known in zip(last, constants, strict=True):
                self._evaluate(i, k, known)
            yield values.pop(self._output)

    def _compute(self, i: int) -> None:
        constants = self._constants(self._nodes[i])
        for k in range(len(self._values)):
            self._evaluate(i, k, constants)

    def _constants(self, node: Node) -> dict[str, Array]:
        return {name: self._weights[name].load() for name in node.inputs if name in self._weights}

    def _evaluate(self, i: int, k: int, constants: Mapping[str, Array]) -> None:
        node, graph, values = self._nodes[i], self._typed[k], self._values[k]
        known = (constants, values, graph.constants)
        inputs = [next(found[name] for found in known if name in found) if name else None for name in node.inputs]
        made = evaluate_node(graph, node, inputs)
        values |= {name: v for name, v in made.items() if self._last.get(name, -1) > i or name == self._output}
        for name in node.inputs:
            if self._last[name] == i:
                values.pop(name, None)


def _empty_caches(graph: Graph) -> dict[str, Array]:
    """Zeros for the states of `graph`, the same memory for all of a shape."""
    shared: dict[tuple[int, ...], Array] = {}
    for name in graph.states:
        shared.setdefault(graph.types[name].static_shape, np.zeros(graph.types[name].static_shape, np.float32))
    return {name: shared[graph.types[name].static_shape] for name in graph.states}
