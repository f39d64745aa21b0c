"""A real model: three layers in int4, by round-to-nearest and by GPTQ."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edgert.assets.fetch import pull
from edgert.converters.llm.compress.compression import Compressor, options_from
from edgert.converters.llm.compress.quality import float_logits, reference_of
from edgert.converters.llm.importer import import_language_model
from edgert.converters.llm.report import LanguageReport


@pytest.mark.model
def test_gptq_beats_round_to_nearest(tmp_path: Path) -> None:
    austen, calib = pull("austen"), tmp_path / "emma.txt"
    calib.write_text((austen / "emma.txt").read_text("utf-8")[:20_000], "utf-8")
    text = tmp_path / "pride.txt"
    text.write_text((austen / "prideprejudice.txt").read_text("utf-8")[60_000:62_500], "utf-8")
    rise: dict[str, Any] = {}
    original = None
    for method in ("rtn", "gptq"):
        language = import_language_model(pull("smollm2-135m"))
        options = options_from(
            "keep", method, False, ["layers.[0-2].*=int4"], calib if method == "gptq" else None, 8, text, None
        )
        compressor = Compressor(options)
        compressor.compress(language, LanguageReport("keep"))
        assert compressor.evaluation is not None
        windows = compressor.evaluation.windows
        assert compressor.original is not None
        original = original or reference_of(windows, float_logits(compressor.original, windows)).perplexity
        rise[method] = reference_of(windows, float_logits(language, windows)).perplexity / original - 1
    assert 0 < rise["gptq"] < rise["rtn"] < 0.2
