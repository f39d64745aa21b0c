"""Encoders exported to ONNX: the graph over tokens they become, their weights, and what is refused or kept as it is."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from exported_bert import Exporter, export_bert
from onnx import numpy_helper
from tiny import TOKENS, tiny_tokenizer

from edgert.cli.main import main
from edgert.converters.convert import convert
from edgert.converters.llm.from_onnx import import_exported
from edgert.converters.llm.report import LanguageReport
from edgert.converters.onnx.importer import import_onnx
from edgert.errors import ConversionError, EdgertError, FormatError, UnsupportedError
from edgert.format import read_model
from edgert.graph.execute import run_graph
from edgert.llm.encoder import Encoder
from edgert.llm.llm import LLM

POOLING = {
    "modules.json": [
        {"type": f"sentence_transformers.models.{kind}", "path": kind} for kind in ("Transformer", "Pooling")
    ],
    "Pooling/config.json": {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False},
    "sentence_bert_config.json": {"max_seq_length": 24},
}

DECODER = {"type": "WordPiece", "prefix": "##", "cleanup": True}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A tokenizer of 64 words, and a configuration."""
    made = tmp_path / "tokenizer"
    made.mkdir()
    (made / "tokenizer.json").write_text(json.dumps({**tiny_tokenizer(64), "decoder": DECODER}))
    (made / "config.json").write_text(json.dumps({"max_position_embeddings": 32}))
    return made


def embedded(path: Path, tokens: list[int] = TOKENS) -> np.ndarray:
    encoder = Encoder(read_model(path, verify="all"), threads=1)
    try:
        return np.array(encoder.hidden(tokens))
    finally:
        encoder.close()


@pytest.mark.parametrize("style", ["plain", "fused", "old", "pooled"])
def test_an_exported_encoder_is_read_as_rows(tiny: Callable[[str], Any], folder: Path, style: str) -> None:
    model = tiny("bert")
    source = export_bert(folder.parent / "bert.onnx", model.weights, **({} if style == "plain" else {style: True}))
    result = convert(source, folder.parent / "bert.edge", tokenizer=folder)
    assert isinstance(result.report, LanguageReport)
    assert result.report.lossless
    assert result.report.operators == {
        "Gather": 2, "Add": 1, "LayerNormalization": 5, "Gemm": 8, "GroupQueryAttention": 2, "Gelu": 2
    }  # fmt: skip
    read = read_model(result.path)
    language = read.info.language
    assert language is not None
    assert (language.architecture, language.pooling, language.normalize) == ("onnx", "mean", True)
    assert (language.context_length, language.vocabulary, language.layers, language.heads) == (32, 64, 2, 4)
    assert any("mean is assumed" in note for note in result.report.notes)
    feeds = {"tokens": np.array(TOKENS, np.int32), "positions": np.arange(len(TOKENS), dtype=np.int32)}
    np.testing.assert_allclose(run_graph(read.unpacked_graph(), feeds)["hidden"], model.expected, atol=2e-5)
    np.testing.assert_allclose(embedded(result.path), model.expected, atol=2e-5)


def test_weights_that_are_int8_stay_so(tiny: Callable[[str], Any], folder: Path) -> None:
    from onnxruntime import InferenceSession

    model = tiny("bert")
    source = export_bert(folder.parent / "bert.onnx", model.weights, int8=True)
    row = np.array(TOKENS)[None]
    feeds = {"input_ids": row, "attention_mask": np.ones_like(row), "token_type_ids": np.zeros_like(row)}
    (expected,) = InferenceSession(source).run(None, feeds)
    for weights, encodings, tolerance in (("keep", {"q8"}, 2e-5), ("int8", {"q8g"}, 0.1), ("f32", {"q8"}, 2e-5)):
        result = convert(source, folder.parent / "bert.edge", tokenizer=folder, weights=weights)
        tensors = read_model(result.path).tensors
        matrices = [t for t in tensors.values() if t.name.startswith("layers.") and len(t.shape) == 2]
        assert {t.encoding for t in matrices} == encodings
        assert tensors["embedding"].encoding == "q8"
        np.testing.assert_allclose(embedded(result.path), expected[0], atol=tolerance)


