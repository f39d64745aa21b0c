"""Ranges of every activation over a data set, in one pass, whatever executes the graph."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edgert.converters.calibrate.collect import batches, collect_ranges, float_activations
from edgert.converters.calibrate.observers import minmax
from edgert.errors import ConversionError
from edgert.graph.execute import run_graph
from edgert.graph.ir import Graph, Node, TensorType


@pytest.fixture
def graph() -> Graph:
    kind = TensorType("float32", ("N", 3))
    nodes = [Node("Relu", ("x",), ("a",)), Node("Neg", ("a",), ("b",)), Node("Sigmoid", ("b",), ("y",))]
    return Graph("g", ["x"], ["y"], nodes, dict.fromkeys("xaby", kind))


def test_ranges(graph: Graph, rng: np.random.Generator) -> None:
    values = rng.standard_normal((50, 3)).astype(np.float32)
    samples = [{"x": row[None]} for row in values]
    calls = []

    def execute(g: Graph, feeds: Any) -> dict[str, Any]:
        calls.append(len(feeds["x"]))
        return run_graph(g, feeds)

    progress: list[tuple[str, int, int]] = []
    ranges = collect_ranges(graph, samples, minmax, execute, lambda *p: progress.append(p), 50)
    assert float_activations(graph) == ["x", "a", "b", "y"]
    assert ranges["x"] == (values.min(), values.max())
    assert ranges["b"] == (-values.max(), 0.0)
    assert calls == [50], "small samples are joined where the batch is open"
    assert progress[-1] == ("calibrate", 50, 50)


def test_samples_of_other_shapes_and_fixed_batches_stay_apart(graph: Graph) -> None:
    graph.types["x"] = TensorType("float32", ("N", "W"))
    samples = [{"x": np.zeros((1, width), np.float32)} for width in (3, 3, 4)]
    assert [feeds["x"].shape for feeds in batches(graph, samples)] == [(2, 3), (1, 4)]
    graph.types["x"] = TensorType("float32", (1, "W"))
    assert len(list(batches(graph, samples))) == 3


def test_no_samples_and_no_numbers(graph: Graph) -> None:
    with pytest.raises(ConversionError, match="no sample"):
        collect_ranges(graph, [], minmax)
    with pytest.raises(ConversionError, match="finite"):
        collect_ranges(graph, [{"x": np.full((1, 3), np.nan, np.float32)}], minmax)
