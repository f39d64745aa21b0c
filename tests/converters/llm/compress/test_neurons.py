"""`--neurons`: thresholds by loss, share or size; what is stored; what the report says; what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgert.converters.convert import convert
from edgert.converters.llm.compress.compression import Compressor, options_from
from edgert.converters.llm.compress.neurons import round_neurons
from edgert.converters.llm.compress.thresholds import Gates, parse_neurons
from edgert.converters.llm.convert import convert_language_model
from edgert.converters.llm.report import LanguageReport
from edgert.errors import ConversionError
from edgert.format import read_model
from edgert.format.model import Model
from edgert.graph.ir import Node
from edgert.graph.neurons import thresholds
from edgert.llm.decoder import Decoder

Made = Callable[..., tuple[Model, LanguageReport]]


@pytest.fixture
def compress(folder: Callable[[str], Path], tmp_path: Path, text: Callable[..., Path]) -> Made:
    """compress(neurons, weights, method, judged, case): the packed model and its report, calibrated on a text."""

    def made(
        neurons: str, weights: str = "int4", method: str | None = None, judged: bool = False, case: str = "llama"
    ) -> Any:
        calib = None if neurons.startswith("t=") else text(1000)
        options = options_from(
            weights, method, False, [], calib, 8, text(200, 1) if judged else None, None, neurons=neurons
        )
        compressor = Compressor(options)
        result = convert_language_model(
            folder(case), tmp_path / "out.edge", weights=options.precision.weights, policy=compressor.policy,
            compress=compressor.compress, judge=compressor.judge,
        )  # fmt: skip
        return result.model, result.report

    return made


@pytest.mark.parametrize(("weights", "encoding"), [("int4", "neurons4"), ("int8", "neurons8"), ("keep", "neurons8")])
def test_encodings(weights: str, encoding: str, compress: Made) -> None:
    model, report = compress("t=0.05", weights)
    assert thresholds(model.graph) == {f"layers.{i}.neurons": 0.05 for i in range(2)}
    assert {model.tensors[f"layers.{i}.neurons"].encoding for i in range(2)} == {encoding}
    assert "layers.0.gate" in model.tensors and "layers.0.down" not in model.tensors
    errors = {tensor.name: tensor.error for tensor in report.tensors if tensor.name.endswith(".neurons")}
    assert len(errors) == 2 and all(0 < error < (0.01 if encoding == "neurons8" else 0.15) for error in errors.values())
    assert report.quality["neurons"]["layers"]["layers.1.neurons"] == {"threshold": 0.05}


@pytest.mark.parametrize("method", [None, "gptq"])
def test_a_share_rests_in_every_layer(method: str | None, compress: Made) -> None:
    _, report = compress("0.4", "int4", method, judged=True)
    found = report.quality["neurons"]
    assert found["asked"] == "0.4" and found["active"] == pytest.approx(0.6, abs=0.01)
    assert all(layer["active"] == pytest.approx(0.6, abs=0.01) for layer in found["layers"].values())
    assert np.isfinite(found["calibrated_loss_percent"])
    every, after = found["every_neuron"]["perplexity"], report.quality["after"]["perplexity"]
    assert found["loss_percent"] == pytest.approx(100 * (after / every - 1), abs=1e-3)
    assert any("60 % of the neurons are active" in line for line in report.summary)
    assert any("skipping costs" in line for line in report.summary)


def test_as_many_rest_as_the_loss_allows(compress: Made) -> None:
    shares = []
    for loss in ("0%", "2%", "20%"):
        _, report = compress(loss)
        found = report.quality["neurons"]
        assert found["calibrated_loss_percent"] <= float(loss[:-1])
        shares.append(found["active"])
    assert shares[0] > 0.99 and shares[0] > shares[1] > shares[2]


def test_the_runtime_skips_what_the_file_says(compress: Made, tmp_path: Path) -> None:
    compress("0.5", "int8", case="mistral")
    model = read_model(tmp_path / "out.edge")
    tokens = list(range(20))
    made = {}
    for factor in (1.0, 0.0):
        decoder = Decoder(model, n_ctx=32, threads=1, neurons=factor)
        made[factor] = decoder.score(tokens)
        decoder.truncate(0)
        one = [decoder.decode(token) for token in tokens]
        np.testing.assert_array_equal(np.stack(one), made[factor])
        decoder.close()
    assert np.abs(made[1.0] - made[0.0]).max() > 1e-3


def test_rounding_of_columns_makes_good_what_it_can() -> None:
    rng = np.random.default_rng(0)
    neurons = rng.standard_normal((96, 2, 64)).astype(np.float32)
    mixed = rng.standard_normal((96, 96))
    values, inputs = rng.standard_normal((400, 24)) @ mixed[:24] * 3, rng.standard_normal((400, 64))
    moments = [v.T @ v / len(v) for v in (inputs, values)]
    plain = round_neurons(neurons, "neurons4", "made", moments[0])
    swept = round_neurons(neurons, "neurons4", "made", *moments, sweeping=True)
    wanted = values @ neurons[:, 1]
    errors = [np.linalg.norm(values @ held.load()[:, 1] - wanted) for held in (plain, swept)]
    assert errors[1] < 0.7 * errors[0]
    assert plain.encoding == "neurons4" and plain.error < swept.error < 0.3


def test_thresholds_are_quantiles() -> None:
    gates = Gates(Node("NeuronFFN", (), ()), np.arange(1, 1001, dtype=np.float32))
    for share in (0.0, 0.25, 0.5, 0.9):
        assert gates.active(gates.threshold(share)) == pytest.approx(1 - share, abs=0.002)
    still = Gates(Node("NeuronFFN", (), ()), np.zeros(100, np.float32))
    assert still.threshold(0.5) == 0 and still.active(0.0) == 0


@pytest.mark.parametrize("asked", ["", "1", "-0.1", "x%", "t=", "t=-1", "nan", "t=inf", "1e9%"])
def test_what_makes_no_sense_is_refused(asked: str) -> None:
    with pytest.raises(ConversionError, match="expected neurons as"):
        parse_neurons(asked)


def test_what_does_not_fit_is_refused(folder: Callable[[str], Path], tmp_path: Path, text: Callable[..., Path]) -> None:
    out = tmp_path / "x.edge"
    with pytest.raises(ConversionError, match="neurons=1% needs a text to calibrate with"):
        convert(folder("llama"), out, weights="int4", neurons="1%")
    with pytest.raises(ConversionError, match="use --method gptq"):
        convert(folder("llama"), out, weights="int4", neurons="0.2", method="awq", calib=text(200))
    with pytest.raises(ConversionError, match="here are none"):
        convert(folder("gpt2"), out, weights="int4", neurons="t=0")
    (tmp_path / "a.onnx").write_bytes(b"")
    with pytest.raises(ConversionError, match="for language models"):
        convert(tmp_path / "a.onnx", out, neurons="t=0")
    assert not out.exists()
