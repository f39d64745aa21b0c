"""The largest logits give the token that all of them give, wherever why_all has nothing against it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from fakes import VOCABULARY, FakeDecoder, byte_tokenizer
from hypothesis import given, settings
from hypothesis import strategies as st

from edgert.errors import EdgertError
from edgert.kernels_cpu.reference import evaluate
from edgert.llm import selection
from edgert.llm.generate import Generation, Options
from edgert.llm.prefix import Context
from edgert.llm.sampler import Largest, Sampler, Sampling, Scores
from edgert.llm.selection import SELECTED, selected_of, why_all

INF = float("inf")
STEPS = 4


def largest_of(logits: np.ndarray, count: int = SELECTED) -> Largest:
    """What a device hands over: the meaning of TopK, its tokens in ascending order."""
    values, ids = evaluate("TopK", [logits, np.array([count])], {}, [None, None], [None] * 2, ["float32", "int64"])
    order = np.argsort(ids)
    return Largest(ids[order].astype(np.intp), values[order])


def drawn(sampler: Sampler, logits: Scores) -> int | str:
    """The token, or the kind of error."""
    try:
        return sampler.next(logits)
    except EdgertError as error:
        return type(error).__name__


def rows(rng: np.random.Generator, kind: str, size: int) -> np.ndarray:
    x = (rng.uniform(0.01, 8) * rng.standard_normal((STEPS, size))).astype(np.float32)
    if kind == "ties":
        x = np.round(x)
    if kind == "flat":
        x[...] = rng.choice([-1.5, 0.0, -0.0, 2.0])
    if kind == "forbidden":  # fewer tokens than are handed over
        x[:, rng.permutation(size)[rng.integers(0, SELECTED) :]] = -np.inf
    if kind == "broken":
        x[rng.random(x.shape) < 1e-3] = rng.choice([np.nan, np.inf])
    return x


@settings(max_examples=400, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    kind=st.sampled_from(["plain", "plain", "ties", "flat", "forbidden", "broken"]),
    size=st.sampled_from([SELECTED, SELECTED + 1, 1024, 4099]),
    temperature=st.sampled_from([0.0, 0.0, 0.1, 0.8, 3.0]),
    top_k=st.sampled_from([1, 2, 40, 60, SELECTED]),
    top_p=st.sampled_from([1.0, 0.95, 0.5, 0.01]),
    min_p=st.sampled_from([0.0, 0.05, 1.0]),
    penalties=st.sampled_from(
        [(1.0, 0.0, 0.0), (1.1, 0.0, 0.0), (1.0, 0.7, 0.0), (1.0, 0.0, 2.0), (30.0, 1e9, 3.0)]
    ),
    last=st.sampled_from([0, 1, 5, 64, SELECTED - 1]),
    biased=st.integers(0, 12),
)  # fmt: skip
def test_the_same_token(
    seed: int, kind: str, size: int, temperature: float, top_k: int, top_p: float, min_p: float,
    penalties: tuple[float, float, float], last: int, biased: int,
) -> None:  # fmt: skip
    """Of logits of every kind; what was said before and what is biased are often among the largest."""
    rng = np.random.default_rng(seed)
    logits = rows(rng, kind, size)
    leading = np.argsort(-np.nan_to_num(logits[0]), kind="stable")
    said = [int(i) for i in np.where(rng.random(200) < 0.5, leading[rng.integers(0, 100, 200)], rng.integers(size))]
    bias = {int(i): float(rng.choice([-INF, -5.0, -0.1, 0.0])) for i in rng.choice(leading[:100], biased)}
    repeat, frequency, presence = penalties
    options = Sampling(
        temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p, seed=seed, repeat_penalty=repeat,
        frequency_penalty=frequency, presence_penalty=presence, repeat_last_n=last, logit_bias=bias,
    )  # fmt: skip
    known = len(bias) + (last if options.penalises else 0)
    assert (why_all(options, SELECTED) == "") == (known + (top_k if temperature else 1) <= SELECTED)
    if why_all(options, SELECTED):
        return
    whole, few = Sampler(options, size, said), Sampler(options, size, said)
    for row in logits:
        assert drawn(few, largest_of(row)) == drawn(whole, row)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (Sampling(top_k=0), "top_k is 0"),
        (Sampling(top_k=SELECTED + 1), f"look at {SELECTED + 1} tokens"),
        (Sampling(logit_bias={5: 2.0}), "raises tokens"),
        (Sampling(repeat_penalty=0.9), "penalties raise"),
        (Sampling(frequency_penalty=-0.1), "penalties raise"),
        (Sampling(presence_penalty=-0.1), "penalties raise"),
        (Sampling(repeat_penalty=1.1, repeat_last_n=100), "look at 140 tokens"),
        (Sampling(temperature=0, top_k=0), ""),
        (Sampling(temperature=0, top_k=500, repeat_penalty=1.1, repeat_last_n=127), ""),
        (Sampling(repeat_penalty=1.1, repeat_last_n=88), ""),
        (Sampling(repeat_last_n=10000), ""),
    ],
)
def test_when_all_are_needed(options: Sampling, why: str) -> None:
    found = why_all(options, SELECTED)
    assert why in found and bool(why) == bool(found)


def test_what_is_raised_may_not_be_among_the_largest() -> None:
    logits = np.linspace(1, 0, 2000, dtype=np.float32)
    options = Sampling(temperature=0, logit_bias={1999: 9.0})
    assert Sampler(options, 2000).next(logits) == 1999
    assert Sampler(options, 2000).next(largest_of(logits)) == 0
    assert why_all(options, SELECTED)


def test_small_vocabularies_are_handed_over() -> None:
    assert selected_of(100) == 0 and selected_of(49152) == SELECTED


class Selecting(FakeDecoder):
    """Hands over the largest 128 of its 260 logits."""

    def __init__(self) -> None:
        super().__init__()
        self.selected = SELECTED

    def decode_largest(self, token: int) -> Largest:
        found = largest_of(self.decode(token))
        self.runs[-1] = ("largest", 1)
        return found


SOME = Sampling(seed=4, temperature=1.5, repeat_penalty=1.2)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (Options(SOME, max_tokens=30), ""),
        (Options(replace(SOME, temperature=0.0), max_tokens=30, stop=["zz"]), ""),
        (Options(SOME, max_tokens=90, on_overflow="shift"), ""),
        (Options(SOME, max_tokens=30, speculative=True), "guesses are verified"),
        (Options(SOME, max_tokens=30, logprobs=2), "log-probabilities are wanted"),
        (Options(replace(SOME, top_k=0), max_tokens=30), "tokens are drawn from all: top_k is 0"),
    ],
)
def test_generations_take_what_is_enough(options: Options, why: str) -> None:
    texts = []
    for decoder in (FakeDecoder(), Selecting()):
        generation = Generation(Context(decoder), byte_tokenizer(), [65, 66, 67], options)
        texts.append(list(generation))
        kinds = {kind for kind, _ in decoder.runs}
        assert ("largest" in kinds) == (decoder.selected > 0 and not why)
        assert ("decode" in kinds) == (decoder.selected == 0 or bool(why))
    assert texts[0] == texts[1]
    assert generation.all_logits == why
    assert generation.selection == (
        f"all logits handed over for each token: {why}" if why
        else f"{SELECTED} largest logits selected on the device for each token"
    )  # fmt: skip
    assert Generation(Context(FakeDecoder()), byte_tokenizer(), [65], options).selection == ""


def test_a_grammar_looks_at_all() -> None:
    class Anything:
        finished = False

        def mask(self) -> np.ndarray:
            return np.ones(VOCABULARY, bool)

        def commit(self, token: int) -> None:
            pass

    decoder = Selecting()
    generation = Generation(Context(decoder), byte_tokenizer(), [65], Options(max_tokens=3), constraint=Anything())
    assert len(list(generation)) and generation.all_logits == "the answer is kept to a grammar"
    assert ("decode", 1) in decoder.runs


def test_the_graph_gains_two_outputs() -> None:
    import small_decoder as tiny

    graph = tiny.tiny_decoder(vocabulary=1100).graph
    more = selection.with_largest(graph, 7)
    assert set(more.outputs) - set(graph.outputs) == {selection.VALUES, selection.IDS}
    assert more.nodes[-1].op == "TopK" and len(more.nodes) == len(graph.nodes) + 1
