"""A TFLite model as a graph: names of its ends, types, what it says of itself, and refusals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from flat_model import FlatModel

import edgert
from edgert.converters.convert import convert
from edgert.converters.tflite.importer import check_tflite, import_tflite
from edgert.converters.tflite.info import preprocessing
from edgert.converters.tflite.metadata import TensorMetadata
from edgert.errors import UnsupportedError
from edgert.graph.execute import run_graph
from edgert.graph.ir import Quantization, TensorType


def signature(inputs: dict[str, int], outputs: dict[str, int]) -> Any:
    maps = [[schema.TensorMapT(name=n, tensorIndex=i) for n, i in names.items()] for names in (inputs, outputs)]
    return schema.SignatureDefT(inputs=maps[0], outputs=maps[1], signatureKey="serving_default", subgraphIndex=0)


def test_ends_have_the_names_of_the_signature(tmp_path: Path) -> None:
    m = FlatModel()
    x = m.input("serving_default_x:0", (2,))
    y = m.op("RELU", [x], ("StatefulPartitionedCall:0", (2,), "float32"))
    m.output(y)
    m.signatures = [signature({"features": x}, {"scores": y})]
    graph = import_tflite(m.save(tmp_path / "m.tflite"))
    assert (graph.inputs, graph.outputs) == (["features"], ["scores"])
    np.testing.assert_array_equal(run_graph(graph, {"features": np.float32([-1, 2])})["scores"], [0, 2])


def test_names_that_inner_tensors_have_too_are_kept_apart(tmp_path: Path) -> None:
    m = FlatModel()
    x = m.input("x", (2,))
    inner = m.op("RELU", [x], ("y", (2,), "float32"))
    y = m.op("NEG", [inner], ("z", (2,), "float32"))
    m.output(y)
    m.signatures = [signature({"x": x}, {"y": y})]
    graph = import_tflite(m.save(tmp_path / "m.tflite"))
    np.testing.assert_array_equal(run_graph(graph, {"x": np.float32([-1, 2])})["y"], [0, -2])


def test_outputs_that_no_operator_makes(tmp_path: Path) -> None:
    """An input, a constant, the same tensor twice, and what folds away are outputs as good as others."""
    m = FlatModel()
    x = m.input("x", (2,))
    c = m.constant("c", np.float32([5, 6]))
    half = m.constant("half", np.float16([0.5]))
    w = m.op("DEQUANTIZE", [half], ("w", (1,), "float32"))
    y = m.op("RELU", [x], ("y", (2,), "float32"))
    m.output(x, c, w, y, y)
    graph = import_tflite(m.save(tmp_path / "m.tflite"))
    values = run_graph(graph, {"x": np.float32([-1, 2])})
    found = [values[name].tolist() for name in graph.outputs]
    assert found == [[-1, 2], [5, 6], [0.5], [0, 2], [0, 2]] and len(set(graph.outputs)) == 5


def test_int8_ends_stay_int8(tmp_path: Path) -> None:
    m, quant = FlatModel(), {"scale": 0.5, "zero_point": -3}
    x = m.input("x", (1, 3), "int8", **quant)
    m.output(m.op("RESHAPE", [x], ("y", (3,), "int8", quant), new_shape=[3]))
    graph = import_tflite(m.save(tmp_path / "m.tflite"))
    for name in ("x", "y"):
        kind = graph.types[name]
        assert kind.dtype == "int8" and kind.quant == Quantization(np.float32(0.5), np.int32(-3))
    values = np.array([[-128, 0, 127]], np.int8)
    np.testing.assert_array_equal(run_graph(graph, {"x": values})["y"], values[0])


def test_free_sizes_are_names(tmp_path: Path) -> None:
    m = FlatModel()
    x = m.input("x", (1, 1, 4), signature=(-1, -1, 4))
    m.output(m.op("SUM", [x, m.constant("axis", np.int32([1]))], ("y", (1, 4), "float32")))
    graph = import_tflite(m.save(tmp_path / "m.tflite"))
    assert graph.types["x"].shape == ("N", "x_1", 4) and graph.types["y"].shape == ("N", 4)


def test_all_problems_come_at_once(tmp_path: Path) -> None:
    m = FlatModel()
    x = m.input("x", (2, 3))
    y = m.op("Sorcery", [x], ("y", (2, 3), "float32"), custom=b"")
    z = m.op("TRANSPOSE", [y], ("z", (3, 2), "float32"))
    m.output(z)
    path = m.save(tmp_path / "m.tflite")
    problems = check_tflite(path)
    assert [problem.op for problem in problems] == ["Sorcery", "TRANSPOSE"]
    assert "0: y" in str(problems[0]) and "custom operator" in str(problems[0])
    with pytest.raises(UnsupportedError, match="2 nodes cannot be converted"):
        import_tflite(path)


def test_shapes_that_do_not_fit_are_found_by_check(tmp_path: Path) -> None:
    m = FlatModel()
    x = m.input("x", (2, 3))
    m.output(m.op("ADD", [x, m.constant("c", np.zeros((4,), np.float32))], ("y", (2, 3), "float32")))
    (problem,) = check_tflite(m.save(tmp_path / "m.tflite"))
    assert problem.op == "Add"


def test_inputs_of_types_that_no_graph_has_are_refused(tmp_path: Path) -> None:
    m = FlatModel()
    m.input("words", (2,), "string")
    m.output(m.op("NEG", [m.input("x", (2,))], ("y", (2,), "float32")))
    (problem,) = check_tflite(m.save(tmp_path / "m.tflite"))
    assert (problem.node, problem.op) == ("words", "input") and "string" in problem.advice


def test_constants_made_of_sizes_alone_have_a_bound(tmp_path: Path) -> None:
    m = FlatModel()
    m.output(m.op("MATRIX_DIAG", [m.input("x", (1 << 20,))], ("y", (1 << 20, 1 << 20), "float32")))
    (problem,) = check_tflite(m.save(tmp_path / "m.tflite"))
    assert problem.what == "diagonal"


def test_report_counts_operators(tmp_path: Path) -> None:
    m = FlatModel()
    y = m.op("RELU", [m.input("x", (2,))], ("y", (2,), "float32"))
    m.output(m.op("RELU", [y], ("z", (2,), "float32")))
    report: dict[str, Any] = {}
    import_tflite(m.save(tmp_path / "m.tflite"), report=report)
    assert report["format"] == "tflite" and report["operators"] == {"RELU": 2}


def test_convert_makes_a_file_that_runs(tmp_path: Path) -> None:
    m, rng = FlatModel(), np.random.default_rng(1)
    w = m.constant("w", rng.standard_normal((4, 3, 3, 3)).astype(np.float32))
    y = m.op("CONV_2D", [m.input("x", (1, 6, 6, 3)), w, -1], ("y", (1, 6, 6, 4), "float32"), padding="SAME",
             stride_w=1, stride_h=1, dilation_w_factor=1, dilation_h_factor=1)  # fmt: skip
    m.output(m.op("MEAN", [y, m.constant("axes", np.int32([1, 2]))], ("z", (1, 4), "float32")))
    path = m.save(tmp_path / "m.tflite")
    convert(path, tmp_path / "m.edge")
    x = rng.standard_normal((1, 6, 6, 3)).astype(np.float32)
    with edgert.load(tmp_path / "m.edge", threads=1) as session:
        got = session.run({"x": x})["z"]
    np.testing.assert_allclose(got, run_graph(import_tflite(path), {"x": x})["z"], rtol=1e-5, atol=1e-5)


IMAGE = TensorType("float32", (1, 4, 6, 3))
QUANTIZED = TensorType("int8", (1, 4, 6, 1), Quantization(np.float32(0.5), np.int32(-1)))


def test_normalisation_of_images() -> None:
    steps = preprocessing("x", IMAGE, TensorMetadata(mean=(127.5,), std=(127.5,)))
    assert steps is not None and (steps.crop, steps.layout, steps.channels) == ((4, 6), "NHWC", "RGB")
    assert steps.mean == [127.5] and steps.scale == [1 / 127.5]
    assert preprocessing("x", IMAGE, TensorMetadata()) is None  # who knows what it was trained with
    assert preprocessing("x", IMAGE, TensorMetadata(mean=(1.0, 2.0), std=(1.0, 2.0))) is None
    assert preprocessing("x", TensorType("float32", (1, 10)), TensorMetadata(mean=(0.0,), std=(1.0,))) is None


def test_normalisation_of_quantized_images() -> None:
    """Pixel 100 is (100 - 20) / 40 = 2 as a real number, stored as 2 / 0.5 - 1 = 3."""
    steps = preprocessing("x", QUANTIZED, TensorMetadata(mean=(20.0,), std=(40.0,)))
    assert steps is not None and (steps.channels, steps.dtype) == ("L", "int8")
    assert (100 - steps.mean[0]) * steps.scale[0] == pytest.approx(3)
    pixels = preprocessing("x", TensorType("uint8", (1, 4, 6, 3)), TensorMetadata())
    assert pixels is not None and (pixels.mean, pixels.scale) == ([0.0], [1.0])


def test_the_report_counts_nodes_of_the_source(tmp_path: Path) -> None:
    """As many as the file has, not what the importer wrote for them: a quantized Relu chain becomes fewer nodes."""
    m = FlatModel()
    y = m.op("NEG", [m.op("NEG", [m.input("x", (1, 3))], ("n", (1, 3)))], ("m", (1, 3)))
    m.output(m.op("RESHAPE", [y, m.constant("s", np.int32([3, 1]))], ("y", (3, 1))))
    result = convert(m.save(tmp_path / "m.tflite"), tmp_path / "m.edge")
    after = len(result.model.graph.nodes)
    assert result.report.nodes_before == 3 and sum(result.report.operators.values()) == after
    assert f"nodes: 3 in the source -> {after}" in result.report.table()
