"""Guesses copied from the text, and how many are worth a run."""

from __future__ import annotations

import pytest

from edgert.llm.speculate import LENGTHS, Pace, PromptLookup


class TestLookup:
    def test_it_copies_what_followed(self) -> None:
        lookup = PromptLookup(list(b"one two three; one t"))
        draft = lookup.guess(6)
        assert bytes(draft.tokens) == b"wo thr"
        assert draft.agreement == len("one t")

    def test_the_place_that_agrees_furthest_back(self) -> None:
        lookup = PromptLookup(list(b"red apple pie. a green apple tart. a red apple "))
        assert bytes(lookup.guess(3).tokens) == b"pie"

    def test_the_latest_of_equals(self) -> None:
        lookup = PromptLookup(list(b"xab1 yab2 zab"))
        assert bytes(lookup.guess(1).tokens) == b"2"

    def test_a_text_that_repeats_itself(self) -> None:
        assert bytes(PromptLookup(list(b"abcabc")).guess(8).tokens) == b"abcabcab"

    def test_nothing_agrees(self) -> None:
        for text in (b"", b"a", b"ab", b"abcdef"):
            assert PromptLookup(list(text)).guess(4).tokens == []
        assert PromptLookup(list(b"abab")).guess(0).tokens == []

    def test_it_grows(self) -> None:
        lookup = PromptLookup()
        for token in b"hello world, hello":
            lookup.extend([token])
        assert bytes(lookup.guess(6).tokens) == b" world"


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def paced(cost_of_rows: float, right: float, runs: int = 200) -> tuple[list[int], float]:
    """(lengths chosen, tokens per decode step of time) where a run of n guesses takes 1 + n * cost_of_rows, and of
    every 10 guesses 10 * `right` come true."""
    clock = Clock()
    pace, chosen, tokens, turn = Pace(clock), [], 0, 0
    for _ in range(runs):
        count = pace.length(4)
        chosen.append(count)
        pace.start()
        clock.now += 1 + count * cost_of_rows
        pace.verified(count) if count else pace.decoded()
        came = 0
        for _ in range(count or 1):
            turn += 1
            if turn % 10 >= 10 * right:
                break
            came += 1
        pace.learn(4, came, int(came < (count or 1)))
        tokens += came + 1 if count else 1
    return chosen, tokens / clock.now


def test_more_is_guessed_where_guesses_are_right_and_rows_cheap() -> None:
    chosen, speed = paced(0.02, 1.0)
    assert chosen[-1] == LENGTHS[-1] and speed > 15


def test_nothing_is_guessed_where_guesses_are_wrong() -> None:
    chosen, speed = paced(0.1, 0.0)
    assert chosen[-1] == 0 and speed > 0.97


def test_nothing_is_guessed_where_rows_are_dear() -> None:
    chosen, speed = paced(1.5, 0.5)
    assert chosen[-1] == 0 and speed > 0.9


@pytest.mark.parametrize("right", [0.3, 0.6, 0.9])
def test_guessing_is_never_much_slower(right: float) -> None:
    for cost in (0.02, 0.1, 0.3, 1.0):
        assert paced(cost, right)[1] > 0.93


def test_trust_comes_back_without_a_run() -> None:
    clock = Clock()
    pace = Pace(clock)
    pace.start()
    clock.now += 1
    pace.decoded()
    for _ in range(50):
        pace.learn(4, 0, 1)
    assert pace.length(4) == 0
    for _ in range(50):  # guesses that would have been right
        pace.learn(4, 1, 0)
    assert pace.length(4) > 0
    assert pace.length(20) > 0  # another agreement is trusted by itself


def test_the_first_run_is_not_believed() -> None:
    clock = Clock()
    pace = Pace(clock)
    for seconds in (1000.0, 1.2):
        pace.start()
        clock.now += 1
        pace.decoded()
        pace.start()
        clock.now += seconds
        pace.verified(4)
    assert pace.cost(4) == pytest.approx(1.2)
