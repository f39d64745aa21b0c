"""Which offer each node takes: least predicted time over the whole graph, layout conversions included.

Works on costs alone; offers come from the lowering rules, conversions from lowering/layout.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

ConversionCost = Callable[[str, str, str], float]
"""(tensor, from layout, to layout) -> microseconds, infinite where there is no such conversion."""

MAX_SWEEPS = 8


@dataclass(frozen=True)
class Candidate:
    """One way to run a node: its own microseconds, and the layouts it takes and makes."""

    cost: float
    takes: tuple[tuple[str, str], ...]
    """(tensor, layout) of each input that is not constant."""
    makes: tuple[tuple[str, str], ...]
    """(tensor, layout) of each output."""


def choose(
    nodes: Sequence[Sequence[Candidate]], inputs: Sequence[str], outputs: Sequence[str], convert: ConversionCost
) -> list[int]:
    """Index of the chosen candidate of each node, in topological order; graph inputs and outputs are 'row'.

    Dynamic programming as if the graph were a tree (a tensor with several readers costs each a share), then
    sweeps that improve one node at a time given its neighbours. Every node must have a candidate that takes
    and makes 'row', so that a finite choice exists.
    """
    readers = _readers(nodes, outputs)
    best: dict[str, dict[str, float]] = {name: {"row": 0.0} for name in inputs}
    totals: list[list[float]] = []
    for candidates in nodes:
        totals.append([_total(c, best, readers, convert) for c in candidates])
        for candidate, total in zip(candidates, totals[-1], strict=True):
            for tensor, layout in candidate.makes:
                known = best.setdefault(tensor, {})
                known[layout] = min(known.get(layout, math.inf), total)
    chosen = [0] * len(nodes)
    wanted: dict[str, dict[str, int]] = {}
    for name in outputs:
        wanted.setdefault(name, {})["row"] = 1
    for i in range(len(nodes) - 1, -1, -1):
        costs = [total + _after(c, wanted, convert) for c, total in zip(nodes[i], totals[i], strict=True)]
        chosen[i] = costs.index(min(costs))
        for tensor, layout in nodes[i][chosen[i]].takes:
            _count(wanted, tensor, layout, 1)
    _improve(nodes, chosen, inputs, wanted, convert)
    return chosen


def _improve(
    nodes: Sequence[Sequence[Candidate]],
    chosen: list[int],
    inputs: Sequence[str],
    wanted: dict[str, dict[str, int]],
    convert: ConversionCost,
) -> None:
    made = {name: "row" for name in inputs}
    for candidates, index in zip(nodes, chosen, strict=True):
        made.update(candidates[index].makes)
    for _ in range(MAX_SWEEPS):
        changed = False
        for i, candidates in enumerate(nodes):
            if len(candidates) == 1:
                continue
            for tensor, layout in candidates[chosen[i]].takes:
                _count(wanted, tensor, layout, -1)
            costs = [c.cost + _before(c, made, wanted, convert) + _after(c, wanted, convert) for c in candidates]
            if min(costs) < costs[chosen[i]] * (1 - 1e-9):
                chosen[i] = costs.index(min(costs))
                changed = True
            made.update(candidates[chosen[i]].makes)
            for tensor, layout in candidates[chosen[i]].takes:
                _count(wanted, tensor, layout, 1)
        if not changed:
            return


def _readers(nodes: Sequence[Sequence[Candidate]], outputs: Sequence[str]) -> dict[str, int]:
    readers = {name: 1 for name in outputs}
    for candidates in nodes:
        for tensor in {tensor for tensor, _ in candidates[0].takes}:
            readers[tensor] = readers.get(tensor, 0) + 1
    return readers


def _total(
    candidate: Candidate, best: dict[str, dict[str, float]], readers: dict[str, int], convert: ConversionCost
) -> float:
    """Cost of everything up to and including this candidate."""
    total = candidate.cost
    for tensor, layout in set(candidate.takes):
        share = readers[tensor]
        total += min(
            cost / share + (0.0 if have == layout else convert(tensor, have, layout))
            for have, cost in best[tensor].items()
        )
    return total


def _before(
    candidate: Candidate, made: dict[str, str], wanted: dict[str, dict[str, int]], convert: ConversionCost
) -> float:
    """Conversions of inputs that nobody else needs."""
    return sum(
        convert(tensor, made[tensor], layout)
        for tensor, layout in set(candidate.takes)
        if made[tensor] != layout and not wanted.get(tensor, {}).get(layout)
    )


def _after(candidate: Candidate, wanted: dict[str, dict[str, int]], convert: ConversionCost) -> float:
    """Conversions of outputs to what their readers take."""
    return sum(
        convert(tensor, made, layout)
        for tensor, made in candidate.makes
        for layout, count in wanted.get(tensor, {}).items()
        if count and layout != made
    )


def _count(wanted: dict[str, dict[str, int]], tensor: str, layout: str, by: int) -> None:
    layouts = wanted.setdefault(tensor, {})
    layouts[layout] = layouts.get(layout, 0) + by
