"""Sampling: against a plain definition, its options one by one, and logits that are no numbers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from edgert.errors import FormatError, InputError
from edgert.llm.sampler import Sampler, Sampling, candidates, largest, log_probabilities

OFF = Sampling(temperature=1.0, top_k=0, top_p=1.0, min_p=0.0)
INF = float("inf")


def logits(rng: np.random.Generator, size: int = 5000, spread: float = 3.0) -> np.ndarray:
    return (spread * rng.standard_normal(size)).astype(np.float32)


def kept_by_definition(scores: np.ndarray, options: Sampling) -> list[int]:
    """top-k, then top-p of what is left, then min-p, of a sorted list."""
    order = np.argsort(-scores, kind="stable")[: options.top_k or None]
    order = order[scores[order] > -np.inf]
    p = np.exp((scores[order] - scores.max()).astype(np.float64))
    reached = np.cumsum(p) / p.sum()
    count = int(np.argmax(reached >= options.top_p)) + 1 if options.top_p < 1 else len(order)
    return [int(i) for i, x in zip(order[:count], p, strict=False) if x >= options.min_p]


@pytest.mark.parametrize("spread", [0.0, 0.01, 1.0, 4.0, 30.0])
@pytest.mark.parametrize("size", [1, 7, 900, 5000, 49152])
def test_candidates_are_those_of_the_definition(rng, spread: float, size: int) -> None:
    scores = logits(rng, size, spread)
    for top_k in (0, 1, 40, 600):
        for top_p in (1.0, 0.9, 0.2):
            for min_p in (0.0, 0.05):
                options = replace(OFF, top_k=top_k, top_p=top_p, min_p=min_p)
                found = candidates(scores, float(scores.max()), options)
                kept = range(size) if found is None else found.tolist()
                expected = kept_by_definition(scores, options)
                # Where top_p is reached rounding may keep one more or less, and equal ones come together.
                other = set(kept) ^ set(expected)
                assert len({i for i in other if scores[i] != scores[expected[-1]]}) <= (options.top_p < 1)


@pytest.mark.parametrize("size", [3, 1024, 5000, 151936])
def test_largest(rng, size: int) -> None:
    for scores in (logits(rng, size), np.zeros(size, np.float32), np.round(logits(rng, size))):
        scores[::7] = -INF
        expected = np.argsort(-scores, kind="stable")
        for count in (1, 40, 300):
            assert largest(scores, count).tolist() == [i for i in expected[:count] if scores[i] > -INF]
    few = np.full(size, -INF, np.float32)
    few[[0, size - 1]] = 1, 2
    assert largest(few, 40).tolist() == [size - 1, 0]


def test_frequencies_are_the_probabilities(rng) -> None:
    scores = np.array([0.0, 1.0, 2.0, -1.0, -30.0], np.float32)
    for temperature in (0.5, 1.0, 2.0):
        sampler = Sampler(replace(OFF, temperature=temperature, seed=5), 5)
        counts = np.bincount([sampler.next(scores) for _ in range(20000)], minlength=5)
        p = np.exp(scores / temperature)
        assert np.abs(counts / 20000 - p / p.sum()).max() < 0.015


def test_seeds(rng) -> None:
    rows = [logits(rng) for _ in range(30)]

    def text(seed: int | None) -> tuple[list[int], int]:
        sampler = Sampler(Sampling(temperature=2.0, seed=seed), 5000)
        return [sampler.next(row) for row in rows], sampler.seed

    assert text(7) == text(7)
    assert text(7)[0] != text(8)[0]
    drawn, seed = text(None)
    assert text(seed)[0] == drawn
    assert text(None)[1] != seed


def test_greedy_takes_the_first_of_equals() -> None:
    assert Sampler(Sampling(temperature=0), 4).next(np.array([1, 3, 3, 2], np.float32)) == 1
    assert Sampler(Sampling(temperature=1e-300), 4).next(np.array([1, 3, 2.5, 2], np.float32)) == 1


def test_penalties() -> None:
    """Repetition divides what is positive and multiplies what is negative; the others count."""
    scores = np.array([2.0, -2.0, 1.0, 0.5], np.float32)
    options = Sampling(temperature=0, repeat_penalty=2.0, frequency_penalty=0.25, presence_penalty=0.5)
    sampler = Sampler(options, 4, [0, 0, 1])
    assert np.allclose(sampler._adjusted(scores), [1.0 - 0.5 - 0.5, -4.0 - 0.25 - 0.5, 1.0, 0.5])
    assert scores[0] == 2.0
    assert sampler.next(scores) == 2
    assert sampler.next(scores) == 3  # 2 has come meanwhile
    only = Sampler(replace(options, repeat_last_n=1), 4, [0, 0, 1])
    assert np.allclose(only._adjusted(scores)[[0, 2]], [2.0, 1.0])
    assert Sampler(replace(options, repeat_last_n=0), 4, [0]).next(scores) == 0


def test_bias_and_mask() -> None:
    scores = np.array([3.0, 2.0, 1.0, 0.0], np.float32)
    assert Sampler(Sampling(temperature=0, logit_bias={3: 4.0}), 4).next(scores) == 3
    sampler = Sampler(Sampling(logit_bias={0: -INF}, seed=1), 4)
    assert 0 not in {sampler.next(scores) for _ in range(200)}
    allowed = np.array([False, False, True, False])
    for temperature in (0.0, 1.5):
        assert Sampler(Sampling(temperature=temperature), 4).next(scores, allowed) == 2
    with pytest.raises(InputError, match="forbids them all"):
        Sampler(Sampling(), 4).next(scores, np.zeros(4, bool))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("place", [0, 4999])
@pytest.mark.parametrize("options", [Sampling(temperature=0), Sampling(), OFF])
def test_logits_that_are_no_numbers(rng, bad: float, place: int, options: Sampling) -> None:
    scores = logits(rng)
    scores[place] = bad
    with pytest.raises(FormatError, match="finite numbers"):
        Sampler(options, 5000).next(scores)
    with pytest.raises(FormatError, match="finite numbers"):
        Sampler(options, 5000).next(np.full(5000, np.nan, np.float32))


@pytest.mark.parametrize(
    "wrong",
    [
        {"temperature": -1}, {"temperature": np.nan}, {"temperature": "hot"}, {"top_p": 0}, {"top_p": 1.1},
        {"min_p": 2}, {"top_k": -1}, {"top_k": 1.5}, {"repeat_penalty": 0}, {"seed": -1}, {"seed": "x"},
        {"frequency_penalty": INF},
    ],
)  # fmt: skip
def test_wrong_options(wrong: dict) -> None:
    with pytest.raises(InputError, match=next(iter(wrong))):
        Sampling(**wrong)


@pytest.mark.parametrize("table", [{4: 1.0}, {-1: 1.0}, {0: np.nan}, {0: INF}, {"a": 1.0}])
def test_wrong_biases(table: dict) -> None:
    with pytest.raises(InputError, match="logit_bias"):
        Sampler(Sampling(logit_bias=table), 4)


def test_log_probabilities(rng) -> None:
    scores = logits(rng, 100)
    p = np.log(np.exp(scores.astype(np.float64)) / np.exp(scores.astype(np.float64)).sum())
    value, top = log_probabilities(scores, 17, 3)
    assert value == pytest.approx(p[17], abs=1e-5)
    assert [token for token, _ in top] == np.argsort(-scores)[:3].tolist()
    assert top[0][1] == pytest.approx(p.max(), abs=1e-5)
    assert log_probabilities(scores, 17, 0)[1] == []
