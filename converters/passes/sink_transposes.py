"""Transposes move to where the fewest bytes go through them, mostly to where two meet and cancel.
What each operator does on tensors in another layout is in `layouts.py`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from math import prod

import numpy as np

from edgert.converters.passes.layouts import (
    LAYOUT_RULES,
    Layout,
    Move,
    composed,
    identity,
    inverse,
    label_rank,
    order_of,
    rank_of,
    reshape_target,
)
from edgert.converters.passes.rewrite import prune
from edgert.graph.ir import Array, Dim, Graph, Node, Quantization, TensorType

ROUNDS = 8
"""Sweeps down and up a region at most; two or three are common."""

NAMED_SIZE = 16
"""What the size of a named dimension is taken for when costs are compared."""

NODE_COST = 1 / 1024
"""Bytes a transposition costs beside those it moves, so that of two ways as cheap the one with fewer nodes wins."""

TO_NCHW, TO_NHWC = (0, 3, 1, 2), (0, 2, 3, 1)
TWIN = "/nchw"
"""What an importer adds to the name of a tensor [N, H, W, C] for the same as [N, C, H, W]."""


def sink_transposes(graph: Graph) -> Graph:
    """The same values with fewer bytes through Transposes, or as many.

    Every Transpose is taken for another view of its input. Then each tensor gets the layout it is stored in, and a
    Transpose is written where a reader wants another one than the maker gives. In each region of nodes that take any
    layout, Transposes are pushed down as far as they go and up again, and stay where they moved the fewest bytes.
    Tensors in the layout of a former view have its name, others '<tensor>/<axes>'.
    """
    if not any(node.op == "Transpose" for node in graph.nodes):
        return graph
    layouts = Layouts(graph)
    for region in layouts.regions():
        layouts.settle(region)
    return Writer(layouts).graph


class Layouts:
    """Which layout every tensor is made and wanted in, given a label, a layout, for each node that has a rule.

    A root is a tensor that no Transpose makes; views: name -> (root, layout) for all tensors of known rank.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph = graph.copy()
        self.views: dict[str, tuple[str, Layout]] = {}
        self.nodes: list[Node] = []
        for name in (*graph.inputs, *graph.constants):
            self._root(name)
        for node in graph.nodes:
            source = self.views.get(node.inputs[0]) if node.op == "Transpose" else None
            if source is not None and (perm := permutation(node, len(source[1]))) is not None:
                view = composed(source[1], perm)
                self.views[node.outputs[0]] = source[0], view
                graph.types[node.outputs[0]] = transposed_type(graph.types[source[0]], view)
                continue
            self.nodes.append(node)
            for name in node.outputs:
                self._root(name)
        self.labels: dict[int, Layout] = {}
        for at, node in enumerate(self.nodes):
            rank = label_rank(graph, node) if node.op in LAYOUT_RULES else None
            known = all(name in self.views for name in (*node.inputs, *node.outputs) if name)
            if rank is not None and rank > 1 and known:
                self.labels[at] = identity(rank)
        self.original = dict(self.labels)
        self._moves: dict[tuple[int, Layout], Move | None] = {}
        self._makers = {name: at for at, node in enumerate(self.nodes) for name in node.outputs if name}
        self._readers: dict[str, list[int]] = {}
        for at, node in enumerate(self.nodes):
            for name in node.inputs:
                if name in self.views:
                    self._readers.setdefault(self.views[name][0], []).append(at)
        self._returned: dict[str, list[Layout]] = {}
        for name in graph.outputs:
            if name in self.views:
                root, view = self.views[name]
                self._returned.setdefault(root, []).append(view)

    def _root(self, name: str) -> None:
        rank = rank_of(self.graph, name) if name else None
        if rank is not None:
            self.views[name] = name, identity(rank)

    # What labels mean

    def move(self, at: int, label: Layout) -> Move | None:
        """Node `at` under `label`; None where it cannot follow."""
        if label == self.original[at]:
            node = self.nodes[at]
            gives = tuple(identity(rank_of(self.graph, name) or 0) for name in node.outputs)
            return Move((None,) * len(node.inputs), gives, node.attrs)
        key = at, label
        if key not in self._moves:
            node = self.nodes[at]
            self._moves[key] = LAYOUT_RULES[node.op](self.graph, node, label)
        return self._moves[key]

    def current(self, at: int) -> Move | None:
        """Node `at` as it is labelled; None for one without a rule."""
        return self.move(at, self.labels[at]) if at in self.labels else None

    def made(self, root: str) -> Layout:
        """The layout in which `root` is made."""
        at = self._makers.get(root)
        move = self.current(at) if at is not None else None
        if at is None or move is None:
            return self.views[root][1]
        return move.gives[self.nodes[at].outputs.index(root)]

    def wanted(self, at: int, root: str, move: Move | None) -> Iterable[Layout]:
        """The layouts of `root` that node `at` reads under `move`."""
        for i, name in enumerate(self.nodes[at].inputs):
            if name in self.views and self.views[name][0] == root:
                view = self.views[name][1]
                want = move.wants[i] if move is not None else None
                yield view if want is None else composed(view, want)

    def root_cost(self, root: str) -> float:
        """Bytes of transposing `root` once for each layout that differs from the one it is made in, and the nodes."""
        if root in self.graph.constants:
            return 0.0
        kind, made = self.graph.types[root], self.made(root)
        layouts = set(self._returned.get(root, ()))
        for at in set(self._readers.get(root, ())):
            layouts.update(self.wanted(at, root, self.current(at)))
        layouts.discard(made)
        # Layouts that differ in axes of size 1 alone have the same bytes in the same order: a Reshape is enough.
        orders = {order_of(kind.shape, layout) for layout in layouts} - {order_of(kind.shape, made)}
        size = prod(dim if isinstance(dim, int) else NAMED_SIZE for dim in kind.shape)
        return len(orders) * size * kind.np_dtype.itemsize + len(layouts) * NODE_COST

    def roots(self, names: Iterable[str]) -> list[str]:
        return list(dict.fromkeys(self.views[name][0] for name in names if name))

    def cost_of(self, at: int, label: Layout, roots: Iterable[str]) -> float:
        """The cost of `roots` if node `at` had `label`."""
        kept, self.labels[at] = self.labels[at], label
        cost = sum(self.root_cost(root) for root in roots)
        self.labels[at] = kept
        return cost

    # Labels to try

    def of_inputs(self, at: int) -> list[Layout]:
        """The layouts in which the inputs of node `at` are there, largest input first."""
        found: dict[Layout, int] = {}
        for name in self.nodes[at].inputs:
            if not name or name in self.graph.constants:
                continue
            root, view = self.views[name]
            layout = composed(inverse(view), self.made(root))
            size = prod(dim if isinstance(dim, int) else NAMED_SIZE for dim in self.graph.types[name].shape)
            found[layout] = max(found.get(layout, 0), size)
        return self._possible(at, sorted(found, key=lambda layout: -found[layout]))

    def of_readers(self, at: int) -> list[Layout]:
        """The layouts in which readers want the outputs of node `at`."""
        found: list[Layout] = []
        for name in filter(None, self.nodes[at].outputs):
            for reader in self._readers.get(name, ()):
                found += self.wanted(reader, name, self.current(reader))
            found += self._returned.get(name, [])
        return self._possible(at, found)

    def _possible(self, at: int, labels: Iterable[Layout]) -> list[Layout]:
        rank = len(self.original[at])
        return [label for label in dict.fromkeys(labels) if len(label) == rank and self.move(at, label) is not None]

    # Search

    def regions(self) -> list[list[int]]:
        """Labelled nodes that hang together by tensors, each region in the order of its nodes."""
        above = {at: at for at in self.labels}

        def top(at: int) -> int:
            while above[at] != at:
                above[at] = at = above[above[at]]
            return at

        for root in self.views:
            near = [at for at in (self._makers.get(root), *self._readers.get(root, ())) if at in above]
            if root not in self.graph.constants:
                for at in near[1:]:
                    above[top(at)] = top(near[0])
        regions: dict[int, list[int]] = {}
        for at in self.labels:
            regions.setdefault(top(at), []).append(at)
        return list(regions.values())

    def settle(self, region: list[int]) -> None:
        """Gives the nodes of a region the labels that cost least of those tried."""
        for _ in range(ROUNDS):
            before = [self.labels[at] for at in region]
            self._sweep(region, self.of_inputs)
            self._refine(region)
            self._sweep(region[::-1], self.of_readers)
            self._refine(region)
            if before == [self.labels[at] for at in region]:
                return

    def _sweep(self, order: list[int], follow: Callable[[int], list[Layout]]) -> None:
        """Pushes all Transposes through the nodes of `order` one by one, whatever it costs, each node taking the first
        layout to `follow`; then goes back to where they cost least on the way."""
        taken: list[tuple[int, Layout]] = []
        cost = best = 0.0
        kept = 0
        for at in order:
            label = next(iter(follow(at)), self.labels[at])
            if label == self.labels[at]:
                continue
            roots = self.roots((*self.nodes[at].inputs, *self.nodes[at].outputs))
            cost -= self.cost_of(at, self.labels[at], roots)
            taken.append((at, self.labels[at]))
            self.labels[at] = label
            cost += self.cost_of(at, label, roots)
            if cost < best:
                best, kept = cost, len(taken)
        for at, label in reversed(taken[kept:]):
            self.labels[at] = label

    def _refine(self, region: list[int]) -> None:
        """Lowers the cost node by node until no node alone can."""
        changed = True
        while changed:
            changed = False
            for at in region:
                roots = self.roots((*self.nodes[at].inputs, *self.nodes[at].outputs))
                cost = self.cost_of(at, self.labels[at], roots)
                for label in (*self.of_inputs(at), *self.of_readers(at), self.original[at]):
                    if (lower := self.cost_of(at, label, roots)) < cost:
                        self.labels[at], cost, changed = label, lower, True


