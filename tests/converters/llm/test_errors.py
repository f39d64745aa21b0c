"""Models that are not what they say: one error that names what is at fault, and `edgert check` lists them all."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_gguf import save_gguf

from edgert.cli.main import main
from edgert.converters.llm.convert import convert_language_model
from edgert.converters.llm.importer import check_language_model, import_language_model
from edgert.errors import ConversionError, EdgertError, FormatError, InputError, UnsupportedError

Q = "model.layers.1.self_attn.q_proj.weight"


@pytest.fixture
def llama(tiny: Callable[[str], Any]) -> Any:
    return tiny("llama")


def fails(folder: Path, kind: type[EdgertError], *words: str) -> None:
    with pytest.raises(kind) as caught:
        import_language_model(folder)
    assert type(caught.value) is kind
    for word in words:
        assert word in str(caught.value)
    assert any(word in str(problem) for problem in check_language_model(folder) for word in words)


def test_unknown_architectures(llama: Any, tmp_path: Path) -> None:
    llama.config["architectures"] = ["MambaForCausalLM"]
    fails(llama.save(tmp_path), UnsupportedError, "MambaForCausalLM", "LlamaForCausalLM")
    llama.config["architectures"] = ["LlamaForCausalLM"]
    fails(save_gguf(tmp_path / "m.gguf", llama, "mamba"), UnsupportedError, "'mamba'", "qwen3")


def test_unknown_tensors(llama: Any, tmp_path: Path) -> None:
    llama.weights["model.layers.0.mlp.router.weight"] = np.zeros((2, 2), np.float32)
    llama.weights["model.layers.7.input_layernorm.weight"] = np.zeros(32, np.float32)
    fails(llama.save(tmp_path), UnsupportedError, "'model.layers.0.mlp.router.weight'", "'model.layers.7.")


def test_missing_tensors(llama: Any, tmp_path: Path) -> None:
    del llama.weights[Q]
    del llama.weights["model.norm.weight"]
    fails(llama.save(tmp_path), FormatError, f"{Q!r}: missing", "'model.norm.weight': missing")


def test_missing_output(llama: Any, tmp_path: Path) -> None:
    """Not tied by its configuration, so the output must be there."""
    del llama.weights["lm_head.weight"]
    fails(llama.save(tmp_path), FormatError, "'lm_head.weight': missing, expected one of shape [64, 32]")


def test_wrong_shapes(llama: Any, tmp_path: Path) -> None:
    llama.weights[Q] = llama.weights[Q][:30]
    fails(llama.save(tmp_path), FormatError, f"{Q!r}: expected shape [32, 32], found [30, 32]")


def test_wrong_shapes_that_are_stored_transposed(tiny: Callable[[str], Any], tmp_path: Path) -> None:
    model = tiny("gpt2")
    name = "transformer.h.0.attn.c_attn.weight"
    model.weights[name] = np.ascontiguousarray(model.weights[name].T)
    fails(model.save(tmp_path), FormatError, f"{name!r}: expected shape [32, 96], found [96, 32]")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite(llama: Any, tmp_path: Path, value: float) -> None:
    llama.weights[Q][3, 4] = value
    out = tmp_path / "out.edge"
    with pytest.raises(FormatError, match=r"self_attn\.q_proj"):
        convert_language_model(llama.save(tmp_path), out)
    assert not out.exists()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"hidden_size": None}, "'hidden_size', found none"),
        ({"hidden_size": "32"}, "'hidden_size', found '32'"),
        ({"hidden_size": 2**40}, "'hidden_size'"),
        ({"num_hidden_layers": 0}, "'num_hidden_layers'"),
        ({"num_hidden_layers": 5000}, "layers from 1 to 1024"),
        ({"num_hidden_layers": True}, "'num_hidden_layers'"),
        ({"num_key_value_heads": 3}, "key heads that divide 4 heads"),
        ({"head_dim": 7}, "even head dimension"),
        ({"vocab_size": 2**30}, "vocabulary from 1 to"),
        ({"rms_norm_eps": float("nan")}, "'rms_norm_eps'"),
        ({"rope_parameters": [1]}, "'rope_parameters'"),
        ({"rope_parameters": {"rope_theta": 0.0}}, "'rope_theta'"),
        ({"rope_parameters": {"rope_type": "linear"}}, "'factor'"),
    ],
)
def test_configurations_that_make_no_sense(llama: Any, tmp_path: Path, change: dict[str, Any], words: str) -> None:
    llama.config |= change
    fails(llama.save(tmp_path), FormatError, words)


@pytest.mark.parametrize(
    ("case", "change", "words"),
    [
        ("llama", {"hidden_act": "relu6"}, "'relu6'"),
        ("llama", {"rope_parameters": {"rope_type": "spiral"}}, "'spiral'"),
        ("llama", {"quantization_config": {"bits": 4}}, "quantization_config"),
        ("gpt2", {"scale_attn_by_inverse_layer_idx": True}, "scale_attn_by_inverse_layer_idx"),
        ("gpt2", {"scale_attn_weights": False}, "scale_attn_weights"),
        ("gemma3", {"use_bidirectional_attention": True}, "use_bidirectional_attention"),
        ("bert", {"position_embedding_type": "relative_key"}, "'relative_key'"),
        ("bert", {"is_decoder": True}, "is_decoder"),
    ],
)
def test_settings_that_are_not_supported(
    case: str, change: dict[str, Any], words: str, tiny: Callable[[str], Any], tmp_path: Path
) -> None:
    model = tiny(case)
    model.config |= change
    fails(model.save(tmp_path), UnsupportedError, words)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"llama.block_count": None}, "'llama.block_count', found none"),
        ({"llama.embedding_length": 0}, "'llama.embedding_length'"),
        ({"llama.attention.head_count": [4, 2]}, "one llama.attention.head_count for all layers"),
        ({"llama.attention.value_length": 16}, "keys and values of one length"),
        ({"llama.expert_count": 8}, "llama.expert_count"),
        ({"tokenizer.ggml.model": None}, "tokenizer"),
        ({"general.architecture": None}, "'general.architecture', found none"),
    ],
)
def test_gguf_metadata_that_make_no_sense(llama: Any, tmp_path: Path, change: dict[str, Any], words: str) -> None:
    path = save_gguf(tmp_path / "m.gguf", llama, "llama", change)
    with pytest.raises((FormatError, UnsupportedError)) as caught:
        import_language_model(path)
    assert words in str(caught.value)
    assert words in " ".join(map(str, check_language_model(path)))


def test_a_vocabulary_larger_than_the_table(llama: Any, tmp_path: Path) -> None:
    words = [f"w{i}" for i in range(80)]
    keys = {"tokens": words, "token_type": [1] * 80, "scores": [0.0] * 80}
    path = save_gguf(
        tmp_path / "m.gguf", llama, "llama", {f"tokenizer.ggml.{key}": value for key, value in keys.items()}
    )
    with pytest.raises(FormatError, match="at most 64 tokens"):
        import_language_model(path)


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"modules.json": {}}, "a list of modules"),
        ({"modules.json": [{"type": "a.Transformer"}, {"type": "b.Dense"}]}, "Transformer, Dense"),
        ({"modules.json": [{"type": "Transformer"}, {"type": "Pooling", "path": "1_Pooling"}]}, "found none"),
        (
            {"modules.json": [{"type": "Transformer"}, {"type": "Pooling", "path": "1_Pooling"}],
             "1_Pooling/config.json": {"pooling_mode_max_tokens": True}},
            "pooling_mode_max_tokens",
        ),
        ({"modules.json": [{"type": "Transformer"}, {"type": "Pooling", "path": "../.."}]}, "file in the folder"),
    ],
)  # fmt: skip
def test_pooling_that_is_not_supported(
    files: dict[str, Any], words: str, tiny: Callable[[str], Any], tmp_path: Path
) -> None:
    model = tiny("bert")
    model.files = files
    with pytest.raises((UnsupportedError, FormatError), match=words):
        import_language_model(model.save(tmp_path))
    (problem,) = check_language_model(tmp_path)
    assert problem.subject == "description"
    assert words in problem.reason


def test_weights_without_a_configuration(llama: Any, tmp_path: Path) -> None:
    path = llama.save(tmp_path) / "model.safetensors"
    (tmp_path / "config.json").unlink()
    fails(path, FormatError, "config.json in the folder of the weights")


def test_options_that_make_no_sense(llama: Any, tmp_path: Path) -> None:
    from edgert.converters.convert import convert

    folder, out = llama.save(tmp_path), tmp_path / "out.edge"
    with pytest.raises(ConversionError, match="keep, f32"):
        convert(folder, out, weights="int3")
    with pytest.raises(ConversionError, match="labels"):
        convert(folder, out, labels=["cat"])
    with pytest.raises(InputError, match="no such file or folder"):
        convert(tmp_path / "none.gguf", out)
    with pytest.raises(InputError, match="existing folder"):
        convert(folder, tmp_path / "none" / "out.edge")
    assert not out.exists()


def test_check_lists_everything(llama: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = llama.save(tmp_path)
    assert main(["check", str(folder)]) == 0
    del llama.weights[Q]
    llama.weights["extra.weight"] = np.zeros(3, np.float32)
    llama.files = {"tokenizer.json": {"model": 3}}
    llama.save(tmp_path)
    capsys.readouterr()
    assert main(["check", str(folder), "--json"]) == 1
    subjects = [problem["subject"] for problem in json.loads(capsys.readouterr().out)["problems"]]
    assert subjects == [Q, "extra.weight", "vocabulary"]
