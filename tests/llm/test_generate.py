"""Generation: the loop, stops, limits, overflow, prefixes that are not computed twice, guesses that change nothing."""

from __future__ import annotations

from itertools import count

import numpy as np
import pytest
from fakes import EOS, VOCABULARY, FakeDecoder, byte_tokenizer

from edgert.errors import InputError
from edgert.llm import generate
from edgert.llm.generate import Generation, Options, Token
from edgert.llm.prefix import Context, common_prefix
from edgert.llm.sampler import Sampling
from edgert.llm.speculate import Pace

GREEDY = Sampling(temperature=0)
PROMPT = list(b"the cat sat on the mat, the cat sat on the hat")


class Scripted(FakeDecoder):
    """Says `script`, bytes or tokens, after a prompt of `start` tokens."""

    def __init__(self, script: bytes | list[int], start: int, n_ctx: int = 256) -> None:
        super().__init__(n_ctx)
        self._script, self._start = list(script), start

    def _logits(self, count: int) -> np.ndarray:
        row = np.zeros(VOCABULARY, np.float32)
        row[(self._script + [EOS] * 300)[max(0, count - self._start)]] = 9
        return row


def run(
    decoder: FakeDecoder, prompt: list[int] = PROMPT, context: Context | None = None, **options: object
) -> tuple[Generation, list[Token]]:
    options.setdefault("sampling", GREEDY)
    generation = Generation(context or Context(decoder), byte_tokenizer(), prompt, Options(**options))
    return generation, list(generation)


def said(script: bytes | list[int], **options: object) -> tuple[str, str, list[str]]:
    """(text, finish_reason, pieces) of a model that says `script`."""
    generation, events = run(Scripted(script, len(PROMPT)), **options)
    pieces = [event.text for event in events]
    return "".join(pieces), generation.finish_reason, pieces


class TestEnds:
    def test_by_the_model(self) -> None:
        generation, events = run(Scripted(b"abc", len(PROMPT)))
        assert [event.id for event in events] == [*b"abc", EOS]
        assert generation.tokens == list(b"abc")
        assert generation.finish_reason == "stop"

    def test_by_length(self) -> None:
        assert said(b"abcdef", max_tokens=3)[:2] == ("abc", "length")

    def test_by_a_stop_string(self) -> None:
        text, reason, pieces = said(b"one two END three", stop=("END",))
        assert (text, reason) == ("one two ", "stop")
        assert pieces[-3:] == ["", "", ""]
        assert said(b"one two EN", stop=("END",))[0] == "one two EN"
        assert said(b"one two EN", stop=("END",), max_tokens=9)[0] == "one two E"

    def test_by_a_full_context(self) -> None:
        generation, _ = run(FakeDecoder(64), PROMPT)
        assert (len(generation.tokens), generation.finish_reason) == (64 - len(PROMPT), "length")

    def test_early(self) -> None:
        context = Context(FakeDecoder())
        generation = Generation(context, byte_tokenizer(), PROMPT, Options(GREEDY))
        first = next(generation)
        assert generation.running
        generation.close()
        assert not generation.running and generation.finish_reason == "" and generation.tokens == [first.id]
        assert list(generation) == []


def test_characters_come_whole() -> None:
    script = "añ→🙂!".encode()
    text, _, pieces = said(script)
    assert text == "añ→🙂!"
    assert [piece for piece in pieces if piece] == list(text)
    assert said(script[:-2], max_tokens=9)[0] == "añ→\N{REPLACEMENT CHARACTER}"


def test_logprobs() -> None:
    _, events = run(FakeDecoder(), max_tokens=5, logprobs=2)
    for event in events:
        assert event.top[0] == (event.id, event.logprob)
        assert len(event.top) == 2 and event.logprob < 0
    assert run(FakeDecoder(), max_tokens=5)[1][0].logprob is None


