"""Texts of the words that tiny tokenizers know, and a tokenizer that can say them again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny import tiny_tokenizer


@pytest.fixture
def folder(tiny: Callable[..., Any], tmp_path: Path) -> Callable[[str], Path]:
    """folder(case): a tiny model on disk whose tokenizer decodes as well."""

    def made(case: str) -> Path:
        model = tiny(case)
        words = {
            **tiny_tokenizer(model.config["vocab_size"]),
            "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": False},
        }
        model.files = {**model.files, "tokenizer.json": words}
        path = tmp_path / case
        path.mkdir(exist_ok=True)
        return Path(model.save(path))

    return made


@pytest.fixture
def text(tmp_path: Path) -> Callable[..., Path]:
    """text(words, seed): a file of so many words, each of which makes the next one likely."""

    def made(words: int, seed: int = 0) -> Path:
        rng = np.random.default_rng(seed)
        steps = rng.choice([1, 2, 5], words)
        path = tmp_path / f"text{seed}.txt"
        path.write_text(" ".join(f"t{i % 64}" for i in np.cumsum(steps)))
        return path

    return made
