"""GroupNormalization as InstanceNormalization of groups: the same values."""

from __future__ import annotations

import numpy as np
import pytest

from edgert.converters.passes.lower_group_norm import lower_group_norm
from edgert.graph.execute import run_graph
from edgert.graph.infer import infer_types
from edgert.graph.ir import Dim, Graph, Node, TensorType


def graph_of(shape: tuple[Dim, ...], groups: int, plain: bool) -> Graph:
    graph = Graph(inputs=["x"], outputs=["y"], types={"x": TensorType("float32", shape)})
    rng, channels = np.random.default_rng(0), int(shape[1])
    scale = np.ones(channels, np.float32) if plain else rng.standard_normal(channels).astype(np.float32)
    inputs = ("x", graph.add_constant("scale", scale), graph.add_constant("bias", np.float32(0.5) * scale))
    graph.nodes = [Node("GroupNormalization", inputs, ("y",), {"num_groups": groups, "epsilon": 1e-3}, "norm")]
    return infer_types(graph)


@pytest.mark.parametrize("shape", [(2, 8, 5, 3), (2, 8, 9), ("N", 8, "T"), ("N", 8, "H", 3)])
@pytest.mark.parametrize("groups", [1, 4, 8])
def test_the_same_values(shape: tuple[Dim, ...], groups: int) -> None:
    graph = graph_of(shape, groups, plain=False)
    x = np.random.default_rng(1).standard_normal([d if isinstance(d, int) else 2 for d in shape]).astype(np.float32)
    lowered = lower_group_norm(graph)
    operators = [node.op for node in lowered.nodes]
    assert operators == ["Reshape", "InstanceNormalization", "Reshape", "Mul", "Add"]
    np.testing.assert_allclose(run_graph(lowered, {"x": x})["y"], run_graph(graph, {"x": x})["y"], rtol=1e-4, atol=1e-5)


def test_parameters_that_change_nothing_are_left_out() -> None:
    assert [node.op for node in lower_group_norm(graph_of((2, 8, 5), 4, plain=True)).nodes][-1] == "Add"


def test_two_named_sizes_are_left_alone() -> None:
    graph = graph_of(("N", 8, "H", "W"), 4, plain=True)
    assert [node.op for node in lower_group_norm(graph).nodes] == ["GroupNormalization"]
