"""What can run each node: the offers of the lowering rules, the host operator, and why others refused.

Choosing among them is layout.py; this file only asks and predicts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from edgert.errors import UnsupportedError
from edgert.format.model import StoredTensor
from edgert.graph.ir import Graph, Node
from edgert.kernels_cpu.levels import Level
from edgert.kernels_cpu.registry import kernels
from edgert.plan.cost import Peaks, predict_host_us, predict_us
from edgert.plan.layout import Candidate
from edgert.plan.lowering import load_rules
from edgert.plan.lowering.api import Offer, Refusal, Site
from edgert.plan.work import node_bytes, node_macs

RENAMES = frozenset(("Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Dropout"))
"""Operators whose output is the input's bytes: it shares the memory even while the input lives on."""

Option = tuple["Offer | None", float]
"""An offer (None: the host operator) and its predicted microseconds."""


@dataclass(frozen=True)
class Options:
    """A node, its ways to run, and the refusals as text. `candidates` go with `options` one to one."""

    node: Node
    site: Site
    options: tuple[Option, ...]
    candidates: tuple[Candidate, ...]
    refusals: tuple[str, ...]


def site_of(
    node: Node, graph: Graph, tensors: Mapping[str, StoredTensor], level: Level, threads: int, kv: str = "f16",
    activations: str = "int8",
) -> Site:  # fmt: skip
    """The node with everything known about it. A constant made while shapes were inferred counts as stored."""

    def stored(name: str) -> StoredTensor | None:
        if name in tensors:
            return tensors[name]
        if name in graph.constants:
            return StoredTensor.pack_dense(name, graph.constants[name], quant=graph.types[name].quant)
        return None

    return Site(
        node,
        tuple(graph.types[name] if name else None for name in node.inputs),
        tuple(graph.types[name] for name in node.outputs if name),
        tuple(stored(name) if name else None for name in node.inputs),
        tuple(graph.constants.get(name) for name in node.inputs),
        level,
        threads,
        kv,
        activations,
    )


def options_of(
    node: Node, graph: Graph, tensors: Mapping[str, StoredTensor], level: Level, threads: int, peaks: Peaks,
    kv: str = "f16", activations: str = "int8",
) -> Options:  # fmt: skip
    """Every way to run `node`; the host operator is among them, last, unless the node works on a state.

    Raises UnsupportedError where nothing is left.
    """
    site = site_of(node, graph, tensors, level, threads, kv, activations)
    states = {*graph.states.keys(), *graph.states.values()}
    rules = load_rules().get(node.op, [])
    options: list[Option] = []
    refusals: list[str] = []
    for rule in rules if all(node.outputs) else ():
        answer = rule(site)
        for found in answer if isinstance(answer, list) else [answer]:
            refusal = found if isinstance(found, Refusal) else _impossible(site, found)
            if isinstance(refusal, Refusal):
                why = refusal.why.removeprefix(f"{refusal.kernel}: ")
                refusals.append(f"{refusal.kernel}: {why}")
            elif isinstance(found, Offer):
                free = node.op in RENAMES and found.in_place is not None
                options.append((found, 0.0 if free else predict_us(found, peaks, threads)))
    if not rules:
        refusals.append(f"no native kernel for {node.op}")
    if states.isdisjoint((*node.inputs, *node.outputs)):
        host = predict_host_us(node_macs(node, site.inputs, site.outputs), node_bytes(site.inputs, site.outputs))
        options.append((None, host))
    elif not options:
        raise UnsupportedError(
            f"node {node.name!r} ({node.op}) keeps a state, which needs a native kernel: {'; '.join(refusals)}"
        )
    candidates = tuple(_candidate(site, offer, cost, states) for offer, cost in options)
    return Options(node, site, tuple(options), candidates, tuple(dict.fromkeys(refusals)))


def _impossible(site: Site, offer: Offer) -> Refusal | None:
    """Offers this planner cannot take up: kernels of other levels, constants in activation layouts."""
    spec = kernels().get(offer.kernel)
    if spec is not None and not spec.available(site.level):
        return Refusal(offer.kernel, f"needs {spec.needs}, which {site.level.name} lacks")
    for stored, layout in zip(site.stored, offer.in_layouts, strict=True):
        if stored is not None and layout not in (None, "row"):
            return Refusal(offer.kernel, f"takes a constant in layout {layout}")
    return None


def _candidate(site: Site, offer: Offer | None, cost: float, states: set[str]) -> Candidate:
    """A state is in the layout that its node wants: it is never converted, and no part of the choice."""
    node = site.node
    wants = offer.in_layouts if offer is not None else ("row",) * len(node.inputs)
    makes = offer.out_layouts if offer is not None else ("row",) * len(site.outputs)
    takes = tuple(
        (name, layout)
        for name, stored, layout in zip(node.inputs, site.stored, wants, strict=True)
        if name and stored is None and layout is not None and name not in states
    )
    named = [name for name in node.outputs if name]
    pairs = zip(named, makes, strict=True)
    return Candidate(cost, takes, tuple(pair for pair in pairs if pair[0] not in states))
