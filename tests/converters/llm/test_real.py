"""Real checkpoints, imported and run in NumPy: SmolLM2 from its GGUF file, MiniLM from its folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgert.converters.convert import convert
from edgert.converters.llm.importer import check_language_model, import_language_model
from edgert.converters.llm.report import LanguageReport
from edgert.format import read_model
from edgert.graph.execute import run_graph
from edgert.graph.ir import Graph

pytestmark = pytest.mark.model

PROMPT = [504, 3575, 282, 4649, 314]
"""'The capital of France is'"""

NEXT = {7042: 17.3713, 260: 14.8886, 4528: 13.2450, 2250: 13.0095, 1315: 12.9515}
"""The five largest logits after PROMPT: transformers, float32, on the dequantized file."""

CONTINUATION = [7042, 30, 198, 198, 504]
"""What llama.cpp goes on with: ' Paris.', an empty line, 'The'."""

SENTENCES = ("A man is eating food.", "Überraschung in München", "Numbers such as 3.14, and a few odd w0rds?!")


def greedy(graph: Graph, prompt: list[int], count: int) -> tuple[list[int], np.ndarray]:
    """(`count` tokens that follow, the logits after the prompt)."""
    past = {name: np.zeros((3, 32, 64), np.float32) for name in graph.states}
    tokens, made, first = list(prompt), [], None
    start = 0
    for _ in range(count):
        feeds = {
            "tokens": np.array(tokens, np.int32),
            "positions": np.arange(start, start + len(tokens), dtype=np.int32),
        }
        found = run_graph(graph, {**feeds, **past})
        past, start = {name: found[present] for name, present in graph.states.items()}, start + len(tokens)
        first = found["logits"][-1] if first is None else first
        tokens = [int(found["logits"][-1].argmax())]
        made += tokens
    assert first is not None
    return made, first


def test_smollm2(asset: Callable[[str], Path], tmp_path: Path) -> None:
    source = asset("smollm2-135m")
    assert check_language_model(source) == []
    result = convert(source, tmp_path / "smollm2.edge")
    assert isinstance(result.report, LanguageReport)
    assert result.report.lossless
    assert result.path.stat().st_size < source.stat().st_size
    model = read_model(result.path)
    assert {t.encoding for t in model.tensors.values() if t.name.startswith("layers.") and len(t.shape) == 2} == {"q4m"}
    made, logits = greedy(model.unpacked_graph(), PROMPT, len(CONTINUATION))
    assert made == CONTINUATION
    assert list(np.argsort(logits)[::-1][:5]) == list(NEXT)
    np.testing.assert_allclose(logits[list(NEXT)], list(NEXT.values()), atol=1e-3)


def test_minilm(asset: Callable[[str], Path]) -> None:
    """Within 1e-3 of the network with int8 weights that others made of the same model, in ONNX Runtime."""
    from onnxruntime import InferenceSession
    from tokenizers import Tokenizer

    model = import_language_model(asset("minilm-l6"))
    language = model.info.language
    assert language is not None
    assert (language.pooling, language.normalize, language.context_length) == ("mean", True, 256)
    graph, peer = model.reference_graph(), InferenceSession(asset("minilm-l6-int8"))
    tokenizer = Tokenizer.from_str(bytes(model.tokenizer).decode())
    tokenizer.no_padding()

    def unit(hidden: Any) -> np.ndarray:
        mean = np.asarray(hidden).reshape(-1, language.width).mean(axis=0)
        return np.asarray(mean / np.linalg.norm(mean))

    for sentence in SENTENCES:
        ids = np.array(tokenizer.encode(sentence).ids)
        feeds = {"tokens": ids.astype(np.int32), "positions": np.arange(len(ids), dtype=np.int32)}
        row = ids[None].astype(np.int64)
        theirs = {"input_ids": row, "attention_mask": np.ones_like(row), "token_type_ids": np.zeros_like(row)}
        cosine = unit(run_graph(graph, feeds)["hidden"]) @ unit(peer.run(None, theirs)[0])
        assert cosine > 1 - 1e-3
