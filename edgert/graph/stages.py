"""Cuts a graph at what only a run can tell: the part that can be planned now, and the rest.
Who runs the parts, and keeps their plans, is `runtime/staged.py`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from edgert.graph.infer import check_order, fold, node_types, where
from edgert.graph.ir import Array, Graph, Node, TensorType
from edgert.graph.operators import OPERATORS
from edgert.graph.registry import NeedsValue


@dataclass(frozen=True)
class Cut:
    """now: a graph of static types, which may have no node; its outputs are outputs of the whole or read later.
    later: the nodes left, with the tensors at hand by then as inputs; None when nothing is left. demands: inputs of
    the graph whose values, when given, would put more into `now`. reasons: node left -> why, those that merely
    follow from others left out."""

    now: Graph
    later: Graph | None
    demands: tuple[str, ...]
    reasons: dict[str, str]


def cut(graph: Graph, kinds: Mapping[str, TensorType], values: Mapping[str, Array]) -> Cut:
    """The part of `graph` whose types follow from `kinds`, the static types of its inputs, and from `values`, the
    values known of some of them, which become constants of that part.

    Raises UnsupportedError naming node and operator for what no value can mend.
    """
    check_order(graph)
    known = graph.copy()
    known.types.update(kinds)
    for name, value in values.items():
        known.types[name] = TensorType(value.dtype.name, value.shape, known.types[name].quant)
    for name, value in graph.constants.items():
        declared = graph.types.get(name)
        known.types[name] = TensorType(value.dtype.name, tuple(value.shape), declared.quant if declared else None)
    constants: dict[str, Array] = {**graph.constants, **values}
    taken: list[Node] = []
    left: list[Node] = []
    waiting: set[str] = set()
    demands: dict[str, None] = {}
    reasons: dict[str, str] = {}
    for node in known.nodes:
        if waiting.isdisjoint(node.inputs):
            try:
                if alone(node) and not all(name in constants for name in node.inputs if name):
                    raise NeedsValue(f"{where(node)}: runs when its inputs are there")
                known.types.update(node_types(known, node, constants))
                folded = fold(known, node, constants)
                constants.update(folded)
                if not folded or not set(node.outputs).isdisjoint(graph.outputs):
                    taken.append(node)
                continue
            except NeedsValue as error:
                reasons[node.name] = str(error).removeprefix(f"{where(node)}: ")
                wanted = [node.inputs[i] for i in error.inputs]
                if wanted and all(name in graph.inputs for name in wanted):
                    demands.update(dict.fromkeys(wanted))
        left.append(node)
        waiting.update(filter(None, node.outputs))
    now, later = _parts(known, taken, left, constants)
    return Cut(now, later, tuple(demands), reasons)


def alone(node: Node) -> bool:
    """Whether `node` is a stage of its own: control flow, and operators whose sizes depend on large inputs."""
    found = OPERATORS.get(node.op)
    return bool(node.graphs) or (found is not None and found.dynamic)


def _parts(
    known: Graph, taken: list[Node], left: list[Node], constants: Mapping[str, Array]
) -> tuple[Graph, Graph | None]:
    """(the graph of `taken`, that of `left`)."""
    read_later = _read(left)
    made = {name for node in taken for name in node.outputs if name}
    at_hand = made.union(known.inputs)
    wanted = dict.fromkeys([*(o for o in known.outputs if o in made), *(n for n in read_later if n in made)])
    now = Graph(known.name, outputs=list(wanted), nodes=taken)
    needed = {**dict.fromkeys(now.outputs), **_read(taken)}
    now.inputs = [name for name in known.inputs if name in needed and name not in constants]
    now.constants = {name: constants[name] for name in needed if name in constants}
    now.types = {name: known.types[name] for name in [*needed, *made] if name in known.types}
    if not left:
        return now, None
    later = Graph(known.name, nodes=left, outputs=[o for o in known.outputs if o not in made and o not in known.inputs])
    later.inputs = [name for name in read_later if name in at_hand]
    later.constants = {n: constants[n] for n in read_later if n in constants and n not in at_hand}
    later.types = {
        name: kind
        for name, kind in known.types.items()
        if name in read_later or name in later.outputs or any(name in node.outputs for node in left)
    }
    return now, later


def _read(nodes: Iterable[Node]) -> dict[str, None]:
    """Names of the tensors that `nodes` read, in order of first use."""
    return dict.fromkeys(name for node in nodes for name in node.inputs if name)
