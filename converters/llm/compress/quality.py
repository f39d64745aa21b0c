"""How good a language model still is: perplexity, divergence from the float reference, agreement on the next token.
Sources of logits are given by the caller; what they are measured on is in `calibration.py`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from edgert.converters.llm.compress.walk import Walk, Window
from edgert.converters.llm.importer import LanguageModel
from edgert.errors import EdgertError
from edgert.format.model import Model, StoredTensor
from edgert.graph.ir import Array

POSITIONS = 1024
"""Positions, evenly spaced, at which whole distributions are compared: a divergence known to a few per cent."""
SAMPLE_BYTES = 512 << 20
"""Their distributions take at most this much memory; large vocabularies are compared at fewer positions."""


@dataclass(frozen=True)
class Quality:
    """perplexity: exp of the mean negative log-likelihood per token, the first of each window not counted.
    divergence: mean Jensen-Shannon divergence of the next-token distributions from the reference's, in nats (at most
    log 2). agreement: how often both have the same most likely token, per cent. tokens: that were predicted."""

    perplexity: float
    divergence: float
    agreement: float
    tokens: int

    def as_dict(self) -> dict[str, Any]:
        return {key: float(f"{v:.6g}") if isinstance(v, float) else v for key, v in asdict(self).items()}


@dataclass(frozen=True)
class Reference:
    """What the float model says of `windows`. best: its most likely token at every position. sample: for each
    window the positions compared, and the log-probabilities float32 [positions, V] there."""

    windows: Sequence[Window]
    perplexity: float
    best: list[Array]
    sample: list[tuple[Array, Array]]

    @property
    def tokens(self) -> int:
        return sum(len(window) - 1 for window in self.windows)

    @property
    def quality(self) -> Quality:
        """Of the reference itself."""
        return Quality(self.perplexity, 0.0, 100.0, self.tokens)


def reference_of(windows: Sequence[Window], logits: Iterable[Array]) -> Reference:
    """The reference whose `logits` [n, V] of each of `windows` these are."""
    total = sum(len(window) - 1 for window in windows)
    loss, best = 0.0, []
    sample: list[tuple[Array, Array]] = []
    count: float = POSITIONS
    for window, found in zip(windows, logits, strict=True):
        if not sample:
            count = max(1, min(POSITIONS, SAMPLE_BYTES // (4 * found.shape[1])))
        at = np.arange(0, len(window) - 1, max(1.0, total / count)).astype(np.int64)
        loss += loss_of(window, found)
        best.append(found.argmax(1))
        sample.append((at, log_softmax(found[at])))
    return Reference(windows, perplexity_of(loss, total), best, sample)


def compare(reference: Reference, logits: Iterable[Array]) -> Quality:
    """The quality of the model whose `logits` these are, for the windows of `reference`."""
    loss, same, divergence, positions = 0.0, 0, 0.0, 0
    each = zip(reference.windows, reference.best, reference.sample, logits, strict=True)
    for window, best, (at, expected), found in each:
        loss += loss_of(window, found)
        same += int(np.sum(found[:-1].argmax(1) == best[:-1]))
        divergence += float(np.sum(jensen_shannon(expected, log_softmax(found[at]))))
        positions += len(at)
    tokens = reference.tokens
    return Quality(perplexity_of(loss, tokens), divergence / max(positions, 1), 100.0 * same / max(tokens, 1), tokens)


def perplexity_of(loss: float, tokens: int) -> float:
    """exp(loss / tokens). Raises EdgertError when the loss is not finite."""
    if not np.isfinite(loss):
        raise EdgertError("expected finite logits on the evaluation text, found NaN or infinity: the model is damaged")
    with np.errstate(over="ignore"):
        return float(np.exp(loss / max(tokens, 1)))


def loss_of(window: Window, logits: Array) -> float:
    """The negative log-likelihood of all tokens of `window` but the first: logits float32 [n, V]."""
    rows = logits[:-1]
    top = rows.max(axis=1)
    total = np.exp(rows - top[:, None]).sum(axis=1, dtype=np.float64)
    taken = rows[np.arange(len(rows)), window[1:]]
    return float(np.sum(np.log(total) + top - taken))


def log_softmax(logits: Array) -> Array:
    """float32 [n, V]."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)))


def jensen_shannon(p: Array, q: Array) -> Array:
    """Jensen-Shannon divergence of log-probabilities p, q [n, V], in nats [n]. Source: Lin 1991, section IV."""
    with np.errstate(invalid="ignore"):
        middle = np.logaddexp(p, q) - np.float32(np.log(2))
        parts = [np.nansum(np.exp(x) * (x - middle), axis=1, dtype=np.float64) for x in (p, q)]  # 0 log 0 = 0
    return np.asarray((parts[0] + parts[1]) / 2)


def float_logits(language: LanguageModel, windows: Sequence[Window]) -> Iterator[Array]:
    """Of the model with its weights as they are now, computed in float32."""
    return Walk(language.graph, language.weights, windows).logits()


@dataclass(frozen=True)
class Stored:
    """A tensor of a packed model as a weight."""

    tensor: StoredTensor
    source: str = "stored"

    @property
    def shape(self) -> tuple[int, ...]:
        return self.tensor.shape

    def load(self) -> Array:
        return self.tensor.dense()

    def exact(self) -> None:
        return None


def stored_logits(model: Model, windows: Sequence[Window]) -> Iterator[Array]:
    """Of a packed model with its weights as they are stored, computed in float32."""
    weights = {name: Stored(tensor) for name, tensor in model.tensors.items()}
    return Walk(model.graph, weights, windows).logits()


def runtime_logits(model: Model, windows: Sequence[Window], kv: str = "f16") -> Iterator[Array]:
    """Of a packed model on the runtime, with all that is rounded on a device. Raises what `Decoder` does."""
    from edgert.llm.decoder import Decoder

    decoder = Decoder(model, n_ctx=max(map(len, windows)), kv=kv)
    try:
        for window in windows:
            decoder.truncate(0)
            yield decoder.score(window.tolist())
    finally:
        decoder.close()
