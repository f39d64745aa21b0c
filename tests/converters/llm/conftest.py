"""Tiny models on disk, as Hugging Face folders and as GGUF files, and how they are run in NumPy."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from tiny import TOKENS, tiny_tokenizer, tiny_weights

from edgert.graph.execute import run_graph
from edgert.graph.ir import Graph

GOLDEN = Path(__file__).parent / "golden"


@dataclass
class Tiny:
    """One of the models in golden/: its config.json, its tensors, and what transformers makes of TOKENS."""

    kind: str
    config: dict[str, Any]
    weights: dict[str, np.ndarray]
    expected: np.ndarray
    files: dict[str, Any] = field(default_factory=dict)

    def save(self, folder: Path) -> Path:
        """A Hugging Face folder, with a tokenizer."""
        from safetensors.numpy import save_file

        save_file(self.weights, folder / "model.safetensors")
        files = {"config.json": self.config, "tokenizer.json": tiny_tokenizer(64), **self.files}
        for name, value in files.items():
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_text(json.dumps(value))
        return folder


@pytest.fixture
def tiny() -> Callable[[str], Tiny]:
    """tiny(case): the model of that name."""

    def load(case: str) -> Tiny:
        found = json.loads((GOLDEN / f"{case}.json").read_text())
        kind = found["config"]["architectures"][0]
        return Tiny(kind, found["config"], tiny_weights(found["shapes"], kind), np.load(GOLDEN / f"{case}.npz")["out"])

    return load


@pytest.fixture
def run() -> Callable[..., np.ndarray]:
    """run(graph, chunks): the first output for TOKENS, given in chunks of these sizes, one row per token."""

    def made(graph: Graph, chunks: tuple[int, ...] = (len(TOKENS),), tokens: list[int] = TOKENS) -> np.ndarray:
        states: Mapping[str, np.ndarray] = {}
        for past in graph.states:
            heads, _, depth = graph.types[past].shape
            states = {**states, past: np.zeros((heads, len(tokens) + 1, depth), np.float32)}
        rows, start = [], 0
        for size in chunks:
            part = slice(start, start + size)
            feeds = {
                "tokens": np.array(tokens[part], np.int32),
                "positions": np.arange(start, start + size, dtype=np.int32),
            }
            found = run_graph(graph, {**feeds, **states})
            states = {past: found[present] for past, present in graph.states.items()}
            rows.append(found[graph.outputs[0]])
            start += size
        return np.concatenate(rows)

    return made