class TestOverflow:
    def test_error(self) -> None:
        with pytest.raises(InputError, match="a larger n_ctx"):
            run(FakeDecoder(), list(range(64)))
        with pytest.raises(InputError, match="on_overflow='shift'"):
            run(FakeDecoder(), list(range(60)), max_tokens=5)
        assert len(run(FakeDecoder(), list(range(60)), max_tokens=4)[0].tokens) == 4
        with pytest.raises(InputError, match="found no tokens"):
            run(FakeDecoder(), [])

    @pytest.mark.parametrize("keep", [0, 8])
    @pytest.mark.parametrize("speculative", [False, True])
    def test_shift_is_as_if_the_text_had_been_shorter(self, keep: int, speculative: bool) -> None:
        options = {"max_tokens": 100, "on_overflow": "shift", "keep": keep, "speculative": speculative}
        generation, events = run(FakeDecoder(loops=3.0), **options)
        assert len(events) == 100 and generation.shifts >= 3
        held, expected = list(PROMPT), []
        fresh = FakeDecoder(loops=3.0)
        while len(expected) < 100:
            if len(held) > 64:  # the last one did not fit any more
                held = held[:keep] + held[keep + (64 - keep) // 2 :]
            fresh.truncate(0)
            expected.append(int(fresh.score(held)[-1].argmax()))
            held.append(expected[-1])
        assert generation.tokens == expected

    def test_no_end_but_its_own(self) -> None:
        generation = Generation(Context(FakeDecoder()), byte_tokenizer(), PROMPT, Options(GREEDY, on_overflow="shift"))
        assert len([next(generation) for _ in range(500)]) == 500
        generation.close()

    def test_wrong_keep(self) -> None:
        with pytest.raises(InputError, match="keep"):
            run(FakeDecoder(), on_overflow="shift", keep=40)


class TestPrefix:
    def test_a_common_prefix_is_not_computed_twice(self) -> None:
        decoder = FakeDecoder()
        context = Context(decoder)
        run(decoder, context=context, max_tokens=6)
        for prompt, kept in (
            (PROMPT, len(PROMPT) - 1), (PROMPT[:20], 19), ([*PROMPT[:20], 1, 2, 3], 20), ([9, 8, 7], 0), ([9, 8], 1),
        ):  # fmt: skip
            decoder.runs.clear()
            generation, events = run(decoder, prompt, context, max_tokens=4)
            assert generation.cached_tokens == kept
            assert sum(rows for _, rows in decoder.runs) == len(prompt) - kept + 3
            assert [event.id for event in events] == [event.id for event in run(FakeDecoder(), prompt, max_tokens=4)[1]]

    def test_a_conversation_goes_on_where_it_was(self) -> None:
        decoder = FakeDecoder()
        context = Context(decoder)
        generation, _ = run(decoder, context=context, max_tokens=6)
        longer = PROMPT + generation.tokens + list(b" and?")
        assert run(decoder, longer, context, max_tokens=2)[0].cached_tokens == len(PROMPT) + 5

    @pytest.mark.parametrize("kind", ["prefill", "decode", "score"])
    def test_an_interrupt_leaves_it_right(self, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
        decoder = FakeDecoder(loops=30.0)
        context = Context(decoder)
        expected = run(FakeDecoder(loops=30.0), max_tokens=8)[1]
        real = getattr(FakeDecoder, kind)

        def interrupted(self: FakeDecoder, tokens: object, *rest: object) -> object:
            result = real(self, tokens if kind == "decode" else tokens[:1], *rest)  # it got this far
            raise KeyboardInterrupt(result)

        monkeypatch.setattr(decoder, kind, interrupted.__get__(decoder))
        with pytest.raises(KeyboardInterrupt):
            run(decoder, context=context, max_tokens=8, speculative=True)
        monkeypatch.undo()
        assert len(context.tokens) == decoder.n_past
        assert run(decoder, context=context, max_tokens=8)[1] == expected

    def test_common_prefix(self) -> None:
        assert [common_prefix([1, 2, 3], other) for other in ([], [1], [1, 2, 3, 4], [1, 3], [2])] == [0, 1, 3, 1, 0]


@pytest.fixture
def equal_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if every run took the same time, however many rows it has: a fake decoder's rows are its only cost."""
    monkeypatch.setattr(generate, "Pace", lambda: Pace(clock=count().__next__))


@pytest.mark.usefixtures("equal_runs")
class TestSpeculation:
    @pytest.mark.parametrize("loops", [0.0, 6.0, 30.0])
    @pytest.mark.parametrize("temperature", [0.0, 1.0])
    def test_it_changes_nothing(self, loops: float, temperature: float) -> None:
        sampling = Sampling(temperature=temperature, seed=3, frequency_penalty=0.01)
        options = {"sampling": sampling, "max_tokens": 150, "logprobs": 1}
        _, expected = run(FakeDecoder(256, loops=loops), **options)
        decoder = FakeDecoder(256, loops=loops)
        guessing, found = run(decoder, speculative=True, **options)
        assert found == expected
        drafts = guessing.drafts
        assert drafts.accepted <= drafts.drafted
        assert len(decoder.runs) == 1 + len(found) - drafts.accepted  # the prompt but its last token, and the rest
        if loops == 30.0 and not temperature:
            assert drafts.acceptance > 0.6 and len(decoder.runs) < len(found) / 3

    def test_it_ends_where_it_should(self) -> None:
        """A stop, an end, a length in the middle of a verified draft."""
        script = b"the cat sat on the mat END the cat"
        for options in ({"stop": ("END",)}, {"max_tokens": 7}, {}):
            prompt = list(b"the cat sat on the mat END; say it again: ")
            decoder = Scripted(script, len(prompt))
            context = Context(decoder)
            plain = run(Scripted(script, len(prompt)), prompt, **options)
            found = run(decoder, prompt, context, speculative=True, **options)
            assert found[1] == plain[1]
            assert found[0].finish_reason == plain[0].finish_reason
            assert found[0].drafts.accepted > 0
            whole = prompt + plain[0].tokens
            assert context.tokens == whole[: len(context.tokens)]  # nothing of a void guess stays

    def test_a_full_context(self) -> None:
        plain = run(FakeDecoder(loops=30.0))
        found = run(FakeDecoder(loops=30.0), speculative=True)
        assert found[1] == plain[1] and len(found[1]) == 64 - len(PROMPT)


@pytest.mark.parametrize(
    "wrong", [{"max_tokens": 0}, {"max_tokens": 1.5}, {"keep": -1}, {"logprobs": 99}, {"on_overflow": "wrap"}]
)
def test_wrong_options(wrong: dict) -> None:
    with pytest.raises(InputError, match=next(iter(wrong))):
        Options(**wrong)
