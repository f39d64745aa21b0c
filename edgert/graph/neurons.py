"""Thresholds of feed-forward layers that skip neurons: what a graph has, and the same graph with others.
What a threshold means is in `kernels_cpu/reference/neurons.py`."""

from __future__ import annotations

import math

from edgert.errors import InputError
from edgert.graph.ir import Graph

OPERATOR = "NeuronFFN"


def thresholds(graph: Graph) -> dict[str, float]:
    """Name of the neurons' tensor -> threshold, in the order of the layers; empty if none skips."""
    return {node.inputs[2]: node.attr_float("threshold", 0.0) for node in graph.nodes if node.op == OPERATOR}


def with_thresholds(graph: Graph, factor: float) -> Graph:
    """`graph` with every threshold times `factor`: 1 leaves it as it is, 0 skips only neurons that add nothing.

    Raises InputError for a factor that is negative or not finite.
    """
    if not (math.isfinite(factor) and factor >= 0):
        raise InputError(f"neurons: expected a factor of the thresholds, 0 or more, found {factor!r}")
    if factor == 1 or not thresholds(graph):
        return graph
    scaled = graph.copy()
    for node in scaled.nodes:
        if node.op == OPERATOR:
            node.attrs["threshold"] = factor * node.attr_float("threshold", 0.0)
    return scaled
