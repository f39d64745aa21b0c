"""Which token comes next: from logits to a token, by temperature, top-k, top-p, min-p, penalties and biases.

Pure numbers: what a token says is tokenizer.py, what a grammar lets pass comes in as a mask from constrain.py.
"""

from __future__ import annotations

import math
import secrets
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from edgert.errors import FormatError, InputError

Logits = npt.NDArray[np.float32]
Ids = npt.NDArray[np.intp]
Mask = npt.NDArray[np.bool_]


class Largest(NamedTuple):
    """The largest of all logits: `ids` in ascending order, and the logits of these tokens. See selection.py."""

    ids: Ids
    values: Logits


Scores = Logits | Largest
"""What a token is drawn from: all logits [V], or the largest where these are enough."""

COLUMNS = 512
"""Logits are looked at in so many interleaved columns to find the largest: see `largest`."""
NUCLEUS = 1024
"""With top-p and without top-k, the tokens that are looked at first: nearly always enough to reach it."""


@dataclass(frozen=True)
class Sampling:
    """How tokens are drawn. The defaults are llama.cpp's; temperature 0 is greedy and ignores top_k, top_p, min_p.

    As there: biases, then penalties, then top-k, top-p and min-p on the distribution at temperature 1, and
    temperature last. top_k: the so many most probable, 0 for all. top_p: the fewest most probable that together
    reach it (Holtzman et al. 2020, 'The curious case of neural text degeneration'). min_p: those at least min_p
    times as probable as the best (Nguyen et al. 2024, 'Turning up the heat'). repeat_penalty: logits of the last
    `repeat_last_n` tokens, the prompt's too, are divided by it, or multiplied where negative (Keskar et al. 2019,
    'CTRL', section 4.1). frequency_penalty and presence_penalty are subtracted from them, for each time and once.
    logit_bias: added to the logits of single tokens; -inf forbids one. seed: None draws one, see Sampler.seed.
    """

    temperature: float = 0.8
    top_k: int = 40
    top_p: float = 0.95
    min_p: float = 0.05
    repeat_penalty: float = 1.0
    repeat_last_n: int = 64
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    seed: int | None = None

    def __post_init__(self) -> None:
        """Raises InputError for a value that makes no sense."""
        finite = ("temperature", "top_p", "min_p", "repeat_penalty", "frequency_penalty", "presence_penalty")
        for name in finite:
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
                raise InputError(f"{name}: expected a number, found {value!r}")
        for name in ("top_k", "repeat_last_n", "seed"):
            value = getattr(self, name)
            if value is None and name == "seed":
                continue
            if isinstance(value, bool) or not isinstance(value, int) or value < 0:
                raise InputError(f"{name}: expected an integer from 0 on, found {value!r}")
        ranges = {
            "temperature": (self.temperature >= 0, "0 (greedy) or more"),
            "top_p": (0 < self.top_p <= 1, "more than 0 and at most 1 (off)"),
            "min_p": (0 <= self.min_p <= 1, "0 (off) to 1"),
            "repeat_penalty": (self.repeat_penalty > 0, "more than 0; 1 is off"),
        }
        for name, (right, expected) in ranges.items():
            if not right:
                raise InputError(f"{name}: expected {expected}, found {getattr(self, name)!r}")

    @property
    def greedy(self) -> bool:
        return self.temperature == 0

    @property
    def penalises(self) -> bool:
        """Whether it matters which tokens came before."""
        off = self.repeat_penalty == 1 and self.frequency_penalty == 0 and self.presence_penalty == 0
        return not off and self.repeat_last_n > 0


class Sampler:
    """Draws the tokens of one text. The same options, seed, tokens before and logits give the same tokens.

    seed: the one in use, to ask for the same text again.
    """

    def __init__(self, options: Sampling, vocabulary: int, history: Sequence[int] = ()) -> None:
        """history: the prompt, which penalties count in. Raises InputError for a bias of no token."""
        self.options = options
        self.seed = secrets.randbits(32) if options.seed is None else options.seed
        self._random = np.random.default_rng(self.seed)
        self._recent: deque[int] = deque(history, maxlen=options.repeat_last_n)
        self._bias_ids, self._bias = biases(options.logit_bias, vocabulary)

    def next(self, logits: Scores, allowed: Mask | None = None) -> int:
        """The token that follows, of `logits` float32 [V] and those `allowed` (bool [V], None for all). The largest
        logits give the same where selection.why_all has nothing against it.

        Raises FormatError for logits that are no numbers, InputError if no token is left to choose from.
        """
        ids = None
        if isinstance(logits, Largest):
            ids, logits = logits
            allowed = None if allowed is None else allowed[ids]
        scores = self._adjusted(logits, ids)
        if allowed is not None:
            scores = np.where(allowed, scores, np.float32(-np.inf))
        place = int(scores.argmax())  # of NaN, should there be one
        check_peak(float(scores[place]))
        if not self.options.greedy:
            place = self._draw(scores, place)
        token = place if ids is None else int(ids[place])
        self._recent.append(token)
        return token

    def _adjusted(self, logits: Logits, ids: Ids | None = None) -> Logits:
        """`logits`, of all tokens or of `ids`, with biases and penalties: a copy if there are any."""
        penalises = self.options.penalises and len(self._recent) > 0
        if not penalises and not len(self._bias_ids):
            return logits
        scores = logits.copy()
        places, there = _places(self._bias_ids, ids)
        scores[places] += self._bias[there]
        if penalises:
            options = self.options
            tokens, times = np.unique(np.fromiter(self._recent, np.intp), return_counts=True)
            places, there = _places(tokens, ids)
            old = scores[places]
            new = np.where(old > 0, old / options.repeat_penalty, old * options.repeat_penalty)
            scores[places] = new - times[there] * options.frequency_penalty - options.presence_penalty
        return scores

    def _draw(self, scores: Logits, best: int) -> int:
        peak = scores[best]
        ids = candidates(scores, float(peak), self.options)
        kept = scores if ids is None else scores[ids]
        with np.errstate(over="ignore"):  # a temperature near zero: -inf, which is right
            weights = np.exp((kept - peak).astype(np.float64) / self.options.temperature)
        sums = np.cumsum(weights)
        # random() < 1, but its product with the sum may round up to it.
        place = min(int(np.searchsorted(sums, self._random.random() * sums[-1], side="right")), len(sums) - 1)
        return place if ids is None else int(ids[place])


