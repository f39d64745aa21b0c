"""`edgert run` on a WAV file: a model of one signal hears it at its rate; others are sent to an app."""

from __future__ import annotations

import json
import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgert.cli.main import main
from edgert.format import Model, ModelInfo, write_model
from edgert.graph.ir import Graph, Node, TensorType


def negative(shape: tuple[int | str, ...], path: Path, dtype: str = "float32", state: bool = False) -> str:
    kind = TensorType(dtype, shape)
    graph = Graph("neg", ["x"], ["y"], [Node("Neg", ("x",), ("y",), name="neg")], {"x": kind, "y": kind})
    if state:
        graph.states = {"x": "y"}
    write_model(Model(graph, info=ModelInfo("neg")), path)
    return str(path)


@pytest.fixture
def sound(tmp_path: Path) -> str:
    path = tmp_path / "sound.wav"
    with wave.open(str(path), "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(8000)
        out.writeframes(np.full(400, 8192, "<i2").tobytes())
    return str(path)


def run(capsys: pytest.CaptureFixture[str], *words: Any) -> dict[str, Any]:
    assert main(["run", *map(str, words), "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)["results"][0]["outputs"]["y"]
    return found


@pytest.mark.parametrize("shape", [(1, "samples"), ("N", 500), (1, 500, 1)])
def test_a_signal(capsys: pytest.CaptureFixture[str], tmp_path: Path, sound: str, shape: tuple[int | str, ...]) -> None:
    out = run(capsys, negative(shape, tmp_path / "m.edge"), sound, "--rate", 8000)
    values = np.array(out["values"]).ravel()
    assert values[:400].tolist() == [-0.25] * 400 and not values[400:].any()
    assert len(values) == (500 if 500 in shape else 400)


def test_it_is_resampled(capsys: pytest.CaptureFixture[str], tmp_path: Path, sound: str) -> None:
    out = run(capsys, negative((1, "samples"), tmp_path / "m.edge"), sound, "--rate", 16000)
    assert out["shape"] == [1, 800]


@pytest.mark.parametrize(
    ("shape", "dtype", "state", "words", "match"),
    [
        ((1, "samples"), "float32", False, [], "--rate"),
        ((1, 100), "float32", False, ["--rate", "8000"], "at most 100 samples"),
        ((1, 3, 40), "float32", False, ["--rate", "8000"], "edgert.apps"),
        ((1, "samples"), "int32", False, ["--rate", "8000"], "edgert.apps"),
        ((1, 500), "float32", True, ["--rate", "8000"], "edgert.apps"),
    ],
)
def test_refused(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, sound: str, shape: tuple[int | str, ...], dtype: str,
    state: bool, words: list[str], match: str,
) -> None:  # fmt: skip
    assert main(["run", negative(shape, tmp_path / "m.edge", dtype, state), sound, *words]) == 2
    assert match in capsys.readouterr().err


def test_a_model_with_a_state_is_run_measured_and_planned(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    kind = TensorType("float32", (1, 4))
    nodes = [Node("Add", ("x", "h"), ("y",), name="add"), Node("Neg", ("y",), ("z",), name="neg")]
    graph = Graph("sum", ["x", "h"], ["z", "y"], nodes, dict.fromkeys(("x", "h", "y", "z"), kind))
    graph.states = {"h": "y"}
    path = str(tmp_path / "sum.edge")
    write_model(Model(graph, info=ModelInfo("sum")), path)
    np.save(tmp_path / "x.npy", np.ones((1, 4), np.float32))
    assert main(["run", path, str(tmp_path / "x.npy")]) == 0
    assert main(["bench", path, "--threads", "1", "--runs", "2"]) == 0
    assert main(["inspect", path, "--plan"]) == 0
    out = capsys.readouterr().out
    assert "x.npy: z float32 [1, 4] min -1 mean -1 max -1" in out and "median" in out
