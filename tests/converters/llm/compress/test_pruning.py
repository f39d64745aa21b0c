"""Conversions with pruning, as a user asks for them: zeros where they were asked for, reports, warnings, refusals."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgert.converters.convert import convert
from edgert.converters.llm.compress.compression import Compressor, options_from
from edgert.converters.llm.compress.matrix import parts_of
from edgert.converters.llm.compress.policy import PruneOverride, parse_override
from edgert.converters.llm.convert import convert_language_model
from edgert.converters.llm.importer import import_language_model
from edgert.converters.llm.report import LanguageReport
from edgert.errors import ConversionError
from edgert.format.model import Model

Made = Callable[..., tuple[Model, LanguageReport]]


@pytest.fixture
def compress(folder: Callable[[str], Path], tmp_path: Path) -> Made:
    """compress(case, weights, **options of the command line): the packed model and its report; in NumPy alone."""

    def made(case: str, weights: str = "f16", **given: Any) -> tuple[Model, LanguageReport]:
        names = ("method", "asymmetric", "overrides", "calib", "samples", "evaluation", "max_loss", "prune", "pattern",
                 "sparsity", "allocation", "refined")  # fmt: skip
        defaults = {"asymmetric": False, "overrides": (), "refined": False}
        options = options_from(weights, *(given.get(name, defaults.get(name)) for name in names))
        object.__setattr__(options, "window", 16)
        object.__setattr__(options, "runtime", False)
        compressor = Compressor(options)
        result = convert_language_model(
            folder(case), tmp_path / "out.edge", weights=weights, policy=compressor.policy,
            compress=compressor.compress, judge=compressor.judge,
        )  # fmt: skip
        assert isinstance(result.report, LanguageReport)
        return result.model, result.report

    return made


def zeros(model: Model) -> dict[str, float]:
    """The share of zeros of every matrix of the layers."""
    names = [n for n, t in model.tensors.items() if n.startswith("layers.") and len(t.shape) == 2]
    return {name: float(np.mean(model.tensors[name].dense() == 0)) for name in names}


@pytest.mark.parametrize("weights", ["f16", "int8", "int4"])
@pytest.mark.parametrize("prune", ["magnitude", "wanda", "sparsegpt"])
def test_criteria(prune: str, weights: str, compress: Made, text: Callable[..., Path]) -> None:
    model, report = compress("llama", weights, prune=prune, sparsity=0.4, calib=text(1000), evaluation=text(100, 1))
    assert all(0.39 < share < 0.55 for share in zeros(model).values())
    assert not (model.tensors["embedding"].dense() == 0).mean() > 0.1
    found = report.quality
    assert found["pruning"]["criterion"] == prune
    assert found["pruning"]["pattern"] == "unstructured"
    assert set(found["pruning"]["sparsities"].values()) == {0.4}
    assert found["after"]["perplexity"] > 0
    assert set(found["output_errors"]) == set(zeros(model))
    assert found["method"] == ("gptq" if prune == "sparsegpt" and weights != "f16" else "rtn")
    assert f"pruned {len(zeros(model))} matrices: {prune}, unstructured 40 %" in report.table()


@pytest.mark.parametrize("case", ["gemma2", "gpt2"])
def test_other_architectures(case: str, compress: Made, text: Callable[..., Path]) -> None:
    model, _ = compress(case, prune="sparsegpt", calib=text(500))
    assert all(0.45 < share < 0.55 for share in zeros(model).values())


def test_compensation_and_awareness_of_inputs_pay(compress: Made, text: Callable[..., Path]) -> None:
    errors = {}
    for prune in ("magnitude", "wanda", "sparsegpt"):
        _, report = compress("llama", prune=prune, calib=text(2000))
        errors[prune] = np.mean(list(report.quality["output_errors"].values()))
    assert errors["sparsegpt"] < errors["wanda"] < errors["magnitude"]


@pytest.mark.parametrize(
    ("pattern", "n", "m"), [("nm:2:4", 2, 4), ("nm:6:8", 6, 8)]
)  # patterns themselves are tested with the pruners
def test_patterns(pattern: str, n: int, m: int, compress: Made, text: Callable[..., Path]) -> None:
    model, report = compress("llama", "int4", prune="sparsegpt", pattern=pattern, calib=text(500))
    for name in zeros(model):
        kept = model.tensors[name].dense() != 0
        whole = kept[:, : kept.shape[1] // m * m]
        assert (whole.reshape(-1, m).sum(axis=1) <= n).all()
    assert report.quality["pruning"]["sparsity"] == 1 - n / m


@pytest.mark.parametrize("method", ["rtn", "awq", "gptq", "awq+gptq"])
@pytest.mark.parametrize("prune", ["wanda", "sparsegpt"])
def test_pruning_goes_with_every_way_of_rounding(
    method: str, prune: str, compress: Made, text: Callable[..., Path]
) -> None:
    model, report = compress("llama", "int4", method=method, prune=prune, sparsity=0.3, calib=text(500))
    assert all(share >= 0.29 for share in zeros(model).values())
    assert report.quality["method"] == method
    assert all(error < 0.9 for error in report.quality["output_errors"].values())


def test_magnitude_needs_no_text(compress: Made) -> None:
    """Not even a model that predicts tokens; but then nobody knows what it cost."""
    for weights in ("f16", "int8"):
        model, report = compress("bert", weights, prune="magnitude")
        assert all(0.49 < share < 0.6 for share in zeros(model).values())
    assert report.warnings == [
        "magnitude, unstructured 50 %: what that costs was not measured; give a text with --eval TEXT"
    ]
    assert "warning: magnitude, unstructured 50 %" in report.table()


def test_overrides(compress: Made, text: Callable[..., Path]) -> None:
    overrides = ["layers.*=prune:0.25", "layers.0.*=prune:none", "*.down=int8", "layers.1.o=prune:0.75"]
    model, report = compress("llama", "int4", prune="wanda", overrides=overrides, calib=text(500))
    found = zeros(model)
    sparsities = report.quality["pruning"]["sparsities"]
    assert "layers.0.qkv" not in sparsities
    assert sparsities["layers.1.down"] == 0.25
    assert found["layers.1.o"] >= 0.74
    assert found["layers.1.qkv"] < 0.5
    assert model.tensors["layers.0.down"].encoding == "q8g"
    assert report.quality["overrides"] == ["*.down=int8", *(o for o in overrides if "prune" in o)]


def test_the_budget_is_shared(compress: Made, text: Callable[..., Path]) -> None:
    model, report = compress("llama", prune="sparsegpt", allocation="sensitivity", calib=text(500))
    shares = report.quality["pruning"]["sparsities"]
    sizes = {name: np.prod(model.tensors[name].shape) for name in shares}
    assert sum(shares[n] * sizes[n] for n in shares) == pytest.approx(0.5 * sum(sizes.values()), rel=0.01)
    assert len(set(shares.values())) > 2
    assert ", from " in report.table()
    found = zeros(model)
    assert all(found[name] == pytest.approx(share, abs=0.02) for name, share in shares.items())


@pytest.mark.parametrize("prune", ["magnitude", "wanda", "sparsegpt"])
def test_refinement(prune: str, compress: Made, text: Callable[..., Path]) -> None:
    model, report = compress("llama", prune=prune, refined=True, calib=text(500))
    assert all(0.45 < share < 0.55 for share in zeros(model).values())
    assert report.quality["pruning"]["refine"]
    assert "refined by DSnoT" in report.table()


def test_a_large_loss_is_a_warning_or_a_refusal(
    compress: Made, text: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgert.converters.llm.compress.compression.LARGE_LOSS", -100.0)
    given = {"prune": "wanda", "pattern": "rowgroup", "calib": text(500), "evaluation": text(100, 1)}
    _, report = compress("llama", "int8", **given)
    (warning,) = report.warnings
    assert "wanda, rowgroup 50 % raises the perplexity by" in warning
    for advice in ("--prune sparsegpt", "--pattern unstructured or nm:6:8", "--sparsity 0.3", "4.5 bits per weight"):
        assert advice in warning
    (tmp_path / "out.edge").unlink()
    with pytest.raises(ConversionError, match=r"perplexity rises .* than the accepted -90 %; wanda, rowgroup"):
        compress("llama", "int8", max_loss=-90.0, **given)
    assert not (tmp_path / "out.edge").exists()


def test_parts(tmp_path: Path, folder: Callable[[str], Path]) -> None:
    language = import_language_model(folder("llama"))
    rows = {name: language.graph.types[name].static_shape[0] for name in ("layers.0.qkv", "layers.0.gate_up")}
    qkv = parts_of(language.graph, "layers.0.qkv")
    assert len(qkv) == 3
    assert sum(qkv) == rows["layers.0.qkv"]
    assert qkv[0] > qkv[1] == qkv[2]
    assert parts_of(language.graph, "layers.0.gate_up") == (rows["layers.0.gate_up"] // 2,) * 2
    assert parts_of(language.graph, "layers.0.down") == ()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"prune": "wanda", "weights": "f16"}, "pruning by wanda, unstructured 50 % needs a text to calibrate with"),
        ({"prune": "magnitude", "weights": "f16", "refine": True}, "refined by DSnoT needs a text"),
        ({"prune": "magnitude", "weights": "f16", "allocate": "sensitivity"}, "shared by sensitivity needs a text"),
        ({"prune": "magnitude"}, "pruning needs --weights f16, int8, int4"),
        ({"prune": "magnitude", "weights": "int4", "asymmetric": True}, "exactly 0, which asymmetric int4 has not"),
        ({"prune": "random", "weights": "f16"}, "expected to prune by magnitude, wanda, sparsegpt, found 'random'"),
        ({"prune": "magnitude", "weights": "f16", "pattern": "5x5"}, "expected blocks"),
        ({"prune": "magnitude", "weights": "f16", "pattern": "nm:2:4", "sparsity": 0.3}, "always has 50 % zeros"),
        ({"prune": "magnitude", "weights": "f16", "allocate": "fair"}, "an allocation among uniform, sensitivity"),
        ({"sparsity": 0.3, "weights": "f16"}, "--sparsity say how to prune; say by what with --prune"),
        ({"overrides": ["*=prune:0.3"], "weights": "f16"}, r"override '\*=prune:0\.3' needs --prune"),
        ({"prune": "magnitude", "weights": "f16", "overrides": ["embedding=prune:0.3"]}, "matches no matrix"),
        ({"prune": "magnitude", "weights": "int8", "overrides": ["*.down=f32"]}, "needs f16, int8 or int4, found f32"),
    ],
)
def test_options_that_make_no_sense(
    options: dict[str, Any], message: str, folder: Callable[[str], Path], tmp_path: Path
) -> None:
    with pytest.raises(ConversionError, match=message):
        convert(folder("llama"), tmp_path / "out.edge", **options)


def test_more_that_makes_no_sense(compress: Made, text: Callable[..., Path]) -> None:
    with pytest.raises(ConversionError, match="refinement exchanges single weights, found the pattern group"):
        compress("llama", prune="wanda", pattern="group", refined=True, calib=text(100))
    with pytest.raises(ConversionError, match="nm:2:4 gives all matrices the same share"):
        compress("llama", prune="wanda", pattern="nm:2:4", allocation="sensitivity", calib=text(100))


def test_overrides_as_text() -> None:
    assert parse_override("layers.0.*=prune:none") == PruneOverride("layers.0.*", None)
    assert parse_override("*.down=prune:0.3") == PruneOverride("*.down", 0.3)
    assert str(parse_override("*.down=prune:0.30")) == "*.down=prune:0.3"
    for wrong in ("*=prune:", "*=prune:1", "*=prune:-0.1", "*=prune:some", "*=prune:nan"):
        with pytest.raises(ConversionError, match=r"expected prune:none or a share of zeros such as prune:0\.3"):
            parse_override(wrong)


def test_the_command_line(folder: Callable[[str], Path], text: Callable[..., Path], tmp_path: Path) -> None:
    from click.testing import CliRunner

    from edgert.cli.convert import command

    out, report = tmp_path / "out.edge", tmp_path / "report.json"
    options = ["--weights", "f16", "--prune", "sparsegpt", "--pattern", "nm:4:8", "--refine", "--calib", str(text(300))]
    result = CliRunner().invoke(
        command, [str(folder("llama")), "-o", str(out), *options, "--report", str(report), "--samples", "3", "--json"]
    )
    assert result.exit_code == 0, result.output
    assert json.loads(report.read_text())["quality"]["pruning"]["pattern"] == "nm:4:8"
