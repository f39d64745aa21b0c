"""The plan of what is known before a run: a whole graph, or the part that does not wait for values.
Planning itself is planner.py; the parts that wait are planned when they run, by runtime/staged.py."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from edgert.format.model import StoredTensor
from edgert.graph.infer import bind_inputs, infer_types
from edgert.graph.ir import Graph, Node
from edgert.graph.registry import NeedsValue
from edgert.graph.stages import cut
from edgert.plan.plan import Plan, Step
from edgert.plan.planner import make_plan


def plan_known(graph: Graph, tensors: Mapping[str, StoredTensor], bindings: Mapping[str, int], **options: Any) -> Plan:
    """The plan of `graph` with its named dimensions bound; nodes that wait for values of the run are in `Plan.later`.

    options: those of make_plan. Raises what infer_types and make_plan raise.
    """
    try:
        return make_plan(infer_types(graph, bindings), tensors, **options)
    except NeedsValue:
        bound = graph.copy()
        bind_inputs(bound, bindings)
        found = cut(bound, {name: bound.types[name] for name in bound.inputs}, {})
        left = found.later.nodes if found.later is not None else []
        waiting = tuple(_waiting(node, found.reasons.get(node.name, "waits for a node above")) for node in left)
        return replace(make_plan(found.now, tensors, **options), later=waiting)


def _waiting(node: Node, reason: str) -> Step:
    return Step(node.name, node.op, "later", "later", reason, (), (), (), 0.0, 0, 0, 0, 0, 0)