def test_the_whole_command_embeds_text(tiny: Callable[[str], Any], folder: Path) -> None:
    for name, value in POOLING.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(json.dumps(value))
    model = tiny("bert")
    source = export_bert(folder.parent / "bert.onnx", model.weights)
    convert(source, folder.parent / "bert.edge", tokenizer=folder)
    with LLM(folder.parent / "bert.edge", threads=1) as llm:
        assert llm.n_ctx == 24
        language = llm.info.language
        assert language is not None
        assert (language.pooling, language.normalize) == ("cls", False)
        (vector,) = llm.embed(" ".join(f"t{token}" for token in TOKENS))
    np.testing.assert_allclose(vector, model.expected[0], atol=2e-5)


def test_texts_of_one_fixed_length(tiny: Callable[[str], Any], folder: Path) -> None:
    model = tiny("bert")
    source = export_bert(folder.parent / "bert.onnx", model.weights, shape=(1, 20))
    result = convert(source, folder.parent / "bert.edge", tokenizer=folder / "tokenizer.json")
    assert isinstance(result.report, LanguageReport)
    language = read_model(result.path).info.language
    assert language is not None
    assert language.context_length == 20
    np.testing.assert_allclose(embedded(result.path), model.expected, atol=2e-5)


def with_slope(exporter: Exporter) -> str:
    """Scores fall with the place of the key: more than edgert reads as rows."""
    plain = exporter.mask

    def mask() -> str:
        size = exporter.op("Gather", exporter.op("Shape", "input_ids"), exporter.const(1, np.int64))
        places = exporter.op("Range", exporter.const(0, np.int64), size, exporter.const(1, np.int64))
        slope = exporter.op("Mul", exporter.op("Cast", places, to=1), exporter.const(-0.1))
        return exporter.op("Add", plain(), slope)

    exporter.mask = mask  # type: ignore[method-assign]
    return exporter.encoder(2)


@pytest.mark.parametrize("shape", [("batch", "sequence"), (1, 20)])
def test_another_graph_is_kept_as_it_is(tiny: Callable[[str], Any], folder: Path, shape: tuple[int | str, ...]) -> None:
    """Padded, with a mask, and weights that are int8 no longer: the same numbers all the same."""
    from onnxruntime import InferenceSession

    exporter = Exporter(tiny("bert").weights, 4, int8=True)
    source = exporter.save(folder.parent / "other.onnx", with_slope(exporter), 32, shape)
    result = convert(source, folder.parent / "other.edge", tokenizer=folder)
    assert not isinstance(result.report, LanguageReport)
    assert any("kept as it was exported" in note for note in result.report.notes)
    assert "Cast" not in [node.op for node in read_model(result.path).graph.nodes if node.inputs[0].endswith("_q")]
    length = 20 if shape[1] == 20 else len(TOKENS)
    row, mask = np.zeros((1, length), np.int64), np.zeros((1, length), np.int64)
    row[0, : len(TOKENS)], mask[0, : len(TOKENS)] = TOKENS, 1
    feeds = {"input_ids": row, "attention_mask": mask, "token_type_ids": np.zeros_like(row)}
    (expected,) = InferenceSession(source).run(None, feeds)
    np.testing.assert_allclose(embedded(result.path), expected[0, : len(TOKENS)], atol=2e-5)


def test_what_is_no_text_encoder_is_refused(tiny: Callable[[str], Any], folder: Path) -> None:
    model = tiny("bert")
    good = export_bert(folder.parent / "bert.onnx", model.weights)
    exporter = Exporter(model.weights, 4)
    last = exporter.op("Cast", exporter.op("Unsqueeze", "input_ids", exporter.const([2], np.int64)), to=1)
    no_table = exporter.save(folder.parent / "no_table.onnx", last, 1, inputs=("input_ids",))
    exporter = Exporter(model.weights, 4)
    last = exporter.op("Cast", exporter.op("Unsqueeze", "pixels", exporter.const([2], np.int64)), to=1)
    other = exporter.save(folder.parent / "other.onnx", last, 1, inputs=("pixels",))
    batch = export_bert(folder.parent / "batch.onnx", model.weights, shape=(8, "sequence"))
    empty, wrong, large = folder.parent / "empty", folder.parent / "wrong.json", folder.parent / "large.json"
    empty.mkdir()
    wrong.write_text("[1, 2]")
    large.write_text(json.dumps(tiny_tokenizer(65)))
    cases: list[tuple[Path, Path, type[EdgertError], str]] = [
        (no_table, folder, UnsupportedError, "no text encoder"),
        (other, folder, UnsupportedError, "expected a text encoder with input input_ids"),
        (batch, folder, UnsupportedError, "one text or any number"),
        (good, empty, ConversionError, "expected a tokenizer.json or a folder with one"),
        (good, folder / "absent", ConversionError, "expected a tokenizer.json or a folder with one"),
        (good, wrong, FormatError, "object"),
        (good, large, FormatError, "at most 64 tokens"),
        (folder, folder, ConversionError, "brings its own"),
    ]
    for source, tokenizer, error, words in cases:
        with pytest.raises(error, match=words):
            convert(source, folder.parent / "out.edge", tokenizer=tokenizer)
    assert not (folder.parent / "out.edge").exists()


