"""Exported graphs run in ONNX Runtime, in both forms, with the answers of the reference operators."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

from edgert.converters.onnx.exporter import export_onnx
from edgert.converters.onnx.importer import import_onnx
from edgert.errors import InputError, UnsupportedError
from edgert.graph.execute import run_graph
from edgert.graph.ir import Attr, Graph, Node, Quantization, TensorType

Peer = Callable[[Path, dict[str, np.ndarray]], list[np.ndarray]]
FORMS = ["qdq", "qoperator"]


class Maker:
    """A quantized graph, one line per node."""

    def __init__(self, *shape: int) -> None:
        self.rng = np.random.default_rng(5)
        self.graph = Graph("made", ["x"], [], [], {"x": TensorType("float32", shape)})

    def add(
        self, op: str, inputs: str, out: str, shape: tuple[int, ...], q: tuple[float, int] | None, /, **attrs: Attr
    ) -> None:
        names = tuple(name.replace("-", "") for name in inputs.split())
        self.graph.nodes.append(Node(op, names, (out,), attrs, f"{op}_{out}"))
        quant = None if q is None else Quantization(np.float32(q[0]), np.int32(q[1]))
        self.graph.types[out] = TensorType("float32" if q is None else "uint8", shape, quant)

    def weights(self, name: str, x: str, *shape: int) -> None:
        """int8 weights with a scale per channel, and the bias `<name>b` that goes with input `x`."""
        scale = self.rng.uniform(0.002, 0.01, shape[0]).astype(np.float32)
        zeros = np.zeros(shape[0], np.int32)
        values = self.rng.integers(-127, 128, shape).astype(np.int8)
        self.graph.add_constant(name, values, Quantization(scale, zeros, 0))
        source = self.graph.types[x].quant
        assert source is not None
        bias = self.rng.integers(-500, 500, shape[0]).astype(np.int32)
        self.graph.add_constant(f"{name}b", bias, Quantization(source.scale * scale, zeros, 0))

    def done(self, *outputs: str) -> Graph:
        self.graph.outputs = list(outputs)
        return self.graph


def network() -> Graph:
    """Every quantized operator, every activation, and operators that move stored values."""
    m = Maker(1, 4, 8, 8)
    m.add("QuantizeLinear", "x", "q", (1, 4, 8, 8), (0.02, 120))
    m.weights("w1", "q", 8, 4, 3, 3)
    same: dict[str, Attr] = {"pads": [1, 1, 1, 1]}
    m.add("QLinearConv", "q w1 w1b", "c1", (1, 8, 8, 8), (0.02, 0), activation="Relu", **same)
    m.weights("w2", "c1", 8, 1, 3, 3)
    m.add("QLinearConv", "c1 w2 w2b", "c2", (1, 8, 8, 8), (0.04, 30), group=8, activation="Clip",
          clip_min=0.0, clip_max=6.0, **same)  # fmt: skip
    m.weights("w3", "c2", 4, 8, 1, 1)
    m.add("QLinearConv", "c2 w3", "c3", (1, 4, 8, 8), (0.05, 128))
    m.add("QLinearAdd", "q c3", "a", (1, 4, 8, 8), (0.06, 100), activation="Relu")
    m.add("QLinearConv", "c2 w3 w3b q", "c4", (1, 4, 8, 8), (0.05, 110), residual=1, activation="Relu")
    m.add("QLinearMul", "a c4", "k", (1, 4, 8, 8), (0.1, 40))
    m.add("QLinearConcat", "a k", "cat", (1, 8, 8, 8), (0.1, 90), axis=1)
    m.add("MaxPool", "cat", "mp", (1, 8, 4, 4), (0.1, 90), kernel_shape=[2, 2], strides=[2, 2])
    m.graph.add_constant("pads", np.array([0, 0, 1, 1, 0, 0, 0, 0]))
    m.add("Pad", "mp pads", "pd", (1, 8, 5, 5), (0.1, 90))
    m.add("QLinearAveragePool", "pd", "ap", (1, 8, 3, 3), (0.08, 100), kernel_shape=[3, 3])
    m.add("QLinearUnary", "ap", "sg", (1, 8, 3, 3), (1 / 256, 0), op="Sigmoid")
    m.add("QLinearUnary", "ap", "th", (1, 8, 3, 3), (1 / 128, 128), op="Tanh")
    m.add("QLinearAdd", "sg th", "st", (1, 8, 3, 3), (0.01, 100))
    m.add("QLinearGlobalAveragePool", "st", "gp", (1, 8, 1, 1), (0.01, 100))
    m.add("Flatten", "gp", "fl", (1, 8), (0.01, 100), axis=1)
    m.weights("fc", "fl", 5, 8)
    m.add("QLinearGemm", "fl fc fcb", "g", (1, 5), (0.01, 128))
    m.add("DequantizeLinear", "g", "y", (1, 5), None)
    return m.done(*(node.outputs[0] for node in m.graph.nodes))


@pytest.fixture
def feeds() -> dict[str, np.ndarray]:
    return {"x": np.random.default_rng(6).normal(size=(1, 4, 8, 8)).astype(np.float32)}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("opset", [13, 17, 21])
def test_quantized_network(tmp_path: Path, peer: Peer, feeds: dict[str, np.ndarray], form: str, opset: int) -> None:
    graph = network()
    export_onnx(graph, tmp_path / "m.onnx", form=form, opset=opset)  # type: ignore[arg-type]
    model = onnx.load(str(tmp_path / "m.onnx"))
    onnx.checker.check_model(model)
    quantized = {node.op_type for node in model.graph.node} & {"QLinearConv", "QGemm", "QLinearAdd", "QLinearConcat"}
    assert len(quantized) == (4 if form == "qoperator" else 0)
    values = feeds | dict(zip(graph.outputs, peer(tmp_path / "m.onnx", feeds), strict=True))
    for node in graph.nodes:  # each on the inputs ONNX Runtime gave it, so that differences do not add up
        mine = alone(graph, node, values)
        (name,) = node.outputs
        assert mine.dtype == values[name].dtype, name
        off = np.abs(mine.astype(float) - values[name].astype(float))
        assert off.max() <= (1 if mine.dtype == np.uint8 else 1e-6), (name, off.max())
        assert np.mean(off) <= 0.03, (name, np.mean(off))
        assert name == "y" or np.ptp(mine) > 3, f"{name} says too little"


def alone(graph: Graph, node: Node, values: dict[str, np.ndarray]) -> np.ndarray:
    """What `node` makes of `values`."""
    inputs = [name for name in dict.fromkeys(node.inputs) if name and name not in graph.constants]
    part = Graph("part", inputs, list(node.outputs), [node], graph.types, graph.constants)
    return run_graph(part, {name: values[name] for name in inputs})[node.outputs[0]]


@pytest.mark.parametrize("form", FORMS)
def test_import_of_an_export_is_the_same_function(tmp_path: Path, feeds: dict[str, np.ndarray], form: str) -> None:
    graph = network()
    export_onnx(graph, tmp_path / "m.onnx", form=form)  # type: ignore[arg-type]
    again = import_onnx(tmp_path / "m.onnx")
    values = feeds | run_graph(again, feeds)
    for node in graph.nodes:
        mine, theirs = alone(graph, node, values), values[node.outputs[0]]
        off = np.abs(mine.astype(float) - theirs.astype(float))
        assert off.max() <= (1 if mine.dtype == np.uint8 else 1e-6), node
    if form == "qoperator":
        assert again.types["w1"] == graph.types["w1"] and again.types["c1"].quant == graph.types["c1"].quant


def test_absorbing_a_qdq_export_gives_the_quantized_graph_back(tmp_path: Path) -> None:
    from edgert.converters.passes.absorb_qdq import absorb_qdq
    from edgert.converters.passes.fuse_activation import fuse_activation
    from edgert.converters.passes.fuse_residual import fuse_residual

    graph = network()
    graph.outputs = ["y"]
    export_onnx(graph, tmp_path / "m.onnx", form="qdq")
    again = absorb_qdq(fuse_residual(fuse_activation(import_onnx(tmp_path / "m.onnx"))))
    assert [node.op for node in again.nodes] == [node.op for node in graph.nodes]


def test_an_activation_that_the_range_enforces_is_left_out(tmp_path: Path) -> None:
    m = Maker(1, 4, 8, 8)
    m.add("QuantizeLinear", "x", "q", (1, 4, 8, 8), (0.02, 120))
    m.weights("w", "q", 4, 4, 1, 1)
    six: dict[str, Attr] = {"activation": "Clip", "clip_min": 0.0, "clip_max": 6.0}
    m.add("QLinearConv", "q w", "c", (1, 4, 8, 8), (6 / 255, 0), **six)
    for form in FORMS:
        export_onnx(m.done("c"), tmp_path / "m.onnx", form=form)  # type: ignore[arg-type]
        ops = [node.op_type for node in onnx.load(str(tmp_path / "m.onnx")).graph.node]
        assert "Clip" not in ops and "Relu" not in ops


def test_float_operators(tmp_path: Path, peer: Peer, feeds: dict[str, np.ndarray]) -> None:
    m = Maker(1, 4, 8, 8)
    m.graph.add_constant("w", m.rng.normal(size=(6, 4, 3, 3)).astype(np.float32))
    m.graph.add_constant("axes", np.array([2, 3]))
    m.graph.add_constant("half", np.array(0.5, np.float32))
    m.add("Conv", "x w", "c", (1, 6, 6, 6), None, activation="Clip", clip_min=0.0, clip_max=1.0)
    m.add("Conv", "x w - c", "r", (1, 6, 6, 6), None, residual=1, activation="Relu")
    m.add("Add", "r half", "s", (1, 6, 6, 6), None, activation="Clip", clip_min=1.0)
    m.add("Gelu", "s", "g", (1, 6, 6, 6), None, approximate="tanh")
    m.add("Gelu", "s", "e", (1, 6, 6, 6), None)
    m.graph.nodes.append(Node("Split", ("g",), ("g1", "g2"), {"axis": 1, "num_outputs": 2}, "split"))
    m.graph.types |= {name: TensorType("float32", (1, 3, 6, 6)) for name in ("g1", "g2")}
    m.add("ReduceMean", "s axes", "m", (1, 6), None, keepdims=0)
    m.add("ReduceSum", "s axes", "t", (1, 6), None, keepdims=0)
    m.add("Cast", "m", "i", (1, 6), None, to="int32")
    m.graph.types["i"] = TensorType("int32", (1, 6))
    graph = m.done("c", "r", "s", "e", "g1", "g2", "m", "t", "i")
    mine = run_graph(graph, feeds)
    for opset in (13, 18, 20):
        export_onnx(graph, tmp_path / "m.onnx", opset=opset)
        for name, theirs in zip(graph.outputs, peer(tmp_path / "m.onnx", feeds), strict=True):
            np.testing.assert_allclose(mine[name], theirs, rtol=1e-4, atol=1e-4, err_msg=f"{name} {opset}")


def test_what_an_opset_cannot_say_is_refused(tmp_path: Path) -> None:
    m = Maker(1, 4, 8, 8)
    m.graph.add_constant("s", np.ones(4, np.float32))
    m.add("LayerNormalization", "x s", "y", (1, 4, 8, 8), None)
    with pytest.raises(UnsupportedError, match="LayerNormalization"):
        export_onnx(m.done("y"), tmp_path / "m.onnx", opset=16)
    for bad in ({"form": "qqq"}, {"opset": 12}, {"opset": 99}):
        with pytest.raises(InputError):
            export_onnx(m.done("y"), tmp_path / "m.onnx", **bad)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []
