"""Transposes meet and cancel, values stay bit for bit, and no graph moves more bytes than before."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from edgert.converters.passes.sink_transposes import sink_transposes
from edgert.converters.report import count_operators
from edgert.graph.execute import run_graph
from edgert.graph.infer import infer_types
from edgert.graph.ir import Array, Attr, Graph, Node, Quantization, TensorType

NCHW, NHWC = [0, 3, 1, 2], [0, 2, 3, 1]


class Net:
    """A graph written node by node; tensors are named after their node unless told otherwise."""

    def __init__(self, shape: Sequence[int | str] = (2, 5, 6, 3), dtype: str = "float32") -> None:
        self.graph = Graph("g", ["x"], types={"x": TensorType(dtype, tuple(shape))})
        self.rng = np.random.default_rng(0)

    def const(self, value: Any, dtype: Any = np.float32) -> str:
        return self.graph.add_constant("k", np.asarray(value, dtype))

    def random(self, *shape: int) -> str:
        return self.const(self.rng.standard_normal(shape))

    def op(self, op: str, *inputs: str, name: str = "", **attrs: Attr) -> str:
        name = name or f"{op.lower()}{len(self.graph.nodes)}"
        self.graph.nodes.append(Node(op, inputs, (name,), dict(attrs), f"node_{name}"))
        return name

    def ints(self, *values: int) -> str:
        return self.const(values, np.int64)

    def conv(self, x: str, out: int, name: str) -> str:
        """A 3x3 convolution of [N, H, W, 3] as importers of NHWC models write it."""
        x = self.op("Transpose", x, perm=NCHW, name=f"{x}/nchw_of_{name}")
        twin = self.op("Conv", x, self.random(out, 3, 3, 3), name=f"{name}/nchw", pads=[1, 1, 1, 1])
        return self.op("Transpose", twin, perm=NHWC, name=name)

    def sunk(self, *outputs: str, fed: Array | None = None) -> Graph:
        """The graph after the pass, which gives the same values and moves no more bytes."""
        self.graph.outputs = list(outputs)
        typed = infer_types(self.graph)
        before = typed.copy()
        graph = sink_transposes(typed)
        assert typed == before
        kind = self.graph.types["x"]
        shape = [size if isinstance(size, int) else 2 for size in kind.shape]
        fed = (10 * self.rng.standard_normal(shape)).astype(kind.dtype) if fed is None else fed
        wanted, found = run_graph(typed, {"x": fed}), run_graph(graph, {"x": fed})
        for name in outputs:
            np.testing.assert_array_equal(found[name], wanted[name])
        assert graph.outputs == typed.outputs
        assert moved(infer_types(graph)) <= moved(typed)
        return graph


def moved(graph: Graph) -> int:
    """Bytes through the Transposes of a graph."""
    transposes = (node for node in graph.nodes if node.op == "Transpose")
    return sum(int(np.prod([d if isinstance(d, int) else 2 for d in graph.types[node.inputs[0]].shape]))
               * graph.types[node.inputs[0]].np_dtype.itemsize for node in transposes)  # fmt: skip


def test_a_network_of_images_transposes_its_ends_alone() -> None:
    net = Net()
    a = net.op("Relu", net.conv("x", 3, "a"), name="ra")
    b = net.op("Clip", net.conv(a, 3, "b"), net.const(0.0), net.const(6.0), name="rb")
    c = net.op("Add", net.op("Mul", b, net.random(3)), a, name="c")
    d = net.op("Concat", net.conv(c, 4, "d"), c, axis=3, name="dd")
    pads = net.ints(0, 1, 1, 0, 0, 2, 2, 0)
    graph = net.sunk(net.op("ReduceMean", net.op("Pad", d, pads), net.ints(1, 2), keepdims=0, name="y"))
    assert count_operators(graph)["Transpose"] == 1
    assert all(any(name.startswith(f"{x}/nchw") for name in graph.types) for x in ("ra", "rb", "c", "dd"))
    mean = next(node for node in graph.nodes if node.op == "ReduceMean")
    assert graph.constants[mean.inputs[1]].tolist() == [2, 3]


@pytest.mark.parametrize(
    ("op", "attrs", "inputs"),
    [
        ("Sigmoid", {}, ()),
        ("Softmax", {"axis": -1}, ()),
        ("LogSoftmax", {"axis": 1}, ()),
        ("ArgMax", {"axis": 3, "keepdims": 1}, ()),
        ("ArgMax", {"axis": 3, "keepdims": 0}, ()),
        ("ReduceMax", {"keepdims": 0}, ([1],)),
        ("ReduceSum", {"keepdims": 1}, ([-1, 1],)),
        ("Slice", {}, ([1, 0], [3, 2], [1, 3])),
        ("Slice", {}, ([0, 1], [2, 4])),
        ("Pad", {}, ([0, 1, 2, 3, 0, 4, 5, 6],)),
        ("Pad", {"mode": "reflect"}, ([1, 2, 2, 1], None, [1, 3])),
        ("Tile", {}, ([1, 2, 1, 3],)),
        ("Expand", {}, ([2, 5, 6, 3],)),
        ("Gather", {"axis": 3}, ([2, 0],)),
        ("Gather", {"axis": 1}, (2,)),
        ("Unsqueeze", {}, ([1],)),
        ("Reshape", {}, ([2, 30, 3],)),
        ("Reshape", {}, ([2, 5, 2, 3, 1, 3],)),
        ("Resize", {"mode": "nearest"}, (None, None, [2, 10, 12, 3])),
        ("TopK", {"axis": 3}, ([2],)),
        ("CumSum", {}, (2,)),
        ("Cast", {"to": "float16"}, ()),
    ],
)  # fmt: skip
def test_operators_work_in_either_layout(op: str, attrs: dict[str, Any], inputs: tuple[Any, ...]) -> None:
    """The operator stands between a convolution and a mean of each channel, which take any layout of it."""
    net = Net()
    rest = ["" if value is None else net.const(value, np.int64) for value in inputs]
    graph = net.sunk(
        net.op(
            "Transpose",
            net.op(op, net.conv("x", 3, "a"), *rest, **attrs, name="y"),
            perm=perm(op, attrs, inputs),
            name="z",
        )
    )
    found = count_operators(graph)
    assert found["Transpose"] == 1, "only that of the input is left"


def perm(op: str, attrs: dict[str, Any], inputs: tuple[Any, ...]) -> list[int]:
    """The permutation that makes NCHW of what the operator makes of NHWC."""
    if op in ("Reshape", "Unsqueeze"):
        return {(2, 30, 3): [0, 2, 1], (2, 5, 2, 3, 1, 3): [0, 5, 1, 2, 3, 4], (1,): [0, 1, 4, 2, 3]}[tuple(inputs[0])]
    if attrs.get("keepdims") == 0:
        return [0, 1, 2] if op == "ArgMax" else [0, 2, 1]
    return [0, 2, 1] if op == "Gather" and inputs[0] == 2 else NCHW


def test_branches_meet_again() -> None:
    """x * sigmoid(x): neither branch alone can follow the convolution for less."""
    net = Net()
    a = net.conv("x", 3, "a")
    graph = net.sunk(net.conv(net.op("Mul", a, net.op("Sigmoid", a)), 3, "y"))
    assert count_operators(graph)["Transpose"] == 2


def test_transposes_stay_before_what_is_larger() -> None:
    net = Net((1, 4, 4, 3))
    small = net.op("Transpose", "x", perm=NCHW)
    y = net.op("Tile", small, net.ints(1, 1, 4, 4))
    graph = net.sunk(net.op("Relu", y, name="y"))
    assert [node.op for node in graph.nodes] == ["Transpose", "Tile", "Relu"]


def test_transposes_go_below_what_is_smaller() -> None:
    net = Net()
    y = net.op("ReduceMax", net.op("Sqrt", net.op("Transpose", "x", perm=NCHW)), net.ints(2), name="y")
    graph = net.sunk(y)
    assert [node.op for node in graph.nodes] == ["Sqrt", "ReduceMax", "Transpose"]


def test_size_one_axes_move_by_reshape() -> None:
    net = Net((2, 1, 1, 8))
    weights = net.random(8, 8, 1, 1)
    y = net.op("Conv", net.op("Transpose", "x", perm=NCHW), weights, name="y")
    assert count_operators(net.sunk(y)) == {"Reshape": 1, "Conv": 1}


def test_heads_of_attention_keep_their_transposes() -> None:
    net = Net((2, 7, 12))
    heads = net.op("Transpose", net.op("Reshape", "x", net.ints(2, 7, 3, 4)), perm=[0, 2, 1, 3])
    scores = net.op("MatMul", heads, net.op("Transpose", heads, perm=[0, 1, 3, 2]))
    mixed = net.op("Transpose", net.op("MatMul", scores, heads), perm=[0, 2, 1, 3])
    graph = net.sunk(net.op("Reshape", mixed, net.ints(2, 7, 12), name="y"))
    assert count_operators(graph)["Transpose"] == 3


def test_names_of_sizes_do_not_hinder() -> None:
    net = Net(("N", 5, 6, 3))
    a = net.op("Relu", net.conv("x", 3, "a"))
    flat = net.op("Reshape", a, net.ints(0, -1, 3), name="flat")
    graph = net.sunk(net.op("Transpose", flat, perm=[0, 2, 1], name="y"))
    assert count_operators(graph) == {"Transpose": 1, "Conv": 1, "Relu": 1, "Reshape": 1}


def test_outputs_keep_names_and_order() -> None:
    net = Net()
    a = net.op("Transpose", "x", perm=NCHW, name="a")
    back = net.op("Transpose", a, perm=NHWC, name="back")
    y = net.op("Relu", a, name="y")
    again = net.op("Transpose", y, perm=NHWC, name="again")
    graph = net.sunk(a, back, y, again)
    assert count_operators(graph)["Transpose"] == 2


def test_scales_along_an_axis_follow_it() -> None:
    net = Net()
    scales = np.array([0.5, 0.25, 0.125], np.float32)
    quant = Quantization(scales, np.zeros(3, np.int32), 3)
    net.graph.types["q"] = TensorType("int8", (2, 5, 6, 3), quant)
    net.graph.nodes.append(Node("QuantizeLinear", (net.conv("x", 3, "a"),), ("q",)))
    graph = net.sunk(net.op("Transpose", net.op("DequantizeLinear", "q"), perm=NCHW, name="y"))
    (stored,) = (node.outputs[0] for node in graph.nodes if node.op == "QuantizeLinear")
    assert graph.types[stored].quant == Quantization(scales, np.zeros(3, np.int32), 1)
    assert count_operators(graph)["Transpose"] == 1


def test_any_graph_keeps_its_values() -> None:
    """Random networks of transposes, branches and sums."""
    for seed in range(40):
        net = Net((2, 3, 4, 5))
        rng = np.random.default_rng(seed)
        made = {"x": (2, 3, 4, 5)}
        for _ in range(14):
            a = list(made)[rng.integers(len(made))]
            shape = made[a]
            kind = rng.integers(6)
            if kind <= 1:
                axes = [int(axis) for axis in rng.permutation(len(shape))]
                made[net.op("Transpose", a, perm=axes)] = tuple(shape[axis] for axis in axes)
            elif kind == 2:
                same = [name for name, other in made.items() if other == shape]
                made[net.op("Add", a, same[rng.integers(len(same))])] = shape
            elif kind == 3:
                made[net.op("Mul", a, net.random(*shape[-int(rng.integers(1, len(shape))) :]))] = shape
            elif kind == 4 and len(shape) > 2:
                axis = int(rng.integers(len(shape)))
                made[net.op("ReduceMax", a, net.ints(axis), keepdims=0)] = shape[:axis] + shape[axis + 1 :]
            else:
                made[net.op("Concat", a, a, axis=0)] = (2 * shape[0], *shape[1:])
        read = {name for node in net.graph.nodes for name in node.inputs}
        net.sunk(*(name for name in made if name not in read and name != "x"))
