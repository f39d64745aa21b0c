"""`edgert inspect` of a language model: what turns text into tokens, its states, its encodings."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from edgert.cli.main import main
from edgert.format import LanguageInfo, Model, ModelInfo, StoredTensor, write_model
from edgert.graph.ir import Graph, Node, TensorType


def test_inspect_shows_the_language(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    cache = TensorType("float32", (1, "C", 8))
    graph = Graph(
        inputs=["x", "past"],
        outputs=["y", "present"],
        nodes=[
            Node("GroupQueryAttention", ("x", "past"), ("h", "present")),
            Node("Gemm", ("h", "w"), ("y",), {"transB": 1}),
        ],
        types={"x": TensorType("float32", ("T", 24)), "y": TensorType("float32", ("T", 9))}
        | dict.fromkeys(["past", "present"], cache),
        states={"past": "present"},
    )
    stored = [
        StoredTensor.pack_q4("w", np.zeros((9, 8), np.uint8), np.ones((9, 1), np.float16)),
        StoredTensor.pack_dense("words", np.zeros(2048, np.uint8)),
    ]
    language = LanguageInfo("llama", 2048, 9, "words", "{{ text }}", bos=1, eos=[2, 3], layers=1, heads=1)
    model = Model(graph, {tensor.name: tensor for tensor in stored}, ModelInfo("tiny", language=language))
    write_model(model, path := tmp_path / "tiny.edge")
    assert main(["inspect", str(path), "--verify"]) == 0
    out = capsys.readouterr().out
    for words in (
        "llama, context length 2048, layers 1, heads 1", "9 tokens, 2.0 KB, bos 1, eos 2, 3", "a template of 10 B",
        "1 of float32 [1, C, 8]", "1 q4 float32 n16k64, 576 B",
    ):  # fmt: skip
        assert words in out
    assert "past" not in out
    assert main(["inspect", str(path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["language"]["tokenizer_bytes"] == 2048 and found["states"] == {"past": "present"}
