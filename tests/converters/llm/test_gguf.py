"""GGUF files of the same tiny models: other names, interleaved rows, norms with 1 added, and the same answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_gguf import gguf_metadata, gguf_tensors, save_gguf, write_gguf

from edgert.converters.llm.importer import import_language_model
from edgert.converters.llm.rope import llama3, plain
from edgert.converters.llm.tensors import paired_rows

CASES = {
    "llama": "llama", "llama_biased": "llama", "llama_linear": "llama", "llama_yarn": "llama", "mistral": "llama",
    "qwen2": "qwen2",
    "qwen3": "qwen3", "phi3": "phi3", "gpt2": "gpt2", "bert": "bert",
}  # fmt: skip


@pytest.mark.parametrize("case", sorted(CASES))
def test_same_as_transformers(case: str, tiny: Callable[..., Any], run: Callable[..., Any], tmp_path: Path) -> None:
    model, arch = tiny(case), CASES[case]
    imported = import_language_model(save_gguf(tmp_path / "model.gguf", model, arch))
    assert imported.architecture.name == arch
    assert imported.info.name == "a tiny model"
    np.testing.assert_allclose(run(imported.reference_graph()), model.expected, atol=2e-5)


@pytest.mark.parametrize("case", ["gemma2", "gemma3"])
def test_gemma(case: str, tiny: Callable[..., Any], run: Callable[..., Any], tmp_path: Path) -> None:
    """What GGUF does not say (which layers have a window, how scores are scaled) is as in the models there are:
    the folder is changed to that, and must give the same."""
    model = tiny(case)
    layers, period = model.config["num_hidden_layers"], {"gemma2": 2, "gemma3": 6}[case]
    kinds = ["sliding_attention" if i % period < period - 1 else "full_attention" for i in range(layers)]
    model.config |= {"query_pre_attn_scalar": model.config["head_dim"], "layer_types": kinds}
    folder = import_language_model(model.save(tmp_path))
    file = import_language_model(save_gguf(tmp_path / "model.gguf", model, case))
    epsilon = folder.architecture.norm_epsilon  # float32 in the file
    assert replace(file.architecture, norm_epsilon=epsilon) == folder.architecture
    np.testing.assert_allclose(run(file.reference_graph()), run(folder.reference_graph()), atol=2e-6)


def test_llama3_factors_are_in_a_tensor(tiny: Callable[..., Any], run: Callable[..., Any], tmp_path: Path) -> None:
    model = tiny("llama3")
    tensors = {name: (0, a.shape, a.tobytes()) for name, a in gguf_tensors(model, "llama").items()}
    factors = (plain(1000.0, 8) / llama3(plain(1000.0, 8), 8.0, 1.0, 4.0, 16)).astype(np.float32)
    tensors["rope_freqs.weight"] = (0, factors.shape, factors.tobytes())
    imported = import_language_model(write_gguf(tmp_path / "m.gguf", gguf_metadata(model, "llama"), tensors))
    assert imported.architecture.tied
    np.testing.assert_allclose(run(imported.reference_graph()), model.expected, atol=2e-5)


def test_longrope_factors_are_tensors(tiny: Callable[..., Any], run: Callable[..., Any], tmp_path: Path) -> None:
    model = tiny("phi3_longrope")
    tensors = {name: (0, a.shape, a.tobytes()) for name, a in gguf_tensors(model, "phi3").items()}
    for kind in ("short", "long"):
        factors = np.array(model.config["rope_parameters"][f"{kind}_factor"], np.float32)
        tensors[f"rope_factors_{kind}.weight"] = (0, factors.shape, factors.tobytes())
    metadata = gguf_metadata(model, "phi3") | {
        "phi3.rope.scaling.original_context_length": 16,
        "phi3.rope.scaling.attn_factor": float(np.sqrt(1 + np.log(64 / 16) / np.log(16))),
    }
    imported = import_language_model(write_gguf(tmp_path / "m.gguf", metadata, tensors))
    assert imported.info.language is not None
    assert imported.info.language.context_length == 16
    assert any("context of 16" in note for note in imported.notes)
    np.testing.assert_allclose(run(imported.reference_graph()), model.expected, atol=2e-5)


def test_rows_of_a_partly_rotated_head() -> None:
    """Of each head of 6, the first 4 rows are two pairs."""
    assert paired_rows(2, 6, 4).tolist() == [0, 2, 1, 3, 4, 5, 6, 8, 7, 9, 10, 11]
