"""Conversions with compression, as a user asks for them: encodings, reports, refusals."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgert.converters.convert import convert
from edgert.converters.llm.compress.compression import Compressor, Options
from edgert.converters.llm.compress.policy import Override, Precision, parse_override
from edgert.converters.llm.convert import convert_language_model
from edgert.converters.llm.report import LanguageReport
from edgert.errors import ConversionError, InputError
from edgert.format.model import Model

Made = Callable[..., tuple[Model, LanguageReport]]


@pytest.fixture
def compress(folder: Callable[[str], Path], tmp_path: Path) -> Made:
    """compress(case, weights, **options of Options): the packed model and its report; nothing runs natively."""

    def made(
        case: str, weights: Any, asymmetric: bool = False, overrides: Any = (), **options: Any
    ) -> tuple[Model, LanguageReport]:
        parsed = tuple(parse_override(text) for text in overrides)
        precision = Precision(weights, asymmetric, parsed, exact=options.get("method") is None)
        compressor = Compressor(Options(precision, window=16, runtime=False, **options))
        result = convert_language_model(
            folder(case), tmp_path / "out.edge", weights=weights, policy=compressor.policy,
            compress=compressor.compress, judge=compressor.judge,
        )  # fmt: skip
        assert isinstance(result.report, LanguageReport)
        return result.model, result.report

    return made


@pytest.mark.parametrize("method", ["rtn", "awq", "gptq", "awq+gptq"])
@pytest.mark.parametrize("case", ["llama", "gemma2", "gpt2"])
def test_methods(method: Any, case: str, compress: Made, text: Callable[..., Path]) -> None:
    model, report = compress(case, "int4", method=method, calib=text(1000), evaluation=text(100, 1))
    layers = [name for name in model.tensors if name.startswith("layers.") and len(model.tensors[name].shape) == 2]
    assert {model.tensors[name].encoding for name in layers} == {"q4"}
    assert model.tensors["embedding"].encoding == "q8g"
    found = model.report["quality"]
    assert set(found["output_errors"]) == set(layers)
    assert all(0 < error < 0.3 for error in found["output_errors"].values())
    assert found["method"] == method
    assert found["calibration"] == "512 of 1000 tokens of text0.txt, in windows of 16"
    assert found["text"] == "100 of 100 tokens of text1.txt, in windows of 16"
    assert found["before"]["tokens"] == 93
    assert found["after"]["divergence"] > 0
    assert found["loss_percent"] == pytest.approx(
        100 * (found["after"]["perplexity"] / found["before"]["perplexity"] - 1), abs=1e-3
    )
    errors = {tensor.name: tensor.error for tensor in report.tensors}
    assert all(errors[name] > 0 for name in layers)
    assert not report.lossless
    assert "Jensen-Shannon divergence" in report.table()


def test_better_methods_make_smaller_errors(compress: Made, text: Callable[..., Path]) -> None:
    """Outputs on the calibration text: plain rounding, with weighted search, and GPTQ."""
    mean = {}
    for method in ("rtn", "gptq"):
        _, report = compress("llama", "int4", method=method, calib=text(2000), sequential=False)
        mean[method] = np.mean(list(report.quality["output_errors"].values()))
    assert mean["gptq"] < 0.95 * mean["rtn"]


def test_a_part_of_the_text_is_kept_for_evaluation(compress: Made, text: Callable[..., Path]) -> None:
    _, report = compress("llama", "int8", method="rtn", calib=text(160), samples=99)
    assert report.quality["calibration"] == "128 of 160 tokens of text0.txt, in windows of 16"
    assert report.quality["text"] == "32 of 160 tokens of end of text0.txt, in windows of 16"
    assert report.quality["loss_percent"] < 2


def test_without_text_nothing_is_measured(compress: Made) -> None:
    model, report = compress("bert", "int4", method="rtn")
    assert model.tensors["layers.0.down"].encoding == "q4"
    assert "before" not in report.quality


def test_asymmetric(compress: Made) -> None:
    model, _ = compress("llama", "int4", asymmetric=True)
    assert model.tensors["layers.1.down"].encoding == "q4m"


def test_overrides(compress: Made) -> None:
    """The last that matches counts; embeddings too are named by patterns only."""
    overrides = ["layers.*=int8", "layers.0.*=f16", "*.down=int4", "layers.1.o=keep", "embedding=f32", "output=int4"]
    model, _ = compress("llama", "int4", overrides=overrides)
    found = {name: tensor.encoding for name, tensor in model.tensors.items()}
    expected = {
        "layers.0.qkv": "f16->dense", "layers.0.down": "q4", "layers.1.qkv": "q8g", "layers.1.down": "q4",
        "layers.1.o": "dense", "embedding": "dense", "output": "q4",
    }  # fmt: skip
    expected["layers.0.qkv"] = "f16"
    assert {name: found[name] for name in expected} == expected


def test_tables_are_rounded_too(compress: Made, text: Callable[..., Path]) -> None:
    """No product reads an untied embedding, so that no method sees its inputs."""
    model, report = compress(
        "gpt2", "int4", method="gptq", calib=text(200), overrides=["embedding=int4", "position_table=int8"]
    )
    assert model.tensors["embedding"].encoding == "q4"
    assert model.tensors["position_table"].encoding == "q8g"
    assert "position_table" not in report.quality["output_errors"]


def test_overrides_that_match_nothing(compress: Made) -> None:
    with pytest.raises(ConversionError, match=r"'\*\.gate=int8' matches no matrix; expected .*layers\.\*\.gate_up"):
        compress("llama", "int4", overrides=["*.gate=int8"])


@pytest.mark.parametrize("wrong", ["down", "=int4", "*.down=int3", "*.down=", ""])
def test_overrides_that_make_no_sense(wrong: str) -> None:
    with pytest.raises(ConversionError, match=r"such as '\*\.down=int8'"):
        parse_override(wrong)


def test_patterns_may_have_signs() -> None:
    assert parse_override("a=b=keep") == Override("a=b", "keep")


def test_refused(compress: Made, text: Callable[..., Path], tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match=r"perplexity rises by .* more than the accepted -50 %"):
        compress("llama", "int4", method="rtn", evaluation=text(64), max_loss=-50.0)
    assert not (tmp_path / "out.edge").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weights": "int4", "method": "gptq"}, "gptq needs a text to calibrate with: give one with --calib"),
        ({"weights": "int4", "method": "awq"}, "awq needs a text"),
        ({"weights": "int4", "method": "magic"}, r"a method among rtn, awq, gptq, awq\+gptq"),
        ({"weights": "keep", "method": "rtn"}, "rtn needs --weights int8 or int4, found keep"),
        ({"weights": "int4", "max_loss": 1.0}, "needs a text to measure it on"),
        ({"weights": "int5"}, "expected weights among"),
    ],
)
def test_options_that_make_no_sense(
    options: dict[str, Any], message: str, folder: Callable[[str], Path], tmp_path: Path
) -> None:
    with pytest.raises(ConversionError, match=message):
        convert(folder("llama"), tmp_path / "out.edge", **options)


def test_texts_that_are_none(compress: Made, text: Callable[..., Path], tmp_path: Path) -> None:
    empty, binary = tmp_path / "empty.txt", tmp_path / "binary.txt"
    empty.write_text(" \n")
    binary.write_bytes(b"\xff\xfe\x00")
    for path, message in ((empty, "empty file"), (binary, "UTF-8"), (tmp_path / "none.txt", "UTF-8")):
        with pytest.raises(InputError, match=message):
            compress("llama", "int4", calib=path)
    with pytest.raises(ConversionError, match="at least two tokens"):
        compress("gemma2", "int4", evaluation=text(1))
    with pytest.raises(ConversionError, match="more than 16 tokens"):
        compress("gpt2", "int4", calib=text(16))
    with pytest.raises(ConversionError, match="found an encoder"):
        compress("bert", "int4", method="gptq", calib=text(100))


def test_the_command_line(folder: Callable[[str], Path], text: Callable[..., Path], tmp_path: Path) -> None:
    from click.testing import CliRunner

    from edgert.cli.convert import command

    options = ["--weights", "int4", "--method", "gptq", "--calib", str(text(300)), "--override", "*.down=int8"]
    out, report = tmp_path / "out.edge", tmp_path / "report.json"
    result = CliRunner().invoke(
        command, [str(folder("llama")), "-o", str(out), *options, "--report", str(report), "--samples", "3", "--json"]
    )
    assert result.exit_code == 0, result.output
    found = json.loads(report.read_text())
    assert found["quality"]["overrides"] == ["*.down=int8"]
    assert found["quality"]["arithmetic"].startswith("in float32, as the runtime can not run it here")  # heads of 8
    assert {t["name"]: t["encoding"] for t in found["tensors"]}["layers.0.down"] == "q8g"
