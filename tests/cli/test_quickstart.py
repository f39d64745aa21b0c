"""`edgert quickstart`: from the shipped ONNX files to ten answers each, offline."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from edgert.cli import quickstart
from edgert.cli.main import main
from edgert.models import FASHION_MNIST, FASHION_MNIST_SPARSE

pytest.importorskip("onnx")
pytest.importorskip("PIL")

MAX_ONNX_BYTES = 1_000_000
MAX_SPARSE_BYTES = 0.45
"""Of the dense int8 file."""


@pytest.mark.slow
def test_quickstart(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["quickstart", "--json", "--keep", str(tmp_path)]) == 0
    found = json.loads(capsys.readouterr().out)
    models: dict[str, Any] = found["models"]
    assert list(models) == ["float", "int8", "sparse int8"]
    assert len(found["samples"]) == 10
    for row in found["samples"]:
        assert all(answer["label"] == row["right"] for answer in row["answers"].values()), row["file"]
    for model in models.values():
        assert Path(model["file"]).stat().st_size == model["bytes"]
        assert model["median_ms"] > 0 and model["right_samples"] == 10
        assert 0.9 < model["top1_of_10000"] < 1
    assert models["int8"]["bytes"] < 300_000 < models["float"]["bytes"]
    assert models["sparse int8"]["bytes"] <= MAX_SPARSE_BYTES * models["int8"]["bytes"]
    assert models["int8"]["density"] == models["float"]["density"] == 1
    assert models["sparse int8"]["density"] < 0.25
    text = "\n".join(quickstart.describe(found))
    for words in ("float", "int8", "sparse int8", "10 of 10", "0-t-shirt-top.png", "sparse beside dense int8: 0."):
        assert words in text


def test_the_models_that_ship_are_small() -> None:
    assert max(path.stat().st_size for path in (FASHION_MNIST, FASHION_MNIST_SPARSE)) < MAX_ONNX_BYTES


def test_wrong_answers_are_marked() -> None:
    model = {"bytes": 2048, "median_ms": 0.1, "density": 0.5, "right_samples": 0, "top1_of_10000": 0.93}
    answers = {form.name: {"label": "Coat", "probability": 0.5} for form in quickstart.FORMS}
    result = {
        "samples": [{"file": "3-dress.png", "right": "Dress", "answers": answers}],
        "models": {form.name: model for form in quickstart.FORMS},
    }
    lines = quickstart.describe(result)
    assert lines[1].endswith("(is Dress)") and "0 of 1" in lines[-2] and "93.00 % right" in lines[-2]
    assert lines[-1] == "sparse beside dense int8: 1.00x the bytes, 1.00x the speed"
