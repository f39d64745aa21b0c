"""Einsum as matrix products: the same values, for every kind of equation."""

from __future__ import annotations

import numpy as np
import pytest

from edgert.converters.passes.write_out_einsum import write_out_einsum
from edgert.graph.execute import run_graph
from edgert.graph.infer import infer_types
from edgert.graph.ir import Dim, Graph, Node, TensorType

SIZES = {"b": 2, "h": 3, "i": 4, "j": 5, "d": 6, "k": 7}


def graph_of(equation: str, shapes: list[tuple[Dim, ...]]) -> Graph:
    names = [f"x{i}" for i in range(len(shapes))]
    graph = Graph(inputs=names, outputs=["y"])
    graph.types = {name: TensorType("float32", shape) for name, shape in zip(names, shapes, strict=True)}
    graph.nodes = [Node("Einsum", tuple(names), ("y",), {"equation": equation}, "sum")]
    return infer_types(graph)


def shapes_of(equation: str) -> list[tuple[int, ...]]:
    terms = equation.partition("->")[0].replace(" ", "").replace("...", "bh").split(",")
    return [tuple(SIZES[label] for label in term) for term in terms]


@pytest.mark.parametrize("equation", [
    "bhid,bhjd->bhij", "bhij,bhjd->bhid", "bhij,bhjd->bihd", "ij,jk->ik", "ij,jk", "ij,ij->ij", "i,j->ij", "i,i->",
    "bij,jk->bik", "bihd,bjhd->bhij", "bid,hdk->bhik", "ijd,jk->ik", "ij->ji", "ij->", "bij->b", "ij->ij",
    "...ij,...jk->...ik", "bhd,bhd->bh", "ijd,kd->kij", "bhij,bhd->d",
])  # fmt: skip
def test_the_same_values(equation: str) -> None:
    shapes, rng = shapes_of(equation), np.random.default_rng(0)
    graph = graph_of(equation, list(shapes))
    feeds = {
        name: rng.standard_normal(shape).astype(np.float32) for name, shape in zip(graph.inputs, shapes, strict=True)
    }
    written = write_out_einsum(graph)
    assert "Einsum" not in {node.op for node in written.nodes}
    np.testing.assert_allclose(run_graph(written, feeds)["y"], run_graph(graph, feeds)["y"], rtol=1e-4, atol=1e-5)
    assert infer_types(written).types["y"] == graph.types["y"]


def test_named_sizes_where_nothing_is_joined() -> None:
    graph = graph_of("bhid,bhjd->bhij", [("B", 3, "T", 6), ("B", 3, "S", 6)])
    assert [node.op for node in write_out_einsum(graph).nodes] == ["Transpose", "MatMul"]
    graph = graph_of("bhid,bhjd->bij", [("B", 3, "T", 6), ("B", 3, "S", 6)])
    assert [node.op for node in write_out_einsum(graph).nodes] == ["Einsum"]


@pytest.mark.parametrize(("equation", "shapes"), [
    ("ii->i", [(3, 3)]), ("ij,jk,kd->id", [(2, 3), (3, 4), (4, 5)]), ("ij,ij->ij", [(1, 3), (2, 3)]),
])  # fmt: skip
def test_left_as_it_is(equation: str, shapes: list[tuple[Dim, ...]]) -> None:
    graph = graph_of(equation, shapes)
    assert [node.op for node in write_out_einsum(graph).nodes] == ["Einsum"]
