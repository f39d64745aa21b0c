"""Guesses of the tokens to come, copied from the text so far, and how many are worth verifying in one run.

Guesses change the speed alone: generate.py draws every token from the logits that it would have had without them.
"""

from __future__ import annotations

import time
from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

Clock = Callable[[], float]

NGRAMS = (4, 3, 2)
"""Tokens that must agree with an earlier place, longest first: single ones agree by accident."""
PLACES = 8
"""Latest places kept of each n-gram: the one that agrees furthest back is taken."""
REACH = 32
"""How far back places are compared."""
LENGTHS = (1, 3, 7, 15, 31)
"""Guesses verified in one run. One more row than guesses is computed: 4 and 8 fill the tiles of few rows."""
TRUST = 0.7
"""Part of a guess that is right, before anything is known."""
MEMORY = 0.9
"""Weight of what was known before in running means; the last ten or so count."""
ROW_COST = 1 / 4
"""Time of one more row of a verifying run, in decode steps, as long as none was measured."""


@dataclass
class DraftStatistics:
    """What guessing did: runs that verified guesses, tokens guessed, and tokens that were right and so cost no run."""

    runs: int = 0
    drafted: int = 0
    accepted: int = 0

    @property
    def acceptance(self) -> float:
        """Part of the guesses that was right; 0 without any."""
        return self.accepted / self.drafted if self.drafted else 0.0


@dataclass(frozen=True)
class Draft:
    """Guessed tokens, and how many tokens before the place they were copied from agree with the end of the text."""

    tokens: list[int]
    agreement: int


class PromptLookup:
    """What followed the last time the text read like this.

    Saxena 2023, 'Prompt lookup decoding'; Yang et al. 2023, 'Inference with reference'; llama.cpp's lookup. Needs no
    second model, and pays where answers repeat their prompt: edits, summaries, code.
    """

    def __init__(self, tokens: Sequence[int] = ()) -> None:
        self._tokens: list[int] = []
        self._places: dict[tuple[int, ...], deque[int]] = defaultdict(lambda: deque(maxlen=PLACES))
        self.extend(tokens)

    def extend(self, tokens: Sequence[int]) -> None:
        """The text goes on by `tokens`."""
        for token in tokens:
            # An n-gram is noted once it has a successor: the end of the text is not a place to copy from.
            end = len(self._tokens)
            for n in NGRAMS:
                if end >= n:
                    self._places[tuple(self._tokens[end - n :])].append(end)
            self._tokens.append(token)

    def guess(self, count: int) -> Draft:
        """At most `count` tokens that may follow; none if nothing agrees."""
        tokens = self._tokens
        places = next((found for n in NGRAMS if (found := self._places.get(tuple(tokens[-n:])))), None)
        if places is None or count < 1:
            return Draft([], 0)
        agreement, place = max((self._agreement(place), place) for place in places)
        draft = tokens[place : place + count]
        while len(draft) < count:  # the place is near the end: the text repeats itself, and may go on doing so
            draft += draft[: count - len(draft)]
        return Draft(draft, agreement)

    def _agreement(self, place: int) -> int:
        """How many tokens before `place` are those at the end of the text."""
        tokens, end = self._tokens, len(self._tokens)
        limit = min(REACH, place)
        return next((i for i in range(limit) if tokens[place - 1 - i] != tokens[end - 1 - i]), limit)


class Pace:
    """How many guesses to verify: those with which most tokens per second are expected, none if guessing costs more.

    How far guesses can be trusted is learned by agreement, and from all of them: also from those that were not
    verified, for what came is compared with what was guessed. Times are measured.
    """

    def __init__(self, clock: Clock = time.perf_counter) -> None:
        self._clock = clock
        self._trust: dict[int, float] = {}
        self._decode: float | None = None
        self._verify: dict[int, float] = {}
        self._warm: set[int] = set()
        self._started = 0.0

    def length(self, agreement: int) -> int:
        """How many guesses to verify of a draft of this agreement; 0 for a plain step, as the first one is."""
        if self._decode is None:
            return 0
        speeds = {count: self.expected(count, agreement) / self.cost(count) for count in LENGTHS}
        best = max(LENGTHS, key=speeds.__getitem__)
        return best if speeds[best] > 1 else 0

    def expected(self, count: int, agreement: int) -> float:
        """Tokens that a run with `count` guesses gives on average: the first wrong one ends it, and is put right."""
        p = min(self._trust.get(agreement.bit_length(), TRUST), 0.999)
        return (1 - p ** (count + 1)) / (1 - p)

    def cost(self, count: int) -> float:
        """Time of a run with `count` guesses in decode steps: as measured, or from that of the nearest length."""
        if not self._decode or not self._verify:
            return 1 + ROW_COST * count
        nearest = min(self._verify, key=lambda known: abs(known - count))
        return self._verify[nearest] / self._decode * (1 + ROW_COST * count) / (1 + ROW_COST * nearest)

    def start(self) -> None:
        """A run begins."""
        self._started = self._clock()

    def decoded(self) -> None:
        """It was a plain step."""
        self._decode = _mean(self._decode, self._clock() - self._started)

    def verified(self, count: int) -> None:
        """It verified `count` guesses."""
        seconds = self._clock() - self._started
        if count in self._warm:
            self._verify[count] = _mean(self._verify.get(count), seconds)
        self._warm.add(count)  # the first run of a length may plan and compile

    def learn(self, agreement: int, right: int, wrong: int) -> None:
        """Of a draft of this agreement `right` guesses came true, before one did not (`wrong` 1) or all had (0)."""
        key = agreement.bit_length()
        for outcome in [1.0] * right + [0.0] * wrong:
            self._trust[key] = MEMORY * self._trust.get(key, TRUST) + (1 - MEMORY) * outcome


def _mean(old: float | None, new: float) -> float:
    """A running mean that forgets slowly what was slow for other reasons, and believes what was fast."""
    return new if old is None or new < old else MEMORY * old + (1 - MEMORY) * new
