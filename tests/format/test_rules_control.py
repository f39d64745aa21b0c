"""Rules F54 and F55 of docs/format.md: bodies of control flow, and what states start with."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgert.errors import FormatError
from edgert.format import Model, StoredTensor, read_model, write_model
from edgert.format.limits import MAX_BODY_DEPTH
from edgert.graph.ir import Graph, Node, Quantization, TensorType

Forge = Any
Refused = Callable[..., FormatError]
Accepted = Callable[[], Model]

KIND = TensorType("float32", (2, 2))


def body(scope: str, op: str) -> Graph:
    """One node on the captured tensor and a stored one."""
    names = f"{scope}/x", f"{scope}/y"
    return Graph(scope, [names[0]], [names[1]], [Node(op, (names[0], f"{scope}/w"), (names[1],))], {names[0]: KIND})


def build() -> Model:
    """An If whose branches have weights, and a state that starts with ones."""
    branches = {"then_branch": body("then", "Add"), "else_branch": body("else", "Mul")}
    nodes = [
        Node("If", ("condition", "x"), ("y",), {"captured": 1}, "if", branches),
        Node("Add", ("past", "y"), ("present",), {}, "add"),
    ]
    types = {name: KIND for name in ("x", "y", "past", "present")} | {"condition": TensorType("bool", ())}
    graph = Graph("g", ["condition", "x", "past"], ["y", "present"], nodes, types, states={"past": "present"})
    graph.initial["past"] = np.ones((2, 2), np.float32)
    tensors = [StoredTensor.pack_dense(f"{name}/w", np.full((2, 2), 3, np.float32)) for name in ("then", "else")]
    return Model(graph, {tensor.name: tensor for tensor in tensors})


@pytest.fixture
def forge(forge: Forge, tmp_path: Path) -> Forge:
    write_model(build(), tmp_path / "control.edge")
    return type(forge).take_apart((tmp_path / "control.edge").read_bytes())


def test_f54_bodies_come_back_with_their_constants(tmp_path: Path) -> None:
    write_model(build(), tmp_path / "m.edge")
    graph = read_model(tmp_path / "m.edge").graph
    found = graph.nodes[0].graphs
    assert set(found) == {"then_branch", "else_branch"} and found["then_branch"].nodes[0].op == "Add"
    assert found["else_branch"].constants["else/w"].tolist() == [[3, 3], [3, 3]]
    assert found["else_branch"].types["else/w"] == KIND and graph.nodes[1].graphs == {}
    assert len(list(graph.bodies())) == 2


def test_f54_bodies(forge: Forge, refused: Refused, accepted: Accepted) -> None:
    node = forge.header["graph"]["nodes"][0]
    accepted()
    inner = node["graphs"]["then_branch"]
    inner["nodes"][0]["inputs"] = ["x", "then/w"]
    refused("defined by an input")  # a tensor of the graph around it
    inner["nodes"][0]["inputs"] = ["then/x", "then/w"]
    inner["outputs"] = []
    refused("at least one output")
    inner["outputs"] = ["then/y"]
    inner["states"] = {}
    refused("unknown key 'states'")
    del inner["states"]
    del inner["types"]["then/x"]
    accepted()  # a body's inputs need no types
    node["graphs"] = []
    refused("an object of at most")
    node["graphs"] = {"then branch": inner}
    refused("an identifier")


def test_f54_bodies_are_nested_so_deep_and_no_deeper(forge: Forge, refused: Refused, accepted: Accepted) -> None:
    graph: dict[str, Any] = {"name": "", "inputs": [], "outputs": ["then/w"], "nodes": [], "types": {}}
    for depth in range(MAX_BODY_DEPTH):
        node = {"op": "If", "name": "", "inputs": [], "outputs": [f"o{depth}"], "attrs": {}, "graphs": {"body": graph}}
        forge.header["graph"]["nodes"][0]["graphs"]["then_branch"] = graph
        accepted()
        graph = graph | {"outputs": [f"o{depth}"], "nodes": [node]}
    forge.header["graph"]["nodes"][0]["graphs"]["then_branch"] = graph
    refused("nested 4 deep")


def test_f55_first_values(forge: Forge, refused: Refused, accepted: Accepted) -> None:
    graph = forge.header["graph"]
    assert graph["initial"] == {"past": "past.initial"}
    assert accepted().graph.initial["past"].tolist() == [[1, 1], [1, 1]]
    for initial, pattern in {
        (("x", "past.initial"),): "first value of a state",
        (("past", "nobody"),): "a stored tensor",
        (("past", "x"),): "a stored tensor",
        (("past", 3),): "a string",
    }.items():
        graph["initial"] = dict(initial)
        refused(pattern)
    graph["initial"] = {"past": "past.initial"}
    graph["types"]["past"]["shape"] = graph["types"]["present"]["shape"] = [4]
    refused("of the state's type")
    graph["types"]["past"]["shape"] = graph["types"]["present"]["shape"] = [2, 2]
    del graph["initial"]
    assert accepted().graph.initial == {}


def test_f55_a_quantized_state_starts_at_its_zero_point(tmp_path: Path) -> None:
    kind = TensorType("uint8", (3,), Quantization(np.float32(0.5), np.int32(7)))
    graph = Graph("g", ["p"], ["q"], [Node("Relu", ("p",), ("q",))], {"p": kind, "q": kind}, states={"p": "q"})
    graph.initial["p"] = np.full(3, 7, np.uint8)
    write_model(Model(graph), tmp_path / "m.edge")
    assert read_model(tmp_path / "m.edge").graph.initial["p"].tolist() == [7, 7, 7]
