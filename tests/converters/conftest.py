"""Small ONNX networks, their import and what ONNX Runtime makes of them: for passes and quantization."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgert.graph.ir import Graph

onnx = pytest.importorskip("onnx")
ort = pytest.importorskip("onnxruntime")


@dataclass
class Net:
    """Builds an ONNX model node by node; every method returns the name of the tensor it made."""

    folder: Path
    rng: np.random.Generator
    shape: tuple[Any, ...] = (1, 8, 10, 10)
    nodes: list[Any] = field(default_factory=list)
    constants: list[Any] = field(default_factory=list)
    opset: int = 17

    def const(self, value: Any, dtype: Any = np.float32) -> str:
        name = f"k{len(self.constants)}"
        self.constants.append(onnx.numpy_helper.from_array(np.asarray(value, dtype), name))
        return name

    def op(self, op: str, *inputs: str, outputs: int = 1, **attrs: Any) -> str:
        made = [f"t{len(self.nodes)}{'abcd'[i] if i else ''}" for i in range(outputs)]
        self.nodes.append(onnx.helper.make_node(op, inputs, made, f"n{len(self.nodes)}", **attrs))
        return made[0]

    def conv(self, x: str, c: int, n: int, k: int = 1, bias: bool = False, **attrs: Any) -> str:
        group = attrs.get("group", 1)
        w = self.rng.standard_normal((n, c // group, k, k)) / np.sqrt(c // group * k * k)
        extra = [self.const(self.rng.standard_normal(n))] if bias else []
        attrs = {"kernel_shape": [k, k], "pads": [k // 2] * 4, **attrs}
        if "auto_pad" in attrs:
            del attrs["pads"]
        return self.op("Conv", x, self.const(w), *extra, **attrs)

    def bn(self, x: str, c: int) -> str:
        gain, mean = self.rng.uniform(0.5, 1.5, c), self.rng.standard_normal(c) * 0.3
        shift, variance = self.rng.standard_normal(c) * 0.3, self.rng.uniform(0.5, 2, c)
        return self.op("BatchNormalization", x, *(self.const(v) for v in (gain, shift, mean, variance)))

    def relu6(self, x: str) -> str:
        return self.op("Clip", x, self.const(0.0), self.const(6.0))

    def save(self, *outputs: str) -> Path:
        def info(name: str, shape: Any) -> Any:
            return onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)

        graph = onnx.helper.make_graph(
            self.nodes, "net", [info("x", self.shape)], [info(name, None) for name in outputs], self.constants
        )
        model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", self.opset)])
        model.ir_version = 8
        path = self.folder / "net.onnx"
        onnx.save(onnx.shape_inference.infer_shapes(model), path)
        return path

    def feeds(self, batch: int = 1) -> dict[str, np.ndarray]:
        shape = [d if isinstance(d, int) else batch for d in self.shape]
        return {"x": self.rng.standard_normal(shape).astype(np.float32)}


@pytest.fixture
def net(tmp_path: Path, rng: np.random.Generator) -> Net:
    return Net(tmp_path, rng)


def run_onnxruntime(path: Path, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return list(session.run(None, feeds))


@pytest.fixture
def optimized() -> Callable[..., Graph]:
    """optimized(net, *outputs): the optimized graph, checked against ONNX Runtime on random inputs."""
    from edgert.converters.onnx.importer import import_onnx
    from edgert.converters.passes.pipeline import optimize
    from edgert.graph.execute import run_graph
    from edgert.graph.infer import infer_types

    def build(net: Net, *outputs: str, tolerance: float = 1e-5) -> Graph:
        path = net.save(*outputs)
        graph = optimize(infer_types(optimize(import_onnx(path))))
        infer_types(graph)
        for batch in (1, 2) if "N" in net.shape else (1,):
            feeds = net.feeds(batch)
            found = run_graph(graph, feeds)
            for name, wanted in zip(outputs, run_onnxruntime(path, feeds), strict=True):
                assert found[name].shape == wanted.shape
                np.testing.assert_allclose(found[name], wanted, rtol=tolerance, atol=tolerance * np.abs(wanted).max())
        return graph

    return build


@pytest.fixture
def mobile(net: Net) -> tuple[Net, str]:
    """(net, output): a small MobileNetV2 with residual blocks, on [N, 3, 24, 24], to 10 classes."""
    net.shape = ("N", 3, 24, 24)

    def block(x: str, c: int, n: int, stride: int) -> str:
        y = net.relu6(net.bn(net.conv(x, c, 4 * c), 4 * c))
        y = net.relu6(net.bn(net.conv(y, 4 * c, 4 * c, 3, group=4 * c, strides=[stride, stride]), 4 * c))
        y = net.bn(net.conv(y, 4 * c, n), n)
        return net.op("Add", x, y) if stride == 1 and c == n else y

    x = net.relu6(net.bn(net.conv("x", 3, 8, 3, strides=[2, 2]), 8))
    x = block(block(block(x, 8, 8, 1), 8, 12, 2), 12, 12, 1)
    x = net.op("Flatten", net.op("GlobalAveragePool", net.relu6(net.bn(net.conv(x, 12, 32), 32))))
    weight = net.const(net.rng.standard_normal((10, 32)) / 5)
    return net, net.op("Gemm", x, weight, net.const(net.rng.standard_normal(10)), transB=1)
