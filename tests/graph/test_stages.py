"""Where a graph is cut: at nodes that wait for values, and for no others."""

from __future__ import annotations

import numpy as np
import pytest

from edgert.errors import UnsupportedError
from edgert.graph.ir import Graph, Node, TensorType
from edgert.graph.stages import cut

X, SHAPE = TensorType("float32", (2, 6)), TensorType("int64", (2,))


def chain(*nodes: Node, inputs: dict[str, TensorType], outputs: list[str]) -> Graph:
    return Graph("g", list(inputs), outputs, list(nodes), dict(inputs))


def test_a_graph_of_known_shapes_is_one_piece() -> None:
    graph = chain(
        Node("Relu", ("x",), ("h",), {}, "relu"), Node("Neg", ("h",), ("y",), {}, "neg"), inputs={"x": X}, outputs=["y"]
    )
    found = cut(graph, {"x": X}, {})
    assert [node.name for node in found.now.nodes] == ["relu", "neg"] and found.later is None
    assert found.now.types["y"] == X and found.demands == () and found.reasons == {}


def test_a_shape_that_is_fed_is_asked_for_and_then_known() -> None:
    graph = chain(
        Node("Reshape", ("x", "shape"), ("y",), {}, "reshape"),
        Node("Relu", ("y",), ("z",), {}, "relu"),
        Node("Neg", ("x",), ("n",), {}, "neg"),
        inputs={"x": X, "shape": SHAPE}, outputs=["z", "n"],
    )  # fmt: skip
    kinds = {"x": X, "shape": SHAPE}
    found = cut(graph, kinds, {})
    assert found.demands == ("shape",) and list(found.reasons) == ["reshape"]
    assert [node.name for node in found.now.nodes] == ["neg"] and found.now.outputs == ["n"]
    assert found.later is not None and found.later.inputs == ["x", "shape"] and found.later.outputs == ["z"]
    known = cut(graph, kinds, {"shape": np.array([3, 4])})
    assert known.later is None and known.now.types["z"].shape == (3, 4) and known.now.inputs == ["x"]


def test_what_depends_on_a_computed_value_waits_with_its_constants() -> None:
    graph = chain(
        Node("NonZero", ("x",), ("i",), {}, "where"),
        Node("Cast", ("i",), ("f",), {"to": 1}, "cast"),
        Node("Mul", ("f", "two"), ("y",), {}, "twice"),
        Node("Abs", ("x",), ("a",), {}, "abs"),
        inputs={"x": X}, outputs=["y", "a"],
    )  # fmt: skip
    graph.add_constant("two", np.asarray(2, np.float32))
    found = cut(graph, {"x": X}, {})
    assert [node.name for node in found.now.nodes] == ["abs"]
    assert found.later is not None and list(found.later.constants) == ["two"] and found.demands == ()
    assert list(found.reasons) == ["where"], "what merely follows has no reason of its own"


def test_a_node_that_no_value_can_mend_is_an_error() -> None:
    graph = chain(Node("Concat", ("x", "y"), ("z",), {"axis": 0}, "join"), inputs={"x": X, "y": SHAPE}, outputs=["z"])
    with pytest.raises(UnsupportedError, match="node 'join'"):
        cut(graph, {"x": X, "y": SHAPE}, {})
