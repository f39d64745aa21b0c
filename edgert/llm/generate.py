"""Generation: reads a prompt, then one token after the other, as text that can be shown at once.

Which token is sampler.py, guesses are speculate.py, the cache is prefix.py; requests as people write them are llm.py.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from edgert.errors import InputError
from edgert.llm.constrain import Constraint
from edgert.llm.prefix import Context, ReadProgress, check_prompt
from edgert.llm.sampler import Largest, Sampler, Sampling, Scores, log_probabilities
from edgert.llm.selection import why_all
from edgert.llm.speculate import LENGTHS, DraftStatistics, Pace, PromptLookup
from edgert.llm.stream_text import TextStream
from edgert.llm.tokenizer import Tokenizer

Overflow = Literal["error", "shift"]
Step = tuple[int, Scores]
"""A token, and the logits it was drawn from."""
MAX_LOGPROBS = 20
"""Alternatives shown per token, as in OpenAI's interface."""


@dataclass(frozen=True)
class Options:
    """What to generate. max_tokens: None for as many as the context holds. stop: strings that end the text and are
    not part of it. on_overflow: 'error' refuses what the context does not hold; 'shift' forgets the older half of what
    follows the first `keep` tokens whenever it is full. speculative: guesses tokens from the text so far; never
    changes what comes. logprobs: how many alternatives to give the log-probabilities of, None for none at all.
    """

    sampling: Sampling = field(default_factory=Sampling)
    max_tokens: int | None = None
    stop: Sequence[str] = ()
    on_overflow: Overflow = "error"
    keep: int = 0
    speculative: bool = False
    logprobs: int | None = None

    def __post_init__(self) -> None:
        """Raises InputError for a value that makes no sense."""
        for name, low, high in (("max_tokens", 1, 1 << 31), ("keep", 0, 1 << 31), ("logprobs", 0, MAX_LOGPROBS)):
            value = getattr(self, name)
            if value is None and name != "keep":
                continue
            if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
                raise InputError(f"{name}: expected {low}..{high}, found {value!r}")
        if self.on_overflow not in ("error", "shift"):
            raise InputError(f"on_overflow: expected 'error' or 'shift', found {self.on_overflow!r}")


class Token(NamedTuple):
    """One step of a generation. text: what can be shown now, often but not always this token's own characters.

    logprob, top: see sampler.log_probabilities; None and empty unless asked for.
    """

    id: int
    text: str
    logprob: float | None = None
    top: Sequence[tuple[int, float]] = ()


