"""A converted file agrees with its source; an error planted in it is found at the node where it is."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgert.cli.main import main
from edgert.converters.convert import convert
from edgert.converters.pack import pack_model
from edgert.converters.verify import source
from edgert.converters.verify.compare import Difference, difference_of, random_feeds, verify
from edgert.errors import EdgertError, InputError
from edgert.format import read_model, write_model
from edgert.graph.ir import Graph, Node, Quantization, TensorType


@pytest.fixture
def model(net: Any, tmp_path: Path) -> tuple[Path, Path]:
    """(an ONNX network of three convolutions, the .edge file made of it)."""
    net.shape = ("N", 8, 10, 10)
    x = net.bn(net.conv("x", 8, 8, 3), 8)
    x = net.op("Relu", x)
    y = net.op("Sigmoid", net.conv(x, 8, 6, 1, bias=True))
    z = net.op("GlobalAveragePool", net.op("Tanh", net.conv(y, 6, 4, 3)))
    src, out = net.save(y, z), tmp_path / "model.edge"
    convert(src, out)
    return src, out


def test_a_good_file_agrees(model: tuple[Path, Path]) -> None:
    found = verify(*model, shapes={"N": 2}, seed=1)
    assert found.agrees and found.first is None and not found.notes
    assert found.runtime.startswith("onnxruntime")
    assert [output.steps for output in found.outputs] == [None, None]
    assert max(output.relative for output in found.outputs) < 1e-5
    assert len(found.compared) >= 2, "tensors inside"
    assert found.fused, "what the batch norm was fused into"


def damage(path: Path, tensor: str, factor: float) -> str:
    """Multiplies one weight of the node that makes `tensor`. Returns the node's name."""
    stored = read_model(path)
    graph = stored.unpacked_graph()
    node = graph.producers()[tensor]
    weight = np.array(graph.constants[node.inputs[1]])
    weight.reshape(-1)[0] *= factor
    graph.constants[node.inputs[1]] = weight
    write_model(pack_model(graph, stored.info, {}, stored.source), path)
    return node.name


@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_planted_error_is_found_at_its_node(model: tuple[Path, Path], place: int) -> None:
    graph = read_model(model[1]).graph
    tensor = [node.outputs[0] for node in graph.nodes if node.op == "Conv"][place]
    name = damage(model[1], tensor, 5.0)
    found = verify(*model, shapes={"N": 1})
    assert not found.agrees
    assert found.first is not None and found.first.pop("difference").startswith("absolute ")
    assert found.first == {"name": name, "operator": "Conv", "tensor": tensor}


def test_tensors_that_lost_channels_are_no_difference(net: Any, tmp_path: Path) -> None:
    """A channel that nobody reads is gone from the file: its tensor has another shape there, and that is said."""
    net.shape = ("N", 8, 10, 10)
    hidden = net.op("Relu", net.conv("x", 8, 12, 1, bias=True))
    weight = net.rng.standard_normal((4, 12, 3, 3)) / 8
    weight[:, :5] = 0
    src, out = net.save(net.op("Conv", hidden, net.const(weight))), tmp_path / "model.edge"
    convert(src, out)
    found = verify(src, out, shapes={"N": 1})
    assert found.agrees and found.first is None and len(found.changed) == 1
    assert all(not difference.fault for difference in found.compared)


