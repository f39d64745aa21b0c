"""Recurrent inputs and outputs of ONNX networks become states when the caller says so."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import edgert
from edgert.cli.main import main
from edgert.converters.convert import convert
from edgert.converters.states import parse_states
from edgert.errors import ConversionError


@pytest.fixture
def cell(tmp_path: Path) -> Path:
    """hn = tanh(x + h), y = -hn, all float [N, 2]; k is int64 [N, 2]."""
    floats = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["N", 2]) for n in ("x", "h", "y", "hn")]
    k, m = (helper.make_tensor_value_info(n, TensorProto.INT64, ["N", 2]) for n in ("k", "m"))
    nodes = [
        helper.make_node("Add", ["x", "h"], ["sum"]),
        helper.make_node("Tanh", ["sum"], ["hn"]),
        helper.make_node("Neg", ["hn"], ["y"]),
        helper.make_node("Neg", ["k"], ["m"]),
    ]
    graph = helper.make_graph(nodes, "cell", [*floats[:2], k], [*floats[2:], m])
    path = tmp_path / "cell.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


X, K = np.array([[1, -1]], np.float32), np.array([[1, 2]])


def test_steps_go_on(cell: Path, tmp_path: Path) -> None:
    out = tmp_path / "cell.edge"
    convert(cell, out, states={"h": "hn"})
    with edgert.load(out, threads=1) as session:
        assert [value.name for value in session.get_inputs()] == ["x", "k"]
        state, h = session.state(), np.zeros((1, 2), np.float32)
        for _ in range(3):
            h = np.tanh(X + h)
            assert state.run(["y"], {"x": X, "k": K})[0] == pytest.approx(-h, abs=1e-6)


def test_the_command(cell: Path, tmp_path: Path) -> None:
    out = tmp_path / "cell.edge"
    assert main(["convert", str(cell), "-o", str(out), "--state", "h=hn"]) == 0
    with edgert.load(out, threads=1, shapes={"N": 1}) as session:
        assert session.state().tensors["h"].shape == (1, 2)
        assert "hn" not in session.run({"x": X, "k": K})


@pytest.mark.parametrize(
    ("states", "match"),
    [
        ({"q": "hn"}, "an input among x, h, k, found 'q'"),
        ({"h": "q"}, "an output among y, hn, m, found 'q'"),
        ({"h": "m"}, r"equal types, found float32\[N,2\] and int64\[N,2\]"),
        ({"h": "hn", "x": "hn"}, "no state yet"),
    ],
)
def test_what_cannot_be_a_state(cell: Path, tmp_path: Path, states: dict[str, str], match: str) -> None:
    with pytest.raises(ConversionError, match=match):
        convert(cell, tmp_path / "x.edge", states=states)
    assert not (tmp_path / "x.edge").exists()


def test_states_are_not_calibrated(cell: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "data.npz", x=X, k=K)
    with pytest.raises(ConversionError, match="the runs before"):
        convert(cell, tmp_path / "x.edge", states={"h": "hn"}, weights="int8", calib=tmp_path / "data.npz")


@pytest.mark.parametrize("words", [("h",), ("=hn",), ("h=",), ("h=a", "h=b")])
def test_malformed_pairs(words: tuple[str, ...]) -> None:
    with pytest.raises(ConversionError):
        parse_states(words)
    assert parse_states(("h=hn", "c=cn")) == {"h": "hn", "c": "cn"}
