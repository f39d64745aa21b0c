"""From a checkpoint to a .edge file: what is exact stays exact, the rest says what rounding cost."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_gguf import gguf_metadata, gguf_tensors, save_gguf, write_gguf

from edgert.cli.main import main
from edgert.converters.convert import convert
from edgert.converters.llm.checkpoint import ExactBlocks
from edgert.converters.llm.convert import convert_language_model
from edgert.converters.llm.groups import round_to_groups
from edgert.converters.llm.importer import LanguageModel
from edgert.converters.llm.pack import Packer
from edgert.converters.llm.report import LanguageReport
from edgert.converters.llm.weights import Held, HeldBlocks, dequantized, stack_blocks
from edgert.errors import ConversionError
from edgert.format import read_model
from edgert.graph.ir import Graph

Q8_0, F16 = 8, 1


def q8_0(values: np.ndarray) -> bytes:
    """Blocks of GGUF Q8_0 of [N, K]."""
    blocks = round_to_groups(values, "q8g")
    out = bytearray()
    assert blocks.scale is not None
    for v, s in zip(blocks.values.reshape(-1, 32), blocks.scale.reshape(-1), strict=True):
        out += s.tobytes() + v.tobytes()
    return bytes(out)


@pytest.fixture
def quantized(tiny: Callable[[str], Any], tmp_path: Path) -> Path:
    """The tiny llama in Q8_0, but for its down projections (48 columns), in F16."""
    model = tiny("llama")
    tensors = {}
    for name, a in gguf_tensors(model, "llama").items():
        if a.ndim == 1:
            tensors[name] = (0, a.shape, a.tobytes())
        elif a.shape[1] % 32:
            tensors[name] = (F16, a.shape, a.astype(np.float16).tobytes())
        else:
            tensors[name] = (Q8_0, a.shape, q8_0(a))
    return write_gguf(tmp_path / "q8.gguf", gguf_metadata(model, "llama"), tensors)


def test_keep_loses_nothing(quantized: Path, tmp_path: Path, run: Callable[..., Any]) -> None:
    result = convert(quantized, tmp_path / "out.edge")
    assert isinstance(result.report, LanguageReport)
    assert result.report.lossless
    kinds = {tensor.name: (tensor.source, tensor.encoding) for tensor in result.report.tensors}
    assert kinds["layers.0.qkv"] == ("Q8_0", "q8g")
    assert kinds["layers.1.down"] == ("F16", "f16")
    assert kinds["output_norm"] == ("F32", "f32")
    read = read_model(tmp_path / "out.edge")
    assert read.tensors["layers.0.gate_up"].layout == "n16k64"
    assert read.info.language is not None
    assert bytes(read.tensors[read.info.language.tokenizer].dense()).startswith(b'{"version"')
    assert len(read.source["sha256"]) == 64
    from edgert.converters.llm.importer import import_language_model

    source = import_language_model(quantized)
    np.testing.assert_array_equal(run(read.unpacked_graph()), run(source.reference_graph()))


@pytest.mark.parametrize(
    ("weights", "tolerance", "encodings"),
    [
        ("keep", 0.0, {"f32"}),
        ("f32", 0.0, {"f32"}),
        ("f16", 5e-3, {"f16"}),
        ("int8", 0.15, {"q8g"}),
        ("int4", 2.5, {"q4", "q8g"}),
    ],
)
def test_weights_of_choice(
    weights: str,
    tolerance: float,
    encodings: set[str],
    tiny: Callable[..., Any],
    run: Callable[..., Any],
    tmp_path: Path,
) -> None:
    model = tiny("qwen2")
    result = convert(model.save(tmp_path), tmp_path / "out.edge", weights=weights)
    assert isinstance(result.report, LanguageReport)
    assert {t.encoding for t in result.report.tensors if len(t.shape) == 2} == encodings
    found = run(read_model(tmp_path / "out.edge").unpacked_graph())
    error = np.abs(found - model.expected).max()
    assert error <= tolerance + 2e-5
    assert result.report.lossless == (tolerance == 0.0)
    for tensor in result.report.tensors:
        assert tensor.error < {"f32": 1e-9, "f16": 1e-3, "q8g": 0.01, "q4": 0.12}[tensor.encoding]


def test_tables_are_rows_and_matrices_are_lines(tiny: Callable[..., Any], tmp_path: Path) -> None:
    tensors = convert(tiny("gpt2").save(tmp_path), tmp_path / "out.edge", weights="f16").model.tensors
    assert tensors["position_table"].layout == "row"
    assert tensors["embedding"].layout == "n16k1"  # tied: the output reads it too
    assert tensors["layers.0.qkv"].layout == "n16k1"
    assert tensors["layers.0.qkv.bias"].encoding == "dense"


@pytest.mark.parametrize(
    ("source", "encoding"),
    [
        ("F32", "f32"), ("BF16", "f16"), ("F16 + F32", "f32"), ("Q4_K", "q4m"), ("Q4_K + Q6_K", "q8g"), ("Q2_K", "q8g"),
        ("Q5_1", "q8g"), ("IQ4_XS", "q8g"), ("Q4_1 + Q8_0", "q8g"), ("made", "f32"),
    ],
)  # fmt: skip
def test_what_is_kept_in_which_encoding(source: str, encoding: str, rng: np.random.Generator) -> None:
    values = rng.standard_normal((16, 64)).astype(np.float32)
    _, packed = Packer(Graph()).store("layers.0.o", Held(values, source))
    assert packed.encoding == encoding
    assert packed.lossless == (encoding == "f32")
    assert packed.error < {"f32": 1e-9, "f16": 3e-4, "q8g": 0.01, "q4m": 0.1}[encoding]


def test_values_beyond_float16_stay_float32() -> None:
    _, packed = Packer(Graph()).store("layers.0.o", Held(np.full((1, 32), 1e6, np.float32), "BF16"))
    assert packed.encoding == "f32"


def test_policy_and_replacements(tiny: Callable[..., Any], tmp_path: Path) -> None:
    """What compression uses: an encoding by name, weights in place of others, numbers for the report."""

    def compress(model: LanguageModel, report: LanguageReport) -> None:
        halved = model.weights["layers.0.o"].load() / 2
        model.weights["layers.0.o"] = Held(halved)
        blocks = round_to_groups(model.weights["layers.0.down"].load(), "q4m")
        model.weights["layers.0.down"] = HeldBlocks(blocks)
        report.quality["perplexity"] = {"before": 1.0, "after": 2.0}

    model = tiny("llama")
    result = convert_language_model(
        model.save(tmp_path), tmp_path / "out.edge", weights="int8", compress=compress,
        policy=lambda name, weight: "q4" if name.endswith("gate_up") else None,
    )  # fmt: skip
    tensors = result.model.tensors
    assert {name: tensors[f"layers.0.{name}"].encoding for name in ("qkv", "o", "down", "gate_up")} == {
        "qkv": "q8g", "o": "q8g", "down": "q4m", "gate_up": "q4"
    }  # fmt: skip
    np.testing.assert_allclose(
        tensors["layers.0.o"].dense(), model.weights["model.layers.0.self_attn.o_proj.weight"] / 2, atol=2e-3
    )
    assert result.model.report["quality"]["perplexity"]["after"] == 2.0


@pytest.mark.parametrize("encoding", ["q8g", "q4", "q4m"])
@pytest.mark.parametrize("shape", [(1, 1), (3, 32), (5, 40), (17, 96)])
def test_rounding(encoding: Any, shape: tuple[int, int], rng: np.random.Generator) -> None:
    weights = rng.standard_normal(shape).astype(np.float32)
    weights[0] = 0
    blocks = round_to_groups(weights, encoding)
    assert blocks.scale is not None
    assert blocks.scale.shape == (shape[0], -(-shape[1] // 32))
    error = np.abs(dequantized(blocks) - weights).max()
    assert error < {"q8g": 0.02, "q4": 0.5, "q4m": 0.3}[encoding]
    np.testing.assert_array_equal(dequantized(blocks)[0], 0)


def test_values_on_a_grid_are_found_again(rng: np.random.Generator) -> None:
    """Blocks of 16 levels of which the outer ones are not used: q4m takes fewer steps, and the same values."""
    levels = rng.integers(2, 13, (6, 64))
    levels[:, ::32], levels[:, 1::32] = 2, 12
    weights = (levels * np.float32(0.25) - 1).astype(np.float32)
    np.testing.assert_array_equal(dequantized(round_to_groups(weights, "q4m")), weights)


def test_weights_beyond_float16() -> None:
    with pytest.raises(ConversionError, match="keep them as f32"):
        round_to_groups(np.full((1, 32), 1e8, np.float32), "q4")


def test_stacks_of_several_encodings(rng: np.random.Generator) -> None:
    q4, q4m, q8g = (round_to_groups(rng.standard_normal((4, 64)).astype(np.float32), e) for e in ("q4", "q4m", "q8g"))
    for parts, encoding in (([q4, q4], "q4"), ([q4, q4m], "q4m"), ([q8g, q4], "q8g")):
        stacked = stack_blocks(parts)
        assert stacked is not None
        assert stacked.encoding == encoding
        np.testing.assert_allclose(dequantized(stacked), np.concatenate([dequantized(p) for p in parts]), rtol=1e-6)
    assert stack_blocks([q4m, q8g]) is None
    assert q4.scale is not None
    huge = replace(q4, scale=np.full_like(q4.scale, 60000))
    assert stack_blocks([huge, q4m]) is None
    assert stack_blocks([ExactBlocks("f16", np.ones((2, 3), np.float16)), q4]) is None


def test_sentence_transformers(tiny: Callable[..., Any], tmp_path: Path) -> None:
    """How an encoder makes one vector, and of how many tokens, is in files beside it; without them it is assumed."""
    model = tiny("bert")
    plain = convert(model.save(tmp_path), tmp_path / "plain.edge").model.info.language
    assert plain is not None
    assert (plain.pooling, plain.normalize, plain.context_length) == ("mean", True, 32)
    package = "sentence_transformers.models"
    model.files = {
        "modules.json": [{"type": f"{package}.Transformer", "path": ""}, {"type": f"{package}.Pooling", "path": "1_P"}],
        "1_P/config.json": {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False},
        "sentence_bert_config.json": {"max_seq_length": 24},
    }
    told = convert(model.save(tmp_path), tmp_path / "told.edge").model.info.language
    assert told is not None
    assert (told.pooling, told.normalize, told.context_length) == ("cls", False, 24)


def test_command_line(tiny: Callable[..., Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, out = save_gguf(tmp_path / "m.gguf", tiny("qwen3"), "qwen3"), tmp_path / "out.edge"
    report = tmp_path / "report.json"
    assert main(["convert", str(path), "-o", str(out), "--weights", "int4", "--report", str(report)]) == 0
    text = capsys.readouterr().err
    assert "relative error up to" in text
    assert "bits per weight" in text
    assert json.loads(report.read_text()) == read_model(out).report
    assert main(["convert", str(path), "-o", str(out), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["report"]["lossless"]
    assert main(["inspect", str(out)]) == 0
