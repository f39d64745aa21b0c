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

    Two starts, the dynamic program below and the cheapest choice in rows alone, are improved by sweeps over one
    node at a time given its neighbours; the better result is taken. Every node must have a candidate that takes
    and makes 'row', so that a finite choice exists.
    """
    starts = [_as_tree(nodes, inputs, outputs, convert), _rows(nodes)]
    improved = [_improve(nodes, start, inputs, outputs, convert) for start in starts]
    return min(improved, key=lambda chosen: _cost(nodes, chosen, inputs, outputs, convert))


def _as_tree(
    nodes: Sequence[Sequence[Candidate]], inputs: Sequence[str], outputs: Sequence[str], convert: ConversionCost
) -> list[int]:
    """Dynamic programming, exact for chains: a tensor with several readers costs each of them a share."""
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
    wanted = _wanted(outputs)
    for i in range(len(nodes) - 1, -1, -1):
        costs = [total + _after(c, wanted, convert) for c, total in zip(nodes[i], totals[i], strict=True)]
        chosen[i] = costs.index(min(costs))
        for tensor, layout in nodes[i][chosen[i]].takes:
            _count(wanted, tensor, layout, 1)
    return chosen


def _rows(nodes: Sequence[Sequence[Candidate]]) -> list[int]:
    """The cheapest candidate of each node that knows rows only."""
    chosen = []
    for candidates in nodes:
        costs = [c.cost if all(layout == "row" for _, layout in (*c.takes, *c.makes)) else math.inf for c in candidates]
        chosen.append(costs.index(min(costs)))
    return chosen


def _cost(
    nodes: Sequence[Sequence[Candidate]],
    chosen: Sequence[int],
    inputs: Sequence[str],
    outputs: Sequence[str],
    convert: ConversionCost,
) -> float:
    """Of a whole choice: every candidate, and every conversion once."""
    made = {name: "row" for name in inputs}
    needed = {(name, "row") for name in outputs}
    cost = 0.0
    for candidates, index in zip(nodes, chosen, strict=True):
        cost += candidates[index].cost
        made.update(candidates[index].makes)
        needed.update(candidates[index].takes)
    return cost + sum(convert(tensor, made[tensor], layout) for tensor, layout in needed if made[tensor] != layout)


def _improve(
    nodes: Sequence[Sequence[Candidate]],
    start: Sequence[int],
    inputs: Sequence[str],
    outputs: Sequence[str],
    convert: ConversionCost,
) -> list[int]:
    """`start` after sweeps in which each node takes its best candidate, the others being as they are."""
    chosen = list(start)
    made = {name: "row" for name in inputs}
    wanted = _wanted(outputs)
    for candidates, index in zip(nodes, chosen, strict=True):
        made.update(candidates[index].makes)
        for tensor, layout in candidates[index].takes:
            _count(wanted, tensor, layout, 1)
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
            break
    return chosen


def _wanted(outputs: Sequence[str]) -> dict[str, dict[str, int]]:
    """tensor -> layout -> how many readers want it so; graph outputs are read in rows."""
    wanted: dict[str, dict[str, int]] = {}
    for name in outputs:
        _count(wanted, name, "row", 1)
    return wanted


def _readers(nodes: Sequence[Sequence[Candidate]], outputs: Sequence[str]) -> dict[str, int]:
    readers = {name: 1 for name in outputs}
    for candidates in nodes:
        for tensor in {tensor for candidate in candidates for tensor, _ in candidate.takes}:
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
