"""`edgert inspect --plan --ram`: what streaming is predicted to cost, of language models and of others, and when none
is needed."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "llm"))
import small_decoder

from edgert.cli.main import main
from edgert.format import Model, ModelInfo, StoredTensor, write_model
from edgert.graph.ir import Graph, Node, TensorType
from edgert.stream import probe

LAYERS, WIDTH = 6, 256


@pytest.fixture(autouse=True)
def quickly_measured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(probe, "CELL_SECONDS", 0.0)
    monkeypatch.setattr(probe, "SCRATCH_BYTES", 8 << 20)
    monkeypatch.setattr(probe, "storage_path", lambda path: tmp_path / "storage.json")


@pytest.fixture(scope="module")
def language(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("inspect") / "language.edge"
    write_model(small_decoder.tiny_decoder("q4m", width=256, inner=512, vocabulary=5000, layers=4), path)
    return path


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Products one after the other, 256 KB of weights each."""
    path = tmp_path_factory.mktemp("inspect") / "network.edge"
    graph = Graph("network", inputs=["x"], types={"x": TensorType("float32", (1, WIDTH))})
    tensors, last = {}, "x"
    for i in range(2 * LAYERS):
        rows, columns = (4 * WIDTH, WIDTH) if i % 2 == 0 else (WIDTH, 4 * WIDTH)
        scale = np.full((rows, columns // 32), 0.01, np.float16)
        tensors[f"w{i}"] = StoredTensor.pack_q8g(f"w{i}", np.full((rows, columns), i, np.int8), scale)
        graph.nodes.append(Node("Gemm", (last, f"w{i}"), (f"y{i}",), {"transB": 1}, f"y{i}"))
        last = f"y{i}"
    graph.types |= {name: tensor.type for name, tensor in tensors.items()}
    graph.outputs = [last]
    graph.types[last] = TensorType("float32", (1, WIDTH))
    write_model(Model(graph, tensors, ModelInfo("network")), path)
    return path


def inspect(capsys: pytest.CaptureFixture[str], file: Path, *words: str, code: int = 0) -> str:
    capsys.readouterr()
    assert main(["inspect", str(file), "--plan", "--threads", "1", *words]) == code
    found = capsys.readouterr()
    return found.err if code else found.out


def plan(capsys: pytest.CaptureFixture[str], file: Path, *words: str) -> dict[str, Any]:
    found = json.loads(inspect(capsys, file, *words, "--json"))["plan"]
    assert isinstance(found, dict)
    return found


def smallest(capsys: pytest.CaptureFixture[str], file: Path, *words: str) -> int:
    found = re.search(r"ram=(\d+)", inspect(capsys, file, "--ram", "1K", *words, code=1))
    assert found is not None
    return int(found[1])


@pytest.mark.parametrize("kind", ["language", "network"])
def test_what_does_not_fit_is_streamed(
    kind: str, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
) -> None:
    file: Path = request.getfixturevalue(kind)
    whole = plan(capsys, file)
    assert "streaming" not in whole
    assert "streaming" not in plan(capsys, file, "--ram", "1G")
    least = smallest(capsys, file)
    tight = plan(capsys, file, "--ram", str(least))
    cost, memory = tight["streaming"], tight["memory"]
    assert memory["total"] <= least
    assert memory["weights"] == 0 and memory["ring"] == cost["ring"] > 0
    assert cost["storage"] == "measured"
    assert cost["read"] > whole["memory"]["weights"] // 3
    assert 0 <= cost["hits"] < 0.7
    assert cost["seconds"] >= max(cost["read_seconds"], tight["predicted_us"] / 1e6)
    more = plan(capsys, file, "--ram", str(least + 1_000_000))["streaming"]
    assert more["read"] < cost["read"] and more["hits"] > cost["hits"]


def test_in_words(language: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ram = str(smallest(capsys, language))
    text = inspect(capsys, language, "--ram", ram)
    for word in ("ring", "streamed ", "for each token", "% of the weights are there", "bound by", "worth while"):
        assert word in text
    assert "tokens, and" in inspect(capsys, language, "--ram", ram, "--mode", "prefill")


def test_a_run_of_another_model(network: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = inspect(capsys, network, "--ram", str(smallest(capsys, network)))
    assert "for each run" in text
    assert "runs/s" in text


def test_prefill_reads_once_for_many_tokens(language: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ram = str(smallest(capsys, language))
    one, many = (plan(capsys, language, "--ram", ram, "--mode", mode)["streaming"] for mode in ("decode", "prefill"))
    assert many["tokens"] > one["tokens"] == 1
    assert many["read"] <= one["read"]
    assert set(one) >= {"hits", "tokens_per_second", "bandwidth", "bound"}
