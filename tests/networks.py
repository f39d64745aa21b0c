"""Small models made on the spot, float and int8, and what the reference says they answer.

Used by the tests of plans, sessions and commands; nothing here is random beyond its seed.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgert.format import Model, ModelInfo, Preprocessing, StoredTensor
from edgert.graph.execute import run_graph
from edgert.graph.infer import infer_types
from edgert.graph.ir import Array, Attr, Dim, Graph, Node, Quantization, TensorType


class Network:
    """Builds a Model: tensors first, then nodes in order."""

    def __init__(self, seed: int = 0) -> None:
        self.rng = np.random.default_rng(seed)
        self.graph = Graph("test")
        self.tensors: dict[str, StoredTensor] = {}

    def input(self, name: str, shape: Sequence[Dim], dtype: str = "float32") -> str:
        self.graph.inputs.append(name)
        self.graph.types[name] = TensorType(dtype, tuple(shape))
        return name

    def constant(self, name: str, value: Array, layout: str = "row", quant: Quantization | None = None) -> str:
        return self.store(StoredTensor.pack_dense(name, value, layout, quant))

    def store(self, tensor: StoredTensor) -> str:
        self.tensors[tensor.name] = tensor
        self.graph.types[tensor.name] = tensor.type
        if tensor.encoding == "dense" and tensor.layout == "row":
            self.graph.constants[tensor.name] = tensor.parts["data"]
        return tensor.name

    def node(self, op: str, *inputs: str, out: str = "", quant: tuple[float, int] | None = None, **attrs: Attr) -> str:
        """Adds a node with one output. quant: (scale, zero point) of a uint8 output."""
        name = out or f"{op.lower()}{len(self.graph.nodes)}"
        if quant is not None:
            scale, zero = np.array(quant[0], np.float32), np.array(quant[1], np.int32)
            self.graph.types[name] = TensorType("uint8", (), Quantization(scale, zero))
        self.graph.nodes.append(Node(op, inputs, (name,), dict(attrs), f"node_{name}"))
        return name

    def conv(self, x: str, channels: int, filters: int, kernel: int, **attrs: Attr) -> str:
        """A float convolution with bias, packed for the native kernel."""
        i = len(self.graph.nodes)
        scale = np.float32(1 / np.sqrt(channels * kernel * kernel))
        w = scale * self.rng.standard_normal((filters, channels, kernel, kernel)).astype(np.float32)
        weights = self.constant(f"w{i}", w, "n4k1")
        bias = self.constant(f"b{i}", self.rng.standard_normal(filters).astype(np.float32))
        pad = kernel // 2
        return self.node("Conv", x, weights, bias, pads=[pad] * 4, kernel_shape=[kernel, kernel], **attrs)

    def conv_q8(self, x: str, channels: int, filters: int, kernel: int, **attrs: Attr) -> str:
        """An int8 convolution with bias; x must be quantized."""
        i = len(self.graph.nodes)
        values = self.rng.integers(-127, 128, (filters, channels, kernel, kernel)).astype(np.int8)
        scale = self.rng.uniform(0.002, 0.004, filters).astype(np.float32)
        weights = self.store(StoredTensor.pack_q8(f"w{i}", values, scale, "n4k4"))
        bias = self.rng.integers(-2000, 2000, filters).astype(np.int32)
        quant = self.graph.types[x].quant
        assert quant is not None
        bias_quant = Quantization(quant.scale * scale, np.zeros(filters, np.int32), 0)
        b = self.constant(f"b{i}", bias, quant=bias_quant)
        pad = kernel // 2
        return self.node(
            "QLinearConv", x, weights, b, quant=(0.04, 128), pads=[pad] * 4, kernel_shape=[kernel, kernel], **attrs
        )

    def model(self, *outputs: str, info: ModelInfo | None = None) -> Model:
        """The finished model; `outputs` are its answers."""
        self.graph.outputs = list(outputs)
        typed = infer_types(self.graph)
        self.graph.types.update({name: typed.types[name] for name in outputs})
        return Model(self.graph, self.tensors, info or ModelInfo("test"))


def float_model(batch: Dim = "N", size: int = 12, width: int = 8) -> Model:
    """image [N, 3, size, size] -> scores [N, 10]: convolutions, a residual, a branch, pooling, a dense layer."""
    net = Network(1)
    x = net.input("image", (batch, 3, size, size))
    a = net.conv(x, 3, width, 3, activation="Relu")
    b = net.conv(a, width, width, 3, activation="Relu")
    c = net.node("Add", a, b)
    d = net.node("Sigmoid", net.conv(c, width, width, 1))
    e = net.node("Mul", c, d)
    pooled = net.node("GlobalAveragePool", e)
    flat = net.node("Flatten", pooled)
    weights = net.constant("dense_w", net.rng.standard_normal((10, width)).astype(np.float32))
    bias = net.constant("dense_b", net.rng.standard_normal(10).astype(np.float32))
    scores = net.node("Gemm", flat, weights, bias, out="scores", transB=1)
    steps = Preprocessing("image", (size, size), scale=[1 / 255])
    labels = [f"label {i}" for i in range(10)]
    return net.model(scores, info=ModelInfo("test-float", "image-classification", labels, steps, "Apache-2.0"))


def int8_model(batch: Dim = "N", size: int = 12, width: int = 8) -> Model:
    """image [N, 3, size, size] -> features, a float tensor: quantized convolutions around a residual."""
    net = Network(2)
    x = net.node("QuantizeLinear", net.input("image", (batch, 3, size, size)), quant=(0.03, 120))
    a = net.conv_q8(x, 3, width, 3)
    b = net.conv_q8(a, width, width, 3)
    c = net.node("QLinearAdd", a, b, quant=(0.06, 128))
    d = net.conv_q8(c, width, 2 * width, 1)
    return net.model(net.node("DequantizeLinear", d, out="features"))


def mixed_chain() -> Model:
    """x [32, 100] -> y: two native nodes, one in NumPy, and a native one that takes the first one's answer as well."""
    net = Network()
    x = net.input("x", (32, 100))
    a = net.node("Add", x, net.constant("ca", net.rng.standard_normal((32, 100)).astype(np.float32)))
    b = net.node("Mul", a, net.constant("cb", net.rng.standard_normal((32, 100)).astype(np.float32)))
    return net.model(net.node("Sub", a, net.node("Hardmax", b), out="y"))


def expected(model: Model, feeds: dict[str, Array]) -> dict[str, Array]:
    """The reference's answer."""
    sizes: dict[str, int] = {}
    for name, array in feeds.items():
        for dim, size in zip(model.graph.types[name].shape, array.shape, strict=True):
            if isinstance(dim, str):
                sizes[dim] = size
    return run_graph(infer_types(model.unpacked_graph(), sizes), feeds)


def image(batch: int = 1, size: int = 12, seed: int = 5) -> dict[str, Array]:
    """A feed for float_model and int8_model."""
    return {"image": np.random.default_rng(seed).standard_normal((batch, 3, size, size)).astype(np.float32)}
