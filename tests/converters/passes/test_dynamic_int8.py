"""What ONNX Runtime's dynamic quantization writes becomes float products whose weights stay int8 in the file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgert.converters.convert import convert
from edgert.converters.int8_weights import grid_of, has_int8_weights
from edgert.converters.onnx.importer import import_onnx
from edgert.converters.passes.fold_constants import fold_dequantize
from edgert.converters.passes.recognise_dynamic_int8 import recognise_dynamic_int8
from edgert.converters.report import count_operators
from edgert.format import read_model
from edgert.graph.execute import run_graph
from edgert.runtime.session import load

quantization = pytest.importorskip("onnxruntime.quantization")


@pytest.fixture
def network(net: Any) -> tuple[Any, Path]:
    """A matrix product of three axes with a bias and Relu, and one of two axes: (net, path)."""
    net.shape = ("N", 5, 64)
    w = net.const(net.rng.standard_normal((64, 96)) / 8)
    x = net.op("Relu", net.op("Add", net.op("MatMul", "x", w), net.const(net.rng.standard_normal(96))))
    x = net.op("Reshape", x, net.const([-1, 480], np.int64))
    w = net.const(net.rng.standard_normal((32, 480)) / 20)
    return net, net.save(net.op("Gemm", x, w, net.const(net.rng.standard_normal(32)), transB=1))


def quantized(path: Path, **options: Any) -> Path:
    """`path` dynamically quantized by ONNX Runtime."""
    out = path.with_name("dynamic.onnx")
    quantization.quantize_dynamic(path, out, **options)
    return out


@pytest.mark.parametrize("per_channel", [False, True])
def test_dynamic_products_become_float(network: Any, per_channel: bool) -> None:
    net, path = network
    feeds, exact = net.feeds(2), import_onnx(path)
    graph = import_onnx(quantized(path, per_channel=per_channel))
    assert has_int8_weights(graph) and not has_int8_weights(exact)
    real = fold_dequantize(recognise_dynamic_int8(graph))
    assert count_operators(real) == {"MatMul": 2, "Add": 2, "Relu": 1, "Reshape": 1}
    (name,) = exact.outputs
    wanted, theirs, mine = (run_graph(g, feeds)[name] for g in (exact, graph, real))
    assert np.abs(mine - wanted).max() < np.abs(theirs - wanted).max(), "activations are not rounded any more"


@pytest.mark.parametrize("per_channel", [False, True])
def test_a_file_keeps_int8(network: Any, per_channel: bool, tmp_path: Path) -> None:
    net, path = network
    result = convert(quantized(path, per_channel=per_channel), tmp_path / "m.edge")
    weights = [tensor for tensor in result.model.tensors.values() if tensor.encoding == "q8g"]
    assert sorted(tensor.shape for tensor in weights) == [(32, 480), (96, 64)]
    assert "2 weights stay int8" in result.report.notes[0]
    feeds, exact = net.feeds(2), import_onnx(path)
    wanted = run_graph(exact, feeds)[exact.outputs[0]]
    with load(tmp_path / "m.edge") as session:
        found = session.run(feeds)[exact.outputs[0]]
    assert np.abs(found - wanted).max() < 0.03 * np.abs(wanted).max()


def test_convolutions_too(net: Any) -> None:
    path = net.save(net.conv("x", 8, 6, 3, bias=True))
    graph = import_onnx(quantized(path, weight_type=quantization.QuantType.QUInt8))
    real = fold_dequantize(recognise_dynamic_int8(graph))
    assert count_operators(real)["Conv"] == 1 and "ConvInteger" not in count_operators(real)
    feeds = net.feeds(1)
    wanted = run_graph(import_onnx(path), feeds)[graph.outputs[0]]
    found = run_graph(real, feeds)[graph.outputs[0]]
    assert np.abs(found - wanted).max() < 0.02 * np.abs(wanted).max()


def test_weight_only_by_blocks(net: Any, tmp_path: Path) -> None:
    """A scale for each 32 rows of each column, applied by plain arithmetic."""
    net.shape = ("N", 128)
    numbers = net.rng.integers(-127, 128, (4, 32, 64))
    scale = net.rng.uniform(0.001, 0.01, (4, 1, 64)).astype(np.float16).astype(np.float32)
    real = net.op("Mul", net.op("Cast", net.const(numbers, np.int8), to=1), net.const(scale))
    path = net.save(net.op("MatMul", "x", net.op("Reshape", real, net.const([128, 64], np.int64))))
    convert(path, tmp_path / "m.edge")
    (weights,) = (t for t in read_model(tmp_path / "m.edge").tensors.values() if t.shape == (64, 128))
    assert weights.encoding == "q8g"
    np.testing.assert_array_equal(weights.dense(), (numbers * scale).reshape(128, 64).T.astype(np.float32))


def test_grids() -> None:
    rng = np.random.default_rng(0)
    numbers = rng.integers(-90, 91, (20, 64)).astype(np.int8)
    scale = rng.uniform(1e-3, 1, (20, 1)).astype(np.float32)
    found = grid_of(numbers * scale)
    assert found is not None
    np.testing.assert_allclose(found[0] * found[1], numbers * scale, rtol=1e-6)
    assert found[1].shape == (20, 1)
    groups = rng.uniform(1e-3, 1, (20, 2)).astype(np.float32)
    found = grid_of(numbers * np.repeat(groups, 32, 1))
    assert found is not None and found[1].shape == (20, 2)
    assert grid_of(rng.standard_normal((20, 64)).astype(np.float32)) is None
    assert grid_of(np.full((2, 3), np.nan, np.float32)) is None
    zeros = grid_of(np.zeros((2, 3), np.float32))
    assert zeros is not None and not zeros[0].any()


@pytest.mark.parametrize("kept", [1, 2])
def test_quantizations_without_all_their_outputs_stay(net: Any, kept: int) -> None:
    """A damaged DynamicQuantizeLinear gives fewer than three tensors: nothing is recognised, nothing breaks."""
    path = net.save(net.op("MatMul", "x", net.const(net.rng.standard_normal((8, 4)))))
    graph = import_onnx(quantized(path))
    (node,) = (node for node in graph.nodes if node.op == "DynamicQuantizeLinear")
    node.outputs = node.outputs[:kept]
    assert count_operators(recognise_dynamic_int8(graph))["MatMulInteger"] == 1
