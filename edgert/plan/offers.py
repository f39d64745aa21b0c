"""What can run each node: the offers of the lowering rules, the host operator, and why others refused.

Choosing among them is layout.py; this file only asks and predicts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from edgert.errors import UnsupportedError
from edgert.format.model import StoredTensor
from edgert.graph.ir import Array, Graph, Node
from edgert.kernels_cpu.levels import Level
from edgert.kernels_cpu.registry import kernels
from edgert.plan.cost import Peaks, host_slowdown, predict_host_us, predict_us
from edgert.plan.layout import Candidate
from edgert.plan.lowering import load_rules
from edgert.plan.lowering.api import Offer, Refusal, Rule, Site
from edgert.plan.work import node_bytes, node_macs

RENAMES = frozenset(("Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Dropout"))
"""Operators whose output is the input's bytes: it shares the memory even while the input lives on."""

READ_HALVES = frozenset((("Gather", "row"), ("Gather", "n16k1"), ("Gemm", "n16k1"), ("MatMul", "n16k1")))
"""Operators with kernels that read float16 weights as they lie in the file, and in which layouts. For all others they
are widened when planned, which their values survive as they are."""

EXPANDED = 1.02
"""A dense copy of sparse weights takes memory besides the file: it has to be faster by this to be made."""

ELSEWHERE_US = 1000.0
"""What a kernel is taken to cost more that the preferred device does not have: its op waits for bytes to come from
there and go back, and takes the work of a processor that is slower than the device, or would not be asked."""

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
    """The node with everything known about it. A constant made while shapes were inferred counts as stored; one in
    float16 that no kernel of the operator reads so counts as widened."""

    def stored(name: str) -> StoredTensor | None:
        if name in tensors:
            read = (node.op, tensors[name].layout) in READ_HALVES
            return tensors[name] if read else tensors[name].widened()
        if name in graph.constants:
            return StoredTensor.pack_dense(name, graph.constants[name], quant=graph.types[name].quant)
        return None

    def value(name: str) -> Array | None:
        found = graph.constants.get(name)
        if found is None and name in tensors and (tensors[name].encoding, tensors[name].layout) == ("f16", "row"):
            return None if (node.op, "row") in READ_HALVES else tensors[name].widened().parts["data"]
        return found

    return Site(
        node,
        tuple(graph.types[name] if name else None for name in node.inputs),
        tuple(graph.types[name] for name in node.outputs if name),
        tuple(stored(name) if name else None for name in node.inputs),
        tuple(value(name) for name in node.inputs),
        level,
        threads,
        kv,
        activations,
    )