class Writer:
    """Writes the graph with every tensor in the layout that was chosen for it."""

    def __init__(self, layouts: Layouts) -> None:
        self.layouts = layouts
        self.graph = layouts.graph.copy()
        self.graph.nodes = []
        self.stored: dict[str, dict[Layout, str]] = {}
        returned = set(self.graph.outputs)
        self.aliases: dict[tuple[str, Layout], str] = {}
        for name in sorted(layouts.views, key=lambda name: name not in returned):
            self.aliases.setdefault(layouts.views[name], name)
        for name in (*self.graph.inputs, *self.graph.constants):
            if name in layouts.views:
                self.stored[name] = {layouts.views[name][1]: name}
        for at, node in enumerate(layouts.nodes):
            self._write(at, node)
        for name in layouts.graph.outputs:
            if name in layouts.views:
                stored = self.obtain(*layouts.views[name])
                if stored != name:
                    self.graph.nodes.append(Node("Identity", (stored,), (name,), {}, f"{name}_copy"))
        prune(self.graph)

    def _write(self, at: int, node: Node) -> None:
        move = self.layouts.current(at)
        wants = move.wants if move is not None else (None,) * len(node.inputs)
        inputs = [self._input(name, want) for name, want in zip(node.inputs, wants, strict=False)]
        changed = node.copy()
        if move is not None:
            for i, value in move.values.items():
                inputs += [""] * (i + 1 - len(inputs))
                inputs[i] = self._constant(f"{node.outputs[0]}_{i}", value)
            changed.op, changed.attrs = move.op or node.op, dict(move.attrs)
        changed.inputs = tuple(inputs)
        gives = move.gives if move is not None else (None,) * len(node.outputs)
        changed.outputs = tuple(self._output(name, layout) for name, layout in zip(node.outputs, gives, strict=True))
        self.graph.nodes.append(changed)

    def _input(self, name: str, want: Layout | None) -> str:
        if name not in self.layouts.views:
            return name
        root, view = self.layouts.views[name]
        added = len(want) - len(view) if want is not None else 0
        if added > 0 and want is not None:
            wide = (*range(added), *(axis + added for axis in view))
            return self._widened(root, composed(wide, want))
        return self.obtain(root, view if want is None else composed(view, want))

    def _output(self, root: str, layout: Layout | None = None) -> str:
        """Declares `root` in `layout`, or as it is. Its name: that of the view with this layout, else one after the
        root."""
        if root not in self.layouts.views:
            return root
        layout = self.layouts.views[root][1] if layout is None else layout
        name = self.aliases.get((root, layout), "")
        if not name:
            if layout == TO_NHWC and root.endswith(TWIN) and root != TWIN:
                wanted = root.removesuffix(TWIN)
            else:
                wanted = root + TWIN if layout == TO_NCHW else f"{root}/{''.join(map(str, layout))}"
            name = self.graph.unique(wanted)
            self.graph.types[name] = transposed_type(self.layouts.graph.types[root], layout)
        self.stored.setdefault(root, {})[layout] = name
        return name

    def obtain(self, root: str, layout: Layout) -> str:
        """The name of `root` in `layout`; what is not there yet is transposed now."""
        there, kind = self.stored[root], self.layouts.graph.types[root]
        if layout in there:
            return there[layout]
        out = transposed_type(kind, layout)
        if root in self.graph.constants:
            value = self.graph.constants[root].transpose(layout)
            there[layout] = self._constant(f"{root}/{''.join(map(str, layout))}", value, out.quant)
            return there[layout]
        # Of what is there, a layout that differs in axes of size 1 alone costs nothing.
        alike = [known for known in there if order_of(kind.shape, known) == order_of(kind.shape, layout)]
        known = alike[0] if alike else next(iter(there))
        start = there[known]
        source = self.graph.types[start]
        reshaped = alike and per_tensor(kind)
        if reshaped and source.shape == out.shape and self.aliases.get((root, layout)) not in self.graph.outputs:
            there[layout] = start
            return start
        name = self._output(root, layout)
        target = reshape_target(source.shape, out.shape) if reshaped else None
        if target is not None:
            shape = self._constant(f"{name}_shape", np.array(target, np.int64))
            self.graph.nodes.append(Node("Reshape", (start, shape), (name,), {}, f"{name}_reshape"))
        else:
            perm = list(composed(inverse(known), layout))
            self.graph.nodes.append(Node("Transpose", (start,), (name,), {"perm": perm}, f"{name}_transpose"))
        return name

    def _constant(self, name: str, value: Array, quant: Quantization | None = None) -> str:
        return self.graph.add_constant(name, np.ascontiguousarray(value), quant)

    def _widened(self, root: str, layout: Layout) -> str:
        """A constant with axes of size 1 in front, in `layout`."""
        there = self.stored[root]
        if layout not in there:
            kind, value = self.graph.types[root], self.graph.constants[root]
            added = len(layout) - value.ndim
            quant = kind.quant
            if quant is not None and quant.axis is not None:
                quant = Quantization(quant.scale, quant.zero_point, quant.axis % value.ndim + added)
            wide = TensorType(kind.dtype, (1,) * added + value.shape, quant)
            moved = value.reshape((1,) * added + value.shape).transpose(layout)
            name = f"{root}/{''.join(map(str, layout))}"
            there[layout] = self._constant(name, moved, transposed_type(wide, layout).quant)
        return there[layout]


def per_tensor(kind: TensorType) -> bool:
    return kind.quant is None or kind.quant.per_tensor


def transposed_type(kind: TensorType, layout: Layout) -> TensorType:
    shape: tuple[Dim, ...] = tuple(kind.shape[axis] for axis in layout)
    quant = kind.quant
    if quant is not None and quant.axis is not None:
        quant = Quantization(quant.scale, quant.zero_point, layout.index(quant.axis % len(layout)))
    return TensorType(kind.dtype, shape, quant)


def permutation(node: Node, rank: int) -> Layout | None:
    """The permutation of a Transpose; None if it is none of `rank` axes."""
    perm = tuple(node.attr_ints("perm", list(range(rank))[::-1]))
    return perm if sorted(perm) == list(range(rank)) else None
