"""Choosing layouts: never worse than all rows, and the optimum on chains, whatever the costs."""

from __future__ import annotations

from itertools import product

from hypothesis import given
from hypothesis import strategies as st

from edgert.plan.layout import Candidate, choose

COST = st.integers(0, 20).map(float)


def candidates(reads: list[str], out: str, row: float, planes: float, mixed: float) -> list[Candidate]:
    def make(cost: float, source: str, target: str) -> Candidate:
        return Candidate(cost, tuple((name, source) for name in reads), ((out, target),))

    return [make(planes, "kp", "kp"), make(mixed, "row", "kp"), make(row, "row", "row")]


def total(nodes: list[list[Candidate]], chosen: list[int], outputs: list[str], price: float) -> float:
    """Cost of a choice: every candidate, and each conversion once."""
    made = {"x": "row"}
    wanted = set()
    cost = 0.0
    for options, index in zip(nodes, chosen, strict=True):
        candidate = options[index]
        cost += candidate.cost
        wanted |= set(candidate.takes)
        made |= dict(candidate.makes)
    wanted |= {(name, "row") for name in outputs}
    return cost + sum(price for name, layout in wanted if made[name] != layout)


def convert(price: float):  # type: ignore[no-untyped-def]
    return lambda tensor, source, target: price


@given(st.lists(st.tuples(COST, COST, COST), min_size=1, max_size=6), COST)
def test_chains_are_optimal(costs: list[tuple[float, float, float]], price: float) -> None:
    names = ["x", *(f"t{i}" for i in range(len(costs)))]
    nodes = [candidates([names[i]], names[i + 1], *cost) for i, cost in enumerate(costs)]
    outputs = names[-1:]
    chosen = choose(nodes, ["x"], outputs, convert(price))
    best = min(total(nodes, list(c), outputs, price) for c in product(range(3), repeat=len(nodes)))
    assert total(nodes, chosen, outputs, price) == best


@given(st.lists(st.tuples(COST, COST, COST, st.integers(0, 9), st.integers(0, 9)), min_size=2, max_size=8), COST)
def test_graphs_are_never_worse_than_all_rows(costs: list[tuple[float, float, float, int, int]], price: float) -> None:
    names = ["x"]
    nodes = []
    for i, (row, planes, mixed, a, b) in enumerate(costs):
        reads = sorted({names[a % len(names)], names[b % len(names)]})
        nodes.append(candidates(reads, f"t{i}", row, planes, mixed))
        names.append(f"t{i}")
    outputs = names[-1:]
    chosen = choose(nodes, ["x"], outputs, convert(price))
    assert total(nodes, chosen, outputs, price) <= total(nodes, [2] * len(nodes), outputs, price)


def test_an_impossible_conversion_is_never_needed() -> None:
    nodes = [candidates(["x"], "a", 9.0, 0.0, 0.0), candidates(["a"], "b", 9.0, 0.0, 0.0)]
    chosen = choose(nodes, ["x"], ["b"], convert(float("inf")))
    assert total(nodes, chosen, ["b"], float("inf")) == 18.0
