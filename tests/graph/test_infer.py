"""Types of whole graphs: binding, folding, quantization that is declared, and errors that name the node."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edgert.errors import EdgertError, InputError, UnsupportedError
from edgert.graph.infer import FOLD_LIMIT, infer_types
from edgert.graph.ir import Attr, Graph, Node, Quantization, TensorType
from edgert.graph.operators import OPERATORS
from edgert.kernels_cpu.reference import REFERENCE


def node(op: str, inputs: str, outputs: str, **attrs: Attr) -> Node:
    """Names separated by spaces; '-' is an absent input."""
    names = tuple("" if n == "-" else n for n in inputs.split())
    return Node(op, names, tuple(outputs.split()), dict(attrs), f"{op}_{outputs.split()[0]}")


def graph(nodes: list[Node], outputs: str, constants: dict[str, Any] | None = None, **inputs: Any) -> Graph:
    """inputs: name = shape, of float32, or a TensorType."""
    found = Graph(inputs=list(inputs), outputs=outputs.split(), nodes=nodes)
    for name, shape in inputs.items():
        found.types[name] = shape if isinstance(shape, TensorType) else TensorType("float32", tuple(shape))
    for name, value in (constants or {}).items():
        found.add_constant(name, np.asarray(value))
    return found


def weights(*shape: int) -> Any:
    return np.ones(shape, np.float32)


def test_every_operator_has_a_meaning_and_a_shape() -> None:
    assert sorted(OPERATORS) == sorted([*REFERENCE, "If", "Loop", "Scan"]), "bodies have a meaning in control.py"


def test_names_are_bound_and_the_graph_given_is_left_alone() -> None:
    original = graph(
        [node("Conv", "x w", "y", pads=[1, 1, 1, 1], strides=[2, 2])], "y", {"w": weights(4, 3, 3, 3)},
        x=("N", 3, "H", "W"),
    )  # fmt: skip
    bound = infer_types(original, {"N": 2, "H": 9, "W": 10})
    assert bound.types["x"].shape == (2, 3, 9, 10)
    assert bound.types["y"].shape == (2, 4, 5, 5)
    assert original.types["x"].shape == ("N", 3, "H", "W") and "y" not in original.types


def test_sizes_left_unbound_stay_names() -> None:
    y = graph(
        [node("Conv", "x w", "y", pads=[1, 1, 1, 1], strides=[2, 2]), node("Relu", "y", "z")], "z",
        {"w": weights(4, 3, 3, 3)}, x=("N", 3, 8, "W"),
    )  # fmt: skip
    assert infer_types(y).types["z"].shape == ("N", 4, 4, "(W+1)//2")
    same = graph([node("Conv", "x w", "y", auto_pad="SAME_UPPER")], "y", {"w": weights(4, 3, 3, 3)}, x=(1, 3, "H", "W"))
    assert infer_types(same).types["y"].shape == (1, 4, "H", "W")
    up = graph([node("ConvTranspose", "x w", "y", strides=[2, 2])], "y", {"w": weights(3, 4, 2, 2)}, x=(1, 3, "H", 5))
    assert infer_types(up).types["y"].shape == (1, 4, "2*H", 10)
    twice = graph([node("Resize", "x - s", "y")], "y", {"s": np.float32([1, 1, 2, 2])}, x=("N", 3, "H", 5))
    assert infer_types(twice).types["y"].shape == ("N", 3, "2*H", 10)


def test_a_size_that_must_be_known_asks_for_a_binding() -> None:
    pool = graph([node("MaxPool", "x", "y", kernel_shape=[2, 2], ceil_mode=1)], "y", x=(1, 3, "H", 4))
    with pytest.raises(UnsupportedError, match=r"MaxPool_y.*MaxPool.*'H'.*bind"):
        infer_types(pool)
    assert infer_types(pool, {"H": 5}).types["y"].shape == (1, 3, 4, 3)


@pytest.mark.parametrize(("bindings", "message"), [({"M": 2}, r"\(N\), found 'M'"), ({"N": -1}, ">= 0")])
def test_bindings_that_do_not_fit(bindings: dict[str, int], message: str) -> None:
    with pytest.raises(InputError, match=message):
        infer_types(graph([node("Relu", "x", "y")], "y", x=("N", 3)), bindings)


def flattening() -> Graph:
    """x reshaped to [x.shape[0], -1] the way exporters write it."""
    return graph(
        [
            node("Shape", "x", "s"), node("Gather", "s zero", "n", axis=0), node("Unsqueeze", "n axes", "n1"),
            node("Concat", "n1 rest", "target", axis=0), node("Reshape", "x target", "y"),
        ],
        "y", {"zero": np.int64(0), "axes": np.int64([0]), "rest": np.int64([-1])}, x=("N", 3, 4, 5),
    )  # fmt: skip


def test_shape_arithmetic_folds() -> None:
    bound = infer_types(flattening(), {"N": 7})
    assert [n.op for n in bound.nodes] == ["Reshape"]
    assert bound.constants["target"].tolist() == [7, -1]
    assert bound.types["y"].shape == (7, 60)


def test_a_constant_output_keeps_its_node() -> None:
    g = graph([node("Shape", "x", "s"), node("Cast", "s", "y", to=1)], "s y", x=(2, 3))
    bound = infer_types(g)
    assert [n.op for n in bound.nodes] == ["Shape", "Cast"]
    assert "s" not in bound.constants


def test_large_constants_are_left_to_passes() -> None:
    g = graph([node("Relu", "c", "r"), node("Add", "x r", "y")], "y", {"c": weights(FOLD_LIMIT + 1)}, x=(1,))
    assert len(infer_types(g).nodes) == 2
    g = graph([node("Relu", "c", "r"), node("Add", "x r", "y")], "y", {"c": weights(FOLD_LIMIT)}, x=(1,))
    assert len(infer_types(g).nodes) == 1


def test_quantized_constants_are_not_folded_away() -> None:
    g = graph([node("DequantizeLinear", "q", "w"), node("Add", "x w", "y")], "y", x=(4,))
    g.add_constant("q", np.int8([1, 2, 3, 4]), Quantization(np.float32(0.5), np.int32(0)))
    assert [n.op for n in infer_types(g).nodes] == ["DequantizeLinear", "Add"]


ACT = Quantization(np.float32(0.1), np.int32(128))


def test_a_quantized_output_is_what_the_graph_declares() -> None:
    g = graph([node("QuantizeLinear", "x", "q"), node("MaxPool", "q", "m", kernel_shape=[2, 2])], "m", x=(1, 1, 4, 4))
    with pytest.raises(UnsupportedError, match=r"QuantizeLinear_q.*scale and zero point declared"):
        infer_types(g)
    g.types["q"] = TensorType("uint8", ("?",), ACT)
    bound = infer_types(g)
    assert bound.types["q"] == TensorType("uint8", (1, 1, 4, 4), ACT)
    assert bound.types["m"] == TensorType("uint8", (1, 1, 3, 3), ACT), "max pooling passes it on"
    g.types["m"] = TensorType("uint8", (1,), Quantization(np.float32(0.2), np.int32(128)))
    with pytest.raises(UnsupportedError, match="quantized as the input"):
        infer_types(g)


def test_scales_must_fit_the_shape() -> None:
    g = graph([node("QLinearConv", "x w", "y")], "y", x=TensorType("uint8", (1, 3, 4, 4), ACT))
    g.types["y"] = TensorType("uint8", (), ACT)
    g.add_constant("w", np.ones((4, 3, 1, 1), np.int8), Quantization(np.ones(3), np.zeros(3), 0))
    with pytest.raises(UnsupportedError, match="one scale for each index of axis 0"):
        infer_types(g)
    g.types["w"] = TensorType("int8", (4, 3, 1, 1), Quantization(np.ones(4), np.zeros(4), 0))
    assert infer_types(g).types["y"].shape == (1, 4, 4, 4)


def test_packed_weights_have_types_but_no_values() -> None:
    g = graph([node("Conv", "x w", "y")], "y", x=(1, 3, 4, 4))
    g.types["w"] = TensorType("float32", (8, 3, 3, 3))
    assert infer_types(g).types["y"].shape == (1, 8, 2, 2)


@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        ([node("Frobnicate", "x", "y")], r"node 'Frobnicate_y' \(Frobnicate\): expected an operator"),
        ([node("Relu", "x x", "y")], "expected 1 to 1 inputs, found 2"),
        ([node("Relu", "nowhere", "y")], "expected a tensor 'nowhere', found none"),
        ([node("Relu", "z", "y"), node("Relu", "x", "z")], r"expected nodes in order, found \['z'\]"),
        ([node("Relu", "x", "y"), node("Relu", "x", "y")], "'y' made twice"),
        ([node("Relu", "x", "x")], "'x' made twice"),
        ([node("Relu", "x", "z")], "makes output 'y'"),
        ([node("Relu", "x", "y z")], "at most 1 outputs, found 2"),
        ([node("Conv", "x w", "y", group=2)], r"Conv.*channels"),
        ([node("Conv", "x w", "y", strides=[0, 1])], "strides"),
        ([node("Conv", "x w", "y", residual=1)], "residual"),
        ([node("Conv", "x w", "y", activation="Tanh")], "activation"),
        ([node("Conv", "x w b", "y")], r"expected a bias of shape \(4,\), found \(5,\)"),
        ([node("MaxPool", "x", "y")], "kernel_shape"),
        ([node("Conv", "x w", "y", strides=2)], "attributes as ONNX defines them.*strides"),
        ([node("Softmax", "x", "y", axis="last")], "attributes as ONNX defines them.*axis"),
        ([node("MaxPool", "x", "y", kernel_shape=[9, 9])], "padded input of at least 9"),
        ([node("Softmax", "x", "y", axis=4)], "axis"),
        ([node("Resize", "x - s", "y", mode="quintic")], "mode one of"),
        ([node("Resize", "x - x", "y")], "constant scales"),
        ([node("QLinearAdd", "x x", "y")], "float32"),
        ([node("Gelu", "x", "y", approximate="fast")], "approximate"),
        ([node("BatchNormalization", "x b b b b", "y")], "channels"),
    ],
)
def test_errors_name_the_node(nodes: list[Node], message: str) -> None:
    constants = {"w": weights(4, 3, 3, 3), "b": weights(5), "s": np.float32([1, 1, 2, 2])}
    with pytest.raises(EdgertError, match=message):
        infer_types(graph(nodes, "y", constants, x=(1, 3, 5, 5)))