def _places(tokens: Ids, ids: Ids | None) -> tuple[Ids, Mask | slice]:
    """(where `tokens` are among `ids`, which of them are there). ids: ascending; None for all tokens."""
    if ids is None:
        return tokens, slice(None)
    places = np.minimum(np.searchsorted(ids, tokens), len(ids) - 1)
    there = ids[places] == tokens
    return places[there], there


def check_peak(peak: float) -> None:
    """Raises unless the largest logit is a finite number."""
    if peak == -math.inf:
        raise InputError(
            "expected a token to choose from, found none: the logit bias or the grammar forbids them all; allow some"
        )
    if not math.isfinite(peak):
        hint = "its weights are damaged, or too large for float16: convert it again"
        raise FormatError(None, None, "logits that are finite numbers", str(peak), hint)


def biases(table: Mapping[int, float], vocabulary: int) -> tuple[Ids, Logits]:
    """(tokens, what is added to each) of a logit bias. Raises InputError for what is none."""
    for token, bias in table.items():
        if isinstance(token, bool) or not isinstance(token, int) or not 0 <= token < vocabulary:
            raise InputError(f"logit_bias: expected tokens 0..{vocabulary - 1}, found {token!r}")
        if isinstance(bias, bool) or not isinstance(bias, int | float) or not bias < math.inf:
            raise InputError(f"logit_bias: expected a number or -inf for token {token}, found {bias!r}")
    return np.fromiter(table, np.intp), np.fromiter(table.values(), np.float32)


def largest(scores: Logits, count: int) -> Ids:
    """Places of the `count` largest of `scores` [V], largest first, of equal ones the first; without those at -inf.

    Of the maxima of COLUMNS columns, `count` are at least the count-th largest maximum, so nothing below it is
    wanted: one vectorised pass in place of a selection among all of V.
    """
    size, columns = len(scores), max(COLUMNS, 2 * count)
    if size < 2 * columns:
        ids = np.flatnonzero(scores > -np.inf)
    else:
        maxima = scores[: size // columns * columns].reshape(-1, columns).max(axis=0)
        bound = np.partition(maxima, columns - count)[columns - count]
        ids = np.flatnonzero(scores >= bound if bound > -np.inf else scores > bound)
    return ids[np.argsort(-scores[ids], kind="stable")[:count]]


def candidates(scores: Logits, peak: float, options: Sampling) -> Ids | None:
    """The tokens that top-k, top-p and min-p leave, None for all. peak: the largest score.

    With top-k, top-p is of their sum alone, as in llama.cpp.
    """
    floor = peak + math.log(options.min_p) if options.min_p > 0 else -math.inf
    if options.top_k:
        ids = largest(scores, options.top_k)
        if options.top_p < 1:
            ids = ids[: _reaching(scores[ids], peak, options.top_p)]
        return ids[scores[ids] >= floor]
    if options.top_p < 1:
        total = np.exp(scores - np.float32(peak)).sum(dtype=np.float64)
        best = scores[largest(scores, NUCLEUS)]
        count = _reaching(best, peak, options.top_p, total)
        if count > len(best):  # a flat distribution
            best = np.sort(scores)[::-1]
            count = _reaching(best, peak, options.top_p, total)
        floor = max(floor, float(best[min(count, len(best)) - 1]))
    return None if floor == -math.inf else np.flatnonzero(scores >= floor)


def _reaching(ordered: Logits, peak: float, top_p: float, total: float | None = None) -> int:
    """How many of `ordered`, largest first, it takes to reach `top_p` of `total`, default their own sum; one more than
    there are if they do not."""
    sums = np.cumsum(np.exp(ordered - np.float32(peak)), dtype=np.float64)
    return int(np.searchsorted(sums, top_p * (sums[-1] if total is None else total))) + 1


def log_probabilities(logits: Logits, token: int, count: int) -> tuple[float, list[tuple[int, float]]]:
    """(natural logarithm of the probability of `token`, the `count` most probable tokens with theirs).

    Of the model's own distribution: before biases, penalties and temperature.
    """
    peak = logits.max()
    total = float(peak) + math.log(float(np.exp(logits - peak).sum(dtype=np.float64)))
    best = largest(logits, count) if count else ()
    return float(logits[token]) - total, [(int(i), float(logits[i]) - total) for i in best]
