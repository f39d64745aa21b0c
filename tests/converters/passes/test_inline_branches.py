"""An If with a constant condition is replaced by its branch, nested ones too; others stay."""

from __future__ import annotations

import numpy as np
import pytest

from edgert.converters.passes.inline_branches import inline_branches
from edgert.graph.execute import run_graph
from edgert.graph.ir import Graph, Node, TensorType

KIND = TensorType("float32", (3,))


def branch(scope: str, op: str) -> Graph:
    """y = op(x + a constant of its own), and x itself."""
    nodes = [
        Node("Add", (f"{scope}/x", f"{scope}/w"), (f"{scope}/s",), {}, "add"),
        Node(op, (f"{scope}/s",), (f"{scope}/y",), {}, "op"),
    ]
    graph = Graph(scope, [f"{scope}/x"], [f"{scope}/y", f"{scope}/x"], nodes)
    graph.add_constant(f"{scope}/w", np.full(3, 2, np.float32))
    return graph


def choice(condition: bool | None) -> Graph:
    branches = {"then_branch": branch("t", "Neg"), "else_branch": branch("e", "Abs")}
    node = Node("If", ("c", "x"), ("y", "same"), {"captured": 1}, "if", branches)
    graph = Graph("g", ["x"], ["y", "same"], [node], {"x": KIND, "y": KIND, "same": KIND})
    if condition is None:
        graph.inputs.append("c")
        graph.types["c"] = TensorType("bool", ())
    else:
        graph.add_constant("c", np.asarray(condition))
    return graph


@pytest.mark.parametrize("condition", [True, False])
def test_the_branch_taken_stands_in_its_place(condition: bool) -> None:
    graph = choice(condition)
    found = inline_branches(graph)
    assert [node.op for node in found.nodes] == ["Add", "Neg" if condition else "Abs", "Identity"]
    assert "c" not in found.constants, "the condition went with the choice"
    feeds = {"x": np.array([1, -5, 3], np.float32)}
    for name, value in run_graph(graph, feeds).items():
        assert np.array_equal(run_graph(found, feeds)[name], value)


def test_branches_in_branches() -> None:
    inner, outer = choice(True), choice(False)
    inner.nodes[0].inputs = ("i/c", "i/x")
    inner.inputs, inner.outputs = ["i/x"], ["i/y", "i/same"]
    inner.nodes[0].outputs = ("i/y", "i/same")
    inner.constants, inner.types = {"i/c": np.asarray(True)}, {"i/c": TensorType("bool", ())}
    outer.nodes[0].graphs["else_branch"] = inner
    found = inline_branches(outer)
    assert not any(node.graphs for node in found.nodes)
    assert run_graph(found, {"x": np.array([1, -5, 3], np.float32)})["y"].tolist() == [-3, 3, -5]


def test_a_choice_of_the_run_stays() -> None:
    assert [node.op for node in inline_branches(choice(None)).nodes] == ["If"]