def options_of(
    node: Node, graph: Graph, tensors: Mapping[str, StoredTensor], level: Level, threads: int, peaks: Peaks,
    kv: str = "f16", activations: str = "int8", sparse: str = "auto", resident: bool = False,
    prefer: frozenset[str] = frozenset(),
) -> Options:  # fmt: skip
    """Every way to run `node`; the host operator is among them, last, unless the node works on a state.

    Where weights are sparse there are two sides: kernels that skip the zeros, and those for the same weights
    expanded; `sparse` may forbid one (api.SPARSE). resident: the weights stay in a cache from run to run.
    prefer: kernels that are taken before others, whatever their time; none where it is empty.
    Raises UnsupportedError where nothing is left.
    """
    site = site_of(node, graph, tensors, level, threads, kv, activations)
    states = {*graph.states.keys(), *graph.states.values()}
    rules = load_rules().get(node.op, []) if all(node.outputs) else []
    empty = any(kind is not None and kind.numel == 0 for kind in (*site.inputs, *site.outputs))
    rules = [] if empty else rules  # kernels need not know that a tensor may be without values

    def cost(offer: Offer) -> float:
        free = node.op in RENAMES and offer.in_place is not None
        return 0.0 if free else predict_us(offer, peaks, threads)

    found, refusals = _ask(rules, site, resident)
    if any(stored is not None and stored.sparse for stored in site.stored):
        dense, others = _ask(rules, _expanded(site), resident)
        known = {offer.kernel for offer in dense}
        refusals = [r for r in refusals if r.partition(":")[0] not in known] + others
        found = _both_sides(found, dense, sparse, cost)
    options: list[Option] = [(offer, cost(offer) * (EXPANDED if offer.expanded else 1.0)) for offer in found]
    if not rules:
        refusals.append(f"no native kernel for {'tensors without values' if empty else node.op}")
    if states.isdisjoint((*node.inputs, *node.outputs)):
        work = node_macs(node, site.inputs, site.outputs), node_bytes(site.inputs, site.outputs)
        host = predict_host_us(*work, host_slowdown(level, peaks))
        options.append((None, host))
    elif not options:
        raise UnsupportedError(
            f"node {node.name!r} ({node.op}) keeps a state, which needs a native kernel: {'; '.join(refusals)}"
        )

    def elsewhere(offer: Offer | None) -> float:
        free = offer is not None and offer.in_place is not None and node.op in RENAMES
        return 0.0 if not prefer or free or (offer is not None and offer.kernel in prefer) else ELSEWHERE_US

    candidates = tuple(_candidate(site, offer, us + elsewhere(offer), states) for offer, us in options)
    return Options(node, site, tuple(options), candidates, tuple(dict.fromkeys(refusals)))


def _ask(rules: list[Rule], site: Site, resident: bool) -> tuple[list[Offer], list[str]]:
    """What the rules offer, and their refusals as text. resident: no weights are read from memory."""
    offers: list[Offer] = []
    refusals: list[str] = []
    for rule in rules:
        answer = rule(site)
        for found in answer if isinstance(answer, list) else [answer]:
            refusal = found if isinstance(found, Refusal) else _impossible(site, found)
            if isinstance(refusal, Refusal):
                why = refusal.why.removeprefix(f"{refusal.kernel}: ")
                refusals.append(f"{refusal.kernel}: {why}")
            elif isinstance(found, Offer):
                offers.append(replace(found, streamed=0) if resident else found)
    return offers, refusals


def _expanded(site: Site) -> Site:
    """The same node with its sparse weights as dense ones, decoded when a kernel takes them."""
    stored = tuple(s.expanded() if s is not None and s.sparse else s for s in site.stored)
    return replace(site, stored=stored)


def _both_sides(offers: list[Offer], expanded: list[Offer], sparse: str, cost: Callable[[Offer], float]) -> list[Offer]:
    """The offers of both sides that `sparse` allows, each saying what it gains over the other."""
    skipping = [offer for offer in offers if offer.sparse]
    dense = [offer for offer in expanded if not offer.sparse]
    if not dense:
        return [
            replace(o, reason=f"sparse {o.sparse}: no dense kernel takes these weights; {o.reason}") for o in skipping
        ]
    if not skipping:
        why = "dense: no kernel here skips these zeros, expanded when planned"
        return [replace(o, reason=f"{why}; {o.reason}", expanded=True) for o in dense]
    best_skipping, best_dense = (min(side, key=cost) for side in (skipping, dense))
    gain = cost(best_dense) / cost(best_skipping)
    pattern, share, sign = best_skipping.sparse.rsplit(" ", 2)
    words = "" if sparse == "auto" else f", {sparse} sparse"
    said = [
        replace(o, reason=f"sparse {o.sparse}: {cost(best_dense) / cost(o):.2f}x over dense{words}; {o.reason}")
        for o in skipping
    ]
    would = f"dense: {pattern} at {share} {sign} would be {gain:.2f}x here{words}; expanded when planned"
    said_dense = [replace(o, reason=f"{would}; {o.reason}", expanded=True) for o in dense]
    return {"auto": [*said, *said_dense], "always": said, "never": said_dense}[sparse]


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
