"""What every pass is written with: `Rewriter`, a graph whose maker and reader tables follow each edit.
The passes themselves are in the files beside this one, and their order in `pipeline.py`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from edgert.graph.ir import Array, Graph, Node, Quantization, TensorType


class Rewriter:
    """A copy of a graph, open for rewriting. Constant arrays are shared and must never be written to."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph.copy()
        self._makers: dict[str, Node] = {}
        self._readers: dict[str, list[Node]] = {}
        for node in self.graph.nodes:
            self._link(node)

    # Questions

    def maker(self, tensor: str) -> Node | None:
        """The node that makes `tensor`; None for inputs and constants."""
        return self._makers.get(tensor)

    def readers(self, tensor: str) -> list[Node]:
        """The nodes that read `tensor`, each once."""
        return list(self._readers.get(tensor, ()))

    def sole_reader(self, tensor: str) -> Node | None:
        """The node that alone reads `tensor`, in one place; None when the graph returns the tensor too."""
        readers = self._readers.get(tensor, [])
        if len(readers) != 1 or tensor in self.graph.outputs or readers[0].inputs.count(tensor) != 1:
            return None
        return readers[0]

    def constant(self, tensor: str) -> Array | None:
        return self.graph.constants.get(tensor)

    def scalar(self, tensor: str) -> float | None:
        """The value of a constant of one element."""
        value = self.graph.constants.get(tensor)
        return float(value.reshape(-1)[0]) if value is not None and value.size == 1 else None

    def type_of(self, tensor: str) -> TensorType | None:
        return self.graph.types.get(tensor)

    def rank(self, tensor: str) -> int | None:
        kind = self.graph.types.get(tensor)
        return None if kind is None else len(kind.shape)

    def same_shape(self, a: str, b: str) -> bool:
        """Whether both shapes are known and equal, dimension names included."""
        kinds = self.graph.types.get(a), self.graph.types.get(b)
        return kinds[0] is not None and kinds[1] is not None and kinds[0].shape == kinds[1].shape

    def is_float(self, tensor: str) -> bool:
        kind = self.graph.types.get(tensor)
        return kind is None or kind.dtype in ("float32", "float16", "float64")

    # Edits

    def add_constant(self, name: str, value: Array, quant: Quantization | None = None) -> str:
        return self.graph.add_constant(name, np.asarray(value, order="C"), quant)

    def add_tensor(self, name: str, kind: TensorType | None) -> str:
        """A new tensor called `name`, or a variation of it, of type `kind`. Returns the name used."""
        name = self.graph.unique(name)
        if kind is not None:
            self.graph.types[name] = kind
        return name

    def replace(self, old: Sequence[Node], new: Sequence[Node]) -> None:
        """Puts `new` where the last of `old` stood: whatever any of `old` read is made by then, and
        whatever reads the last of them comes later."""
        gone = {id(node) for node in old}
        nodes = self.graph.nodes
        last = max(i for i, node in enumerate(nodes) if id(node) in gone)
        head = [node for node in nodes[:last] if id(node) not in gone]
        self.graph.nodes = [*head, *new, *nodes[last + 1 :]]
        for node in old:
            self._unlink(node)
        for node in new:
            self._link(node)

    def insert_after(self, node: Node | None, new: Sequence[Node]) -> None:
        """Puts `new` right after `node`, or at the start."""
        place = 0
        if node is not None:
            place = next(i for i, other in enumerate(self.graph.nodes) if other is node) + 1
        self.graph.nodes[place:place] = new
        for added in new:
            self._link(added)

    def set_inputs(self, node: Node, inputs: Iterable[str]) -> None:
        self._unlink(node)
        node.inputs = tuple(inputs)
        self._link(node)

    def set_outputs(self, node: Node, outputs: Iterable[str]) -> None:
        self._unlink(node)
        node.outputs = tuple(outputs)
        self._link(node)

    def redirect(self, tensor: str, to: str) -> None:
        """Every reader of `tensor` reads `to` instead. The outputs of the graph are left alone."""
        for node in self.readers(tensor):
            self.set_inputs(node, [to if name == tensor else name for name in node.inputs])

    def bypass(self, node: Node, source: str) -> bool:
        """Removes `node`, whose first output always equals `source`, and returns True.

        The outputs of a graph keep their names. Where that needs the node as a copy (`source` is an
        input, a constant or another output) nothing changes and False is returned.
        """
        target = node.outputs[0]
        if target not in self.graph.outputs:
            self.replace([node], [])
            self.redirect(target, source)
            return True
        maker = self.maker(source)
        if maker is None or source in self.graph.outputs:
            return False
        self.replace([node], [])
        self.set_outputs(maker, [target if name == source else name for name in maker.outputs])
        self.redirect(source, target)
        if source in self.graph.types:
            self.graph.types[target] = self.graph.types[source]
        return True

    def finish(self) -> Graph:
        """The rewritten graph, without what nothing needs any more."""
        return prune(self.graph)

    def _link(self, node: Node) -> None:
        for name in node.outputs:
            if name:
                self._makers[name] = node
        for name in dict.fromkeys(node.inputs):
            if name:
                self._readers.setdefault(name, []).append(node)

    def _unlink(self, node: Node) -> None:
        for name in node.outputs:
            if self._makers.get(name) is node:
                del self._makers[name]
        for name in dict.fromkeys(node.inputs):
            if name:
                self._readers[name] = [reader for reader in self._readers[name] if reader is not node]


def prune(graph: Graph) -> Graph:
    """Removes, in place, nodes whose outputs nobody reads and the constants and types that go with them."""
    needed = set(graph.outputs)
    kept: list[Node] = []
    for node in reversed(graph.nodes):
        if any(name in needed for name in node.outputs if name):
            kept.append(node)
            needed.update(name for name in node.inputs if name)
    graph.nodes = kept[::-1]
    named = needed | set(graph.inputs) | {name for node in kept for name in node.outputs if name}
    graph.constants = {name: value for name, value in graph.constants.items() if name in needed}
    graph.types = {name: kind for name, kind in graph.types.items() if name in named}
    return graph


def channel_vector(value: Array | None, channels: int, rank: int) -> Array | None:
    """A constant that acts per channel on a tensor of `rank` (axis 1) as float64 [channels], else None.

    Broadcasting aligns on the right, so the constant may be a scalar, [C, 1, 1], [1, C, 1, 1] ...
    """
    if value is None or value.ndim > rank:
        return None
    if value.size == 1:
        return np.full(channels, float(value.reshape(-1)[0]))
    shape = (1,) * (rank - value.ndim) + value.shape
    if shape != tuple(channels if axis == 1 else 1 for axis in range(rank)):
        return None
    return np.asarray(value, np.float64).reshape(channels)
