"""PRelu and LeakyRelu go into the convolution before them, once weights are settled."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

from edgert.converters.onnx.exporter import export_onnx
from edgert.converters.passes.fuse_prelu import fuse_prelu
from edgert.converters.report import count_operators
from edgert.graph.execute import run_graph
from edgert.graph.infer import infer_types
from edgert.graph.ir import Graph


@pytest.fixture
def settled(optimized: Any) -> Any:
    """settled(net, *outputs): the graph after the pass, which computes the very same."""

    def build(net: Any, *outputs: str) -> Graph:
        graph = infer_types(optimized(net, *outputs))
        fused = infer_types(fuse_prelu(graph))
        feeds = net.feeds()
        before, after = run_graph(graph, feeds), run_graph(fused, feeds)
        for name in outputs:
            np.testing.assert_array_equal(before[name], after[name])
        return fused

    return build


@pytest.mark.parametrize("shape", [(8, 1, 1), (1, 8, 1, 1), (1, 1, 1)])
@pytest.mark.parametrize("bias", [True, False])
def test_prelu(net: Any, settled: Any, shape: tuple[int, ...], bias: bool) -> None:
    y = net.op("PRelu", net.conv("x", 8, 8, 3, bias=bias), net.const(net.rng.standard_normal(shape)))
    graph = settled(net, y)
    assert count_operators(graph) == {"Conv": 1}
    node = graph.nodes[0]
    assert (node.attrs["activation"], len(node.inputs), node.inputs[2] != "") == ("PRelu", 4, bias)
    assert graph.constants[node.inputs[-1]].shape == (8,)


def test_after_a_residual(net: Any, settled: Any) -> None:
    other = net.op("Sigmoid", "x")
    y = net.op("Add", other, net.conv("x", 8, 8))
    graph = settled(net, net.op("PRelu", y, net.const(net.rng.standard_normal((8, 1, 1)))))
    assert count_operators(graph) == {"Sigmoid": 1, "Conv": 1}
    assert graph.nodes[1].inputs[2:4] == ("", graph.nodes[0].outputs[0])


def test_leaky_relu(net: Any, settled: Any) -> None:
    graph = settled(net, net.op("LeakyRelu", net.conv("x", 8, 12), alpha=0.25))
    np.testing.assert_array_equal(graph.constants[graph.nodes[0].inputs[-1]], np.full(12, 0.25, np.float32))


def test_what_stays(net: Any, settled: Any) -> None:
    """Slopes that vary over pixels, a depthwise convolution, one with an activation, one that something else reads."""
    slope = net.const(net.rng.standard_normal((8, 1, 1)))
    pixels = net.op("PRelu", net.conv("x", 8, 8), net.const(net.rng.standard_normal((8, 10, 10))))
    depthwise = net.op("PRelu", net.conv("x", 8, 8, 3, group=8), slope)
    relu = net.op("PRelu", net.op("Relu", net.conv("x", 8, 8)), slope)
    read = net.conv("x", 8, 8)
    graph = settled(net, pixels, depthwise, relu, net.op("PRelu", read, slope), read)
    assert count_operators(graph) == {"Conv": 4, "PRelu": 4}


def test_exported(net: Any, settled: Any, tmp_path: Path) -> None:
    y = net.op("Add", net.op("Sigmoid", "x"), net.conv("x", 8, 8))
    graph = settled(net, net.op("PRelu", y, net.const(net.rng.standard_normal((8, 1, 1)))))
    path = tmp_path / "out.onnx"
    export_onnx(graph, path)
    assert [node.op_type for node in onnx.load(path).graph.node] == ["Sigmoid", "Conv", "Add", "PRelu"]
    feeds = net.feeds()
    found = onnxruntime.InferenceSession(str(path)).run(None, feeds)[0]
    np.testing.assert_allclose(found, run_graph(graph, feeds)[graph.outputs[0]], rtol=1e-5, atol=1e-5)
