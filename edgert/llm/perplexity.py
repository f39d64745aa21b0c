"""Perplexity of a text: how well a model predicts it, counted as llama.cpp counts by default.

Other measures of quality, and comparisons of two models, are converters/ and bench/.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from edgert.errors import InputError
from edgert.llm.prefix import Context
from edgert.llm.sampler import check_peak

PART_BYTES = 16 << 20
"""Logits that are held at once."""


@dataclass(frozen=True)
class Perplexity:
    """value: e to the mean negative log-likelihood `nll` (nats per token) of `tokens` tokens in `windows` windows.
    error: standard error of the value, as llama.cpp prints it."""

    value: float
    error: float
    nll: float
    tokens: int
    windows: int


def perplexity(
    context: Context,
    tokens: Sequence[int],
    *,
    window: int = 512,
    stride: int | None = None,
    bos: int = -1,
    progress: Callable[[int, int, float], None] | None = None,
) -> Perplexity:
    """Perplexity of `tokens` in windows of `window`, each read from its own beginning.

    Without stride: windows follow each other, and of each the second half counts, the predictions of the tokens
    window/2 + 1 to window - 1 (counted from 0); what is left at the end does not. This is `llama-perplexity`. With
    stride: windows begin `stride` tokens apart and the last `stride` tokens of each count, as its --ppl-stride.
    bos: replaces the first token of every window, if the model begins texts so; -1 for none. progress: called with
    (windows done, windows, perplexity so far).

    Raises InputError for a text that is shorter than a window and for a window that the context does not hold.
    """
    if not 4 <= window <= context.size:
        raise InputError(f"window: expected 4..{context.size} tokens, the context, found {window}")
    if stride is not None and not 1 <= stride < window:
        raise InputError(f"stride: expected 1..{window - 1} tokens, less than the window, found {stride}")
    if len(tokens) < window:
        raise InputError(
            f"expected a text of at least one window, {window} tokens, found {len(tokens)}; use a smaller window"
        )
    step = stride or window
    first = window - 1 - stride if stride else window // 2
    starts = range(0, len(tokens) - window + 1, step)
    losses: list[float] = []
    for done, start in enumerate(starts, 1):
        part = list(tokens[start : start + window])
        if bos >= 0:
            part[0] = bos
        losses += _losses(context, part, first)
        if progress is not None:
            progress(done, len(starts), math.exp(math.fsum(losses) / len(losses)))
    nll = math.fsum(losses) / len(losses)
    spread = math.fsum(loss * loss for loss in losses) / len(losses) - nll * nll
    error = math.sqrt(max(0.0, spread) / max(1, len(losses) - 1))
    return Perplexity(math.exp(nll), error * math.exp(nll), nll, len(losses), len(starts))


def _losses(context: Context, window: list[int], first: int) -> list[float]:
    """Negative log-likelihoods of window[first + 1 :]."""
    context.truncate(0)
    context.prefill(window[:first])
    rows = max(1, PART_BYTES // (4 * context.decoder.vocabulary))
    losses: list[float] = []
    for start in range(first, len(window) - 1, rows):
        end = min(start + rows, len(window) - 1)
        logits = context.score(window[start:end])
        peaks = logits.max(axis=1)
        check_peak(float(peaks.max()))
        totals = np.log(np.exp(logits - peaks[:, None]).sum(axis=1, dtype=np.float64)) + peaks
        right = logits[np.arange(end - start), window[start + 1 : end + 1]]
        losses += (totals - right).tolist()
    return losses
