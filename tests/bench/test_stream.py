"""The benchmark of streaming, as far as it can be tested without root and time: its models, and its arithmetic."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from gguf import GGUFReader

from bench.sparse_language import shapes
from bench.stream import compare, generate, group, transport
from edgert.format import read_model

TINY = replace(generate.SHAPE, vocabulary=64, layers=2, width=64, heads=2, kv_heads=1, head_dim=32, ffn=128)


def test_the_same_shape_in_both_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generate, "SPARE_BLOCKS", 64)
    generate.write_edge(tmp_path / "m.edge", TINY)
    generate.write_gguf(tmp_path / "m.gguf", TINY)
    model = read_model(tmp_path / "m.edge", verify="all")
    matrices = {name: shape for name, shape in shapes(TINY).items() if len(shape) == 2}
    assert {name: model.tensors[name].shape for name in matrices} == matrices
    assert {model.tensors[name].encoding for name in matrices if name.startswith("layers.")} == {"q4"}
    theirs = GGUFReader(tmp_path / "m.gguf").tensors
    weights = sum(int(np.prod(shape)) for shape in matrices.values())
    assert sum(int(tensor.n_elements) for tensor in theirs if len(tensor.shape) == 2) == weights
    assert {tensor.tensor_type.name for tensor in theirs} == {"Q4_0", "Q8_0", "F32"}


def test_no_two_layers_are_equal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generate, "SPARE_BLOCKS", 1024)
    model = generate.model(TINY)
    first, second = (model.tensors[f"layers.{i}.down"].dense() for i in range(2))
    assert not np.array_equal(first, second)
    assert np.isfinite(first).all()
    assert 0.01 < first.std() < 1


@pytest.mark.parametrize("form", [form for dense, (sparse, _) in transport.PAIRS.items() for form in (dense, sparse)])
def test_forms_of_the_transport(form: str) -> None:
    stored = transport.matrix("layers.0.o", form, (64, 128), np.random.default_rng(0))
    assert stored.encoding == form
    zeros = float(np.mean(stored.dense() == 0))
    assert (0.4 < zeros < 0.6) if stored.sparse else zeros < 0.1


def test_medians_and_ratios() -> None:
    def turns(*rates: float) -> list[dict[str, float]]:
        return [{"tokens": 2, "seconds": 2 / rate, "read": 2e8, "roof": 8e8} for rate in rates]

    found = compare.summarize(
        {
            "limit": 1 << 30, "roofs": [1e9, 4e8, 4e8],
            "runtimes": {"streamed": {"decode": turns(3, 4, 9)}, "naive": {"decode": turns(1, 2, 1)},
                         "llama.cpp": {"decode": [], "ended": "killed"}},
        }
    )  # fmt: skip
    streamed, naive = found["runtimes"]["streamed"], found["runtimes"]["naive"]
    assert (streamed["tokens_per_second"], naive["tokens_per_second"]) == (4, 1)
    assert naive["streamed_is_faster"] == 4
    assert streamed["bytes_per_token"] == 1e8
    assert streamed["share_of_roof"] == pytest.approx(0.5)
    text = "\n".join(compare.lines(50, found))
    assert "streamed is 4.00 times as fast" in text
    assert "killed" in text


def test_it_says_why_it_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(group, "ROOT", tmp_path)
    compare.run([1], 1, tmp_path / "out.json")
    assert "version-1 memory controller" in capsys.readouterr().err
    assert not (tmp_path / "out.json").exists()