class Generation:
    """An iterator of Token, and what is to be said of it: read the fields when it has ended.

    finish_reason: 'stop' by the model, a stop string or the grammar; 'length'; '' if it was ended before. tokens:
    those generated, without the one that ends the text. running: begun, neither ended nor closed. cached_tokens: of
    the prompt, not computed again. shifts: how often the context was full and its older half forgotten.
    prompt_seconds, seconds: for the prompt up to the logits of its end, and for all tokens drawn. all_logits: why a
    device that could select the largest logits hands over all, '' if it does select or nothing does.
    """

    def __init__(
        self,
        context: Context,
        tokenizer: Tokenizer,
        prompt: Sequence[int],
        options: Options,
        *,
        constraint: Constraint | None = None,
        progress: ReadProgress | None = None,
        from_start: bool = False,
        turn: Callable[[], AbstractContextManager[object]] = nullcontext,
    ) -> None:
        """from_start: the answer is a text of its own (see TextStream), not the continuation of the prompt. turn: what
        it gives is held from the first token asked for to the last one, or to close().

        Raises InputError, before anything is computed, for a prompt or a length that the context does not hold.
        """
        check_prompt(prompt, context.size)
        self.options, self.prompt = options, list(prompt)
        self._limit = limit_of(len(prompt), context.size, options)
        self._context, self._tokenizer, self._constraint = context, tokenizer, constraint
        self._progress = progress
        self._sampler = Sampler(options.sampling, context.decoder.vocabulary, prompt)
        self.all_logits = self._why_all()
        self._text = TextStream(tokenizer, options.stop, from_start=from_start)
        self.tokens: list[int] = []
        self.finish_reason: Literal["stop", "length", ""] = ""
        self.cached_tokens = 0
        self.shifts = 0
        self.prompt_seconds = self.seconds = 0.0
        self.drafts = DraftStatistics()
        self.running = False
        self._turn = turn
        self._events = self._run()

    @property
    def seed(self) -> int:
        """The seed in use, to ask for the same text again."""
        return self._sampler.seed

    @property
    def selection(self) -> str:
        """What a device hands over for each token, for people; '' on the processor."""
        count = self._context.decoder.selected
        if not count:
            return ""
        if self.all_logits:
            return f"all logits handed over for each token: {self.all_logits}"
        return f"{count} largest logits selected on the device for each token"

    def __iter__(self) -> Iterator[Token]:
        return self

    def __next__(self) -> Token:
        return next(self._events)

    def close(self) -> None:
        """Ends it early. The cache keeps what was computed."""
        self._events.close()

    # ---- tokens to events
    def _run(self) -> Generator[Token, None, None]:
        with self._turn(), self._runs():
            start = time.perf_counter()
            self.cached_tokens = self._context.begin(self.prompt, self._progress)
            logits = self._decode(self.prompt[-1])
            self.prompt_seconds = time.perf_counter() - start
            with closing(self._speculative(logits) if self.options.speculative else self._plain(logits)) as steps:
                start = time.perf_counter()
                for token, row in steps:
                    event = self._event(token, row)
                    self.seconds += time.perf_counter() - start
                    yield event
                    if self.finish_reason:
                        return
                    start = time.perf_counter()

    @contextmanager
    def _runs(self) -> Iterator[None]:
        self.running = True
        try:
            yield
        finally:
            self.running = False

    def _event(self, token: int, logits: Scores) -> Token:
        """Takes note of `token`: what it says, and whether it is the last."""
        text = ""
        if token in self._tokenizer.eos:
            self.finish_reason = "stop"
        else:
            self.tokens.append(token)
            text = self._text.push(token)
            if self._text.stopped or (self._constraint is not None and self._constraint.finished):
                self.finish_reason = "stop"
            elif len(self.tokens) == self._limit:
                self.finish_reason = "length"
        if self.finish_reason:
            text += self._text.finish()
        if self.options.logprobs is None or isinstance(logits, Largest):
            return Token(token, text)
        return Token(token, text, *log_probabilities(logits, token, self.options.logprobs))

    # ---- logits to tokens
    def _why_all(self) -> str:
        if not self._context.decoder.selected:
            return ""
        if self._constraint is not None:
            return "the answer is kept to a grammar"
        if self.options.logprobs is not None:
            return "log-probabilities are wanted"
        if self.options.speculative:
            return "guesses are verified"
        return why_all(self.options.sampling, self._context.decoder.selected)

    def _decode(self, token: int) -> Scores:
        """Goes on by `token`: what the next one is drawn from."""
        if self._context.decoder.selected and not self.all_logits:
            return self._context.decode_largest(token)
        return self._context.decode(token)

    def _draw(self, logits: Scores) -> int:
        if self._constraint is None:
            return self._sampler.next(logits)
        token = self._sampler.next(logits, self._constraint.mask())
        if token not in self._tokenizer.eos:
            self._constraint.commit(token)
        return token

    def _plain(self, logits: Scores) -> Generator[Step, None, None]:
        """Tokens without end."""
        while True:
            token = self._draw(logits)
            yield token, logits
            self._make_room()
            logits = self._decode(token)

    def _speculative(self, logits: Scores) -> Generator[Step, None, None]:
        """The same tokens from the same logits, several per run where the text repeats itself.

        Leviathan et al. 2023, 'Fast inference from transformers via speculative decoding': a run over the guesses
        gives the logits after each. Here every token is drawn from them in order, as if they had come one by one;
        the first that differs from its guess makes the rest of the run void.
        """
        lookup, pace = PromptLookup(self.prompt), Pace()
        token = self._draw(logits)
        yield token, logits
        while True:
            lookup.extend([token])
            self._make_room()
            wanted = LENGTHS[-1] if self._limit is None else self._limit - len(self.tokens) - 1
            draft = lookup.guess(min(LENGTHS[-1], wanted, self._context.room - 1))
            count = min(pace.length(draft.agreement), len(draft.tokens))
            held, right = len(self._context.tokens) + 1, 0
            pace.start()
            if count:
                rows = self._context.score([token, *draft.tokens[:count]])
                pace.verified(count)
                self.drafts.runs += 1
                self.drafts.drafted += count
            else:
                rows = self._context.decode(token)[None]
                pace.decoded()
            try:
                for index, row in enumerate(rows):
                    token = self._draw(row)
                    yield token, row
                    if index == count or token != draft.tokens[index]:
                        break
                    lookup.extend([token])
                    right += 1
            finally:  # also where it is ended early
                self._context.truncate(held + right)
                self.drafts.accepted += right
            if count:
                pace.learn(draft.agreement, right, int(right < count))
            elif draft.tokens:
                came = token == draft.tokens[0]
                pace.learn(draft.agreement, int(came), int(not came))

    def _make_room(self) -> None:
        if self._context.room < 1:
            self._context.shift(self.options.keep)
            self.shifts += 1


def limit_of(prompt: int, size: int, options: Options) -> int | None:
    """Most tokens that follow a prompt of so many in a context of `size`; None for no limit. Raises InputError."""
    if options.on_overflow == "shift":
        if options.keep > size // 2:
            raise InputError(f"keep: expected at most {size // 2}, half the context, found {options.keep}")
        return options.max_tokens
    if options.max_tokens is not None and prompt + options.max_tokens > size:
        raise InputError(
            f"expected a prompt and an answer of at most {size} tokens, the context, found {prompt} and "
            f"{options.max_tokens}; use a larger n_ctx, a smaller max_tokens or on_overflow='shift'"
        )
    return options.max_tokens or size - prompt
