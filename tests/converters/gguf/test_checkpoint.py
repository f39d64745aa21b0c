"""A GGUF file through the eyes of the architectures."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgert.converters.llm.checkpoint import Checkpoint, open_checkpoint
from edgert.errors import FormatError, UnsupportedError


@pytest.fixture
def checkpoint(small: Callable[..., Any], tmp_path: Path) -> Checkpoint:
    path = tmp_path / "model.gguf"
    path.write_bytes(bytes(small()))
    return open_checkpoint(path)


def test_what_there_is(checkpoint: Checkpoint, tmp_path: Path) -> None:
    assert (checkpoint.format, checkpoint.path) == ("gguf", tmp_path / "model.gguf")
    assert checkpoint.metadata["general.architecture"] == "llama"
    assert list(checkpoint.names) == ["norm.weight", "ffn.weight", "embd.weight"]
    assert [checkpoint.shape(name) for name in checkpoint.names] == [(32,), (3, 64), (2, 5)]
    assert [checkpoint.describe(name) for name in checkpoint.names] == ["F32", "Q4_0", "F16"]
    assert "ffn.weight" in checkpoint
    assert "output.weight" not in checkpoint
    assert checkpoint.text("tokenizer.json") is None


def test_tensors(checkpoint: Checkpoint, small: Callable[..., Any]) -> None:
    norm = checkpoint.load("norm.weight")
    assert norm.tobytes() == small().tensors[0].data
    norm[:] = 0  # an array of its own
    found = checkpoint.exact("ffn.weight")
    assert found is not None
    assert found.encoding == "q4"
    assert found.scale is not None
    weight = (found.values.astype(np.float32) - 8) * np.repeat(found.scale.astype(np.float32), 32, axis=1)
    assert np.array_equal(weight, checkpoint.load("ffn.weight"))
    assert checkpoint.exact("norm.weight") is None


@pytest.mark.parametrize("take", ["shape", "load", "exact", "describe"])
def test_missing_tensor_is_named(checkpoint: Checkpoint, take: str) -> None:
    with pytest.raises(FormatError, match=r"expected a tensor 'output\.weight', found 3 others"):
        getattr(checkpoint, take)("output.weight")


def test_unsupported_types_are_named_at_once(small: Callable[..., Any], info: Any, tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    tensors = [info("a", (4,)), info("b", (256,), 16, bytes(66)), info("c", (256,), 34, bytes(54))]
    path.write_bytes(bytes(small(tensors=tensors)))
    with pytest.raises(
        UnsupportedError, match=r"Q4_1.* found 'b' and 1 others stored as IQ2_XXS, TQ1_0; take"
    ) as caught:
        open_checkpoint(path)
    assert "\n" not in str(caught.value)


@pytest.mark.model
def test_smollm2(asset: Callable[[str], Path]) -> None:
    checkpoint = open_checkpoint(asset("smollm2-135m"))
    assert len(checkpoint.names) == 272
    assert checkpoint.metadata["llama.block_count"] == 30
    assert len(checkpoint.metadata["tokenizer.ggml.tokens"]) == 49152
    assert checkpoint.shape("token_embd.weight") == (49152, 576)
    assert checkpoint.shape("blk.0.attn_k.weight") == (192, 576)
    kinds = [checkpoint.describe(name) for name in checkpoint.names]
    assert (kinds.count("Q4_1"), kinds.count("Q8_0"), kinds.count("F32")) == (210, 1, 61)