def test_without_a_tokenizer_it_is_a_network_and_the_report_says_how_to_get_more(
    tiny: Callable[[str], Any], folder: Path
) -> None:
    source = export_bert(folder / "bert.onnx", tiny("bert").weights)
    result = convert(source, folder / "bert.edge")
    assert result.model.info.language is None
    assert f"--tokenizer {folder / 'tokenizer.json'}" in result.report.table()
    (folder / "tokenizer.json").unlink()
    assert "give it with --tokenizer" in convert(source, folder / "bert.edge").report.table()


def mutate(model: Any, rng: np.random.Generator) -> None:
    """Wires a node otherwise, makes it another operator, changes an attribute or one number of a constant."""
    nodes, values = model.graph.node, model.graph.initializer
    at = int(rng.integers(len(nodes)))
    node, kind = nodes[at], rng.integers(4)
    made = [name for other in nodes[:at] for name in other.output] + [value.name for value in values]
    if kind == 0:
        node.input[int(rng.integers(len(node.input)))] = str(rng.choice(made))
    elif kind == 1:
        node.op_type = str(rng.choice(["Add", "Div", "MatMul", "Softmax", "Transpose", "Reshape", "Where", "Identity"]))
    elif kind == 2 and node.attribute:
        node.attribute[0].i = int(rng.integers(-3, 4))
        node.attribute[0].ints[:] = rng.permutation(node.attribute[0].ints).tolist()
    else:
        value = values[int(rng.integers(len(values)))]
        array = numpy_helper.to_array(value).copy()
        array.reshape(-1)[rng.integers(array.size)] = rng.choice([0, -1, 2, 100])
        value.CopyFrom(numpy_helper.from_array(array, value.name))


def test_hostile_graphs_are_read_right_kept_or_refused(
    tiny: Callable[[str], Any], folder: Path, rng: np.random.Generator
) -> None:
    """What is read gives the numbers of the exported graph for another text than the one the importer tries."""
    source, read = folder.parent / "bert.onnx", 0
    model = onnx.load(export_bert(source, tiny("bert").weights, fused=True))
    tokens, row = TOKENS[:9], np.array(TOKENS[:9])[None]
    feeds = {"input_ids": row, "attention_mask": np.ones_like(row), "token_type_ids": np.zeros_like(row)}
    for _ in range(120):
        changed = onnx.ModelProto.FromString(model.SerializeToString())
        mutate(changed, rng)
        onnx.save(changed, source)
        try:
            graph = import_onnx(source)
            encoder = import_exported(graph, source, folder, {})
            wanted = run_graph(graph, feeds)[encoder.output][0]
        except EdgertError:
            continue
        if encoder.model is not None:
            given = {"tokens": np.array(tokens, np.int32), "positions": np.arange(9, dtype=np.int32)}
            found = run_graph(encoder.model.reference_graph(), given)["hidden"]
            np.testing.assert_allclose(found, wanted, atol=1e-3 * np.abs(wanted).max())
            read += 1
    assert read > 20


def test_the_command_line(tiny: Callable[[str], Any], folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, out = export_bert(folder.parent / "bert.onnx", tiny("bert").weights), folder.parent / "bert.edge"
    assert main(["convert", str(source), "-o", str(out), "--tokenizer", str(folder), "--weights", "int8"]) == 0
    said = capsys.readouterr().err
    assert "-> q8g, " in said and "relative error up to" in said
    assert main(["embed", str(out), "t5 t17", "t3 t60"]) == 0
    assert "t5 t17 | t3 t60" in capsys.readouterr().out
    assert main(["convert", str(source), "-o", str(out), "--tokenizer", str(folder.parent / "none")]) == 1
    assert "expected a tokenizer.json or a folder with one" in capsys.readouterr().err
