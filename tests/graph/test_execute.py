"""Graphs run on the reference operators: feeds, observation, and a small network against ONNX Runtime."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgert.errors import InputError, UnsupportedError
from edgert.graph.evaluate import evaluate_node
from edgert.graph.execute import run_graph
from edgert.graph.ir import Graph, Node, TensorType

rng = np.random.default_rng(7)

W1 = rng.standard_normal((8, 3, 3, 3)).astype(np.float32)
W2 = rng.standard_normal((8, 1, 3, 3)).astype(np.float32)
W3 = rng.standard_normal((10, 8)).astype(np.float32)
LAYERS: list[tuple[str, list[str], str, dict[str, Any]]] = [
    ("Conv", ["x", "w1"], "a", {"strides": [2, 2], "auto_pad": "SAME_UPPER"}),
    ("HardSwish", ["a"], "b", {}),
    ("Conv", ["b", "w2"], "c", {"group": 8, "pads": [1, 1, 1, 1]}),
    ("Add", ["b", "c"], "d", {}),
    ("GlobalAveragePool", ["d"], "e", {}),
    ("Flatten", ["e"], "f", {}),
    ("Gemm", ["f", "w3"], "g", {"transB": 1}),
    ("Softmax", ["g"], "y", {}),
]
CONSTANTS = {"w1": W1, "w2": W2, "w3": W3}


@pytest.fixture
def network() -> Graph:
    graph = Graph(inputs=["x"], outputs=["y"], types={"x": TensorType("float32", ("N", 3, "H", "W"))})
    for name, value in CONSTANTS.items():
        graph.add_constant(name, value)
    graph.nodes = [Node(op, tuple(ins), (out,), attrs, out) for op, ins, out, attrs in LAYERS]
    return graph


@pytest.mark.parametrize("shape", [(1, 3, 9, 12), (3, 3, 16, 7), (2, 3, 1, 1)])
def test_a_network_agrees_with_onnxruntime(network: Graph, shape: tuple[int, ...]) -> None:
    model = helper.make_model(
        helper.make_graph(
            [helper.make_node(op, ins, [out], **attrs) for op, ins, out, attrs in LAYERS], "network",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3, "H", "W"])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 10])],
            [numpy_helper.from_array(v, k) for k, v in CONSTANTS.items()],
        ),
        opset_imports=[helper.make_opsetid("", 17)], ir_version=9,
    )  # fmt: skip
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    x = rng.standard_normal(shape).astype(np.float32)
    np.testing.assert_allclose(run_graph(network, {"x": x})["y"], session.run(None, {"x": x})[0], rtol=1e-4, atol=1e-6)


def test_every_tensor_is_observed_in_order(network: Graph) -> None:
    seen: dict[str, Any] = {}
    result = run_graph(network, {"x": np.ones((1, 3, 4, 4), np.float32)}, seen.__setitem__)
    assert list(seen) == ["x", *(out for _, _, out, _ in LAYERS)]
    np.testing.assert_array_equal(seen["y"], result["y"])


@pytest.mark.parametrize(
    ("feeds", "message"),
    [
        ({}, r"missing \['x'\]"),
        ({"x": np.ones((1, 3, 4, 4), np.float32), "z": np.ones(1)}, r"unknown \['z'\]"),
        ({"x": np.ones((1, 3, 4, 4))}, r"expected float32\['N', 3, 'H', 'W'\] for input 'x', found float64"),
        ({"x": np.ones((3, 4, 4), np.float32)}, r"found float32\[3, 4, 4\]"),
        ({"x": np.ones((1, 4, 4, 4), np.float32)}, r"for input 'x', found \[1, 4, 4, 4\]"),
    ],
)
def test_feeds_that_do_not_fit(network: Graph, feeds: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        run_graph(network, feeds)


def test_sizes_of_one_name_must_agree() -> None:
    types = {"a": TensorType("float32", ("N",)), "b": TensorType("float32", ("N",))}
    graph = Graph(inputs=["a", "b"], outputs=["y"], nodes=[Node("Add", ("a", "b"), ("y",))], types=types)
    with pytest.raises(InputError, match="N = 2"):
        run_graph(graph, {"a": np.ones(2, np.float32), "b": np.ones(1, np.float32)})


def test_an_output_may_be_an_input_or_a_constant() -> None:
    graph = Graph(inputs=["x"], outputs=["x", "c"], types={"x": TensorType("float32", (2,))})
    graph.add_constant("c", np.arange(3))
    found = run_graph(graph, {"x": np.ones(2, np.float32)})
    assert found["x"].tolist() == [1, 1] and found["c"].tolist() == [0, 1, 2]


def test_weights_without_values_are_named() -> None:
    types = {"x": TensorType("float32", (2,)), "w": TensorType("float32", (2,))}
    graph = Graph(inputs=["x"], outputs=["y"], nodes=[Node("Add", ("x", "w"), ("y",), name="add")], types=types)
    with pytest.raises(UnsupportedError, match=r"'add' \(Add\).*\['w'\]"):
        run_graph(graph, {"x": np.ones(2, np.float32)})


def test_a_value_of_another_type_than_inferred_is_a_bug() -> None:
    types = {"x": TensorType("float32", (2,)), "y": TensorType("float32", (3,))}
    graph = Graph(inputs=["x"], outputs=["y"], types=types)
    with pytest.raises(AssertionError, match=r"inferred float32\[3\] for 'y'"):
        evaluate_node(graph, Node("Relu", ("x",), ("y",)), [np.ones(2, np.float32)])