def test_where_rounding_grew_is_not_called_an_error(
    model: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    src, out = map(str, model)
    damage(model[1], read_model(model[1]).graph.nodes[0].outputs[0], 1.001)
    found = verify(*model, shapes={"N": 1})
    inside = max(difference.relative for difference in found.compared)
    last = max(output.relative for output in found.outputs)
    assert last < inside
    assert main(["verify", src, out, "--tolerance", str((inside + last) / 2)]) == 0
    assert "inside, rounding is beyond that first at" in capsys.readouterr().out


def test_command(model: tuple[Path, Path], capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    src, out = map(str, model)
    assert main(["verify", src, out]) == 0
    captured = capsys.readouterr()
    assert captured.out.count("output ") == 2 and "outputs agree" in captured.err
    np.savez(tmp_path / "x.npz", x=np.ones((3, 8, 10, 10), np.float32))
    assert main(["verify", src, out, "--input", str(tmp_path / "x.npz"), "--json"]) == 0
    assert '"agrees": true' in capsys.readouterr().out
    damage(model[1], read_model(model[1]).graph.nodes[0].outputs[0], 9.0)
    assert main(["verify", src, out, "-v"]) == 1
    captured = capsys.readouterr()
    assert "first node that differs: " in captured.out and "<- differs" in captured.out
    assert main(["verify", src, out, "--tolerance", "1000"]) == 0


def test_a_file_of_another_model_is_refused(model: tuple[Path, Path], net: Any) -> None:
    net.nodes.clear()
    other = net.save(net.op("Neg", "x"), net.op("Abs", "x"))
    with pytest.raises(InputError, match="expected a file made of"):
        verify(other, model[1], shapes={"N": 1})


def test_a_changed_source_is_noted(model: tuple[Path, Path], tmp_path: Path) -> None:
    import onnx

    changed = onnx.load(model[0])
    changed.doc_string = "newer"
    onnx.save(changed, model[0])
    assert "checksum" in verify(*model, shapes={"N": 1}).notes[0]


@pytest.mark.parametrize(("suffix", "package"), [(".onnx", "onnxruntime"), (".tflite", "ai-edge-litert")])
def test_a_missing_runtime_is_named(suffix: str, package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("onnxruntime", "ai_edge_litert", "tflite_runtime"):
        monkeypatch.setitem(sys.modules, module, None)
    path = tmp_path / f"model{suffix}"
    path.write_bytes(b"")
    with pytest.raises(EdgertError, match=f"pip install .*{package}"):
        source.open_source(path)


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"expected an \.onnx or \.tflite model"):
        source.open_source(tmp_path / "model.gguf")
    with pytest.raises(InputError, match="no such file"):
        source.open_source(tmp_path / "model.onnx")


def graph_with(name: str, kind: TensorType) -> Graph:
    return Graph("g", types={name: kind})


def test_differences_in_steps() -> None:
    quant = Quantization(np.float32(0.5), np.int32(128))
    graph = graph_with("t/nchw", TensorType("uint8", (1, 2, 1, 3), quant))
    wanted = np.arange(6, dtype=np.int8).reshape(1, 1, 3, 2)
    found = (wanted.transpose(0, 3, 1, 2).astype(np.int16) + 128).astype(np.uint8)
    assert difference_of(graph, "t/nchw", "t", found, wanted) == Difference("t/nchw", steps=0)
    found[0, 0, 0, 0] += 2
    assert difference_of(graph, "t/nchw", "t", found, wanted) == Difference("t/nchw", 1.0, 2 / 5, 2)
    real = (wanted * 0.5).transpose(0, 3, 1, 2).astype(np.float32)
    assert difference_of(graph, "t/nchw", "t/nchw", found, real) == Difference("t/nchw", 1.0, 2 / 5)


def test_differences_of_numbers_that_are_none() -> None:
    graph = graph_with("t", TensorType("float32", (3,)))
    odd = np.array([np.nan, np.inf, 2], np.float32)
    assert difference_of(graph, "t", "t", odd, odd.copy()) == Difference("t")
    other = np.array([1, np.inf, 2], np.float32)
    assert difference_of(graph, "t", "t", other, odd).beyond(1e6, 0)
    assert difference_of(graph, "t", "t", odd[:2], odd).fault == "expected shape [3], found [2]"


def test_random_inputs_fit_what_reads_them() -> None:
    graph = Graph("g", ["ids", "mask", "x", "q"], ["y"])
    graph.types = {
        "ids": TensorType("int64", ("N", 100)),
        "mask": TensorType("int32", (1, 50)),
        "x": TensorType("float16", (2, 2)),
        "q": TensorType("int8", (400,), Quantization(np.float32(1), np.int32(0))),
        "table": TensorType("float32", (7, 3)),
    }
    graph.nodes = [Node("Gather", ("table", "ids"), ("y",), {"axis": 0})]
    feeds = random_feeds(graph, {"N": 2}, np.random.default_rng(0))
    assert feeds["ids"].shape == (2, 100) and feeds["ids"].max() == 6 and feeds["mask"].max() == 1
    assert feeds["x"].dtype == np.float16 and feeds["q"].min() < -100 and feeds["q"].max() > 100
    with pytest.raises(InputError, match="dimension 'N'"):
        random_feeds(graph, {}, np.random.default_rng(0))
