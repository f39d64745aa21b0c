"""`edgert quickstart`: from the shipped ONNX file to ten answers, offline."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgert.cli.main import main

pytest.importorskip("onnx")
pytest.importorskip("PIL")


@pytest.mark.slow
def test_quickstart(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["quickstart", "--json", "--keep", str(tmp_path)]) == 0
    found = json.loads(capsys.readouterr().out)
    assert len(found["samples"]) == 10
    for row in found["samples"]:
        assert row["f32"]["label"] == row["int8"]["label"] == row["right"]
    sizes = {weights: model["bytes"] for weights, model in found["models"].items()}
    assert sizes["int8"] < 300_000 < sizes["f32"]
    for model in found["models"].values():
        assert Path(model["file"]).stat().st_size == model["bytes"]
        assert model["median_ms"] > 0
