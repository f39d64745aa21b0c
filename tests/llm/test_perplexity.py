"""Perplexity counts the tokens that llama.cpp counts."""

from __future__ import annotations

import math

import numpy as np
import pytest
from fakes import FakeDecoder

from edgert.errors import FormatError, InputError
from edgert.llm import perplexity as module
from edgert.llm.perplexity import perplexity
from edgert.llm.prefix import Context

TOKENS = np.random.default_rng(2).integers(0, 250, 75).tolist()


def loss(window: list[int], place: int) -> float:
    """-log p of window[place] after what is before it in the window."""
    row = FakeDecoder().score(window[:place])[-1].astype(np.float64)
    return float(np.log(np.exp(row).sum()) - row[window[place]])


@pytest.mark.parametrize("bos", [-1, 7])
def test_second_halves_of_windows(bos: int) -> None:
    found = perplexity(Context(FakeDecoder()), TOKENS, window=16, bos=bos)
    windows = [TOKENS[start : start + 16] for start in (0, 16, 32, 48)]
    if bos >= 0:
        windows = [[bos, *window[1:]] for window in windows]
    losses = [loss(window, place) for window in windows for place in range(9, 16)]
    assert (found.tokens, found.windows) == (28, 4)
    assert found.nll == pytest.approx(np.mean(losses), abs=1e-5)
    assert found.value == pytest.approx(math.exp(np.mean(losses)), rel=1e-5)
    assert found.error == pytest.approx(found.value * np.std(losses) / math.sqrt(27), rel=1e-4)


def test_strides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PART_BYTES", 3 * 4 * 260)  # several runs per window
    seen = []
    found = perplexity(Context(FakeDecoder()), TOKENS, window=20, stride=8, progress=lambda *news: seen.append(news))
    starts = range(0, 56, 8)
    losses = [loss(TOKENS[start : start + 20], place) for start in starts for place in range(12, 20)]
    assert (found.tokens, found.windows) == (56, 7)
    assert found.nll == pytest.approx(np.mean(losses), abs=1e-5)
    assert [news[:2] for news in seen] == [(i, 7) for i in range(1, 8)]
    assert seen[-1][2] == pytest.approx(found.value)


def test_wrong_windows() -> None:
    for options in ({"window": 65}, {"window": 3}, {"window": 16, "stride": 16}, {"window": 16, "stride": 0}):
        with pytest.raises(InputError, match="stride" if "stride" in options else "window"):
            perplexity(Context(FakeDecoder()), TOKENS, **options)
    with pytest.raises(InputError, match="at least one window"):
        perplexity(Context(FakeDecoder()), TOKENS[:15], window=16)


def test_logits_that_are_no_numbers() -> None:
    class Broken(FakeDecoder):
        def _logits(self, count: int) -> np.ndarray:
            return np.full(260, np.nan, np.float32)

    with pytest.raises(FormatError, match="finite"):
        perplexity(Context(Broken()), TOKENS, window=16)
