"""Constraints: only what keeps to the schema, expression or grammar is allowed, and it always ends."""

from __future__ import annotations

import gc
import json
import re
import sys
import weakref
from typing import Any

import numpy as np
import pytest
from vocabularies import END, WORDS, byte_fallback, byte_level, ids, tokenizer

from edgert.errors import EdgertError, InputError, UnsupportedError
from edgert.llm.constrain import Constraint
from edgert.llm.tokenizer import Tokenizer

pytest.importorskip("llguidance")

VOCABULARY = END + 1 + len(WORDS) + 7  # the table of the model has seven rows more
PERSON = {
    "type": "object",
    "properties": {"name": {"type": "string", "maxLength": 5}, "age": {"type": "integer", "minimum": 0, "maximum": 9}},
    "required": ["name", "age"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def mine() -> Tokenizer:
    return tokenizer()


def sample(constraint: Constraint, mine: Tokenizer, seed: int) -> str:
    """Random allowed tokens until the end."""
    rng, chosen = np.random.default_rng(seed), []
    while not constraint.finished:
        allowed = np.flatnonzero(constraint.mask())
        assert len(allowed)
        token = int(rng.choice(allowed))
        constraint.commit(token)
        chosen.append(token)
        assert len(chosen) < 2000
    return mine.decode(chosen)


@pytest.mark.parametrize("seed", range(5))
def test_json_keeps_to_its_schema(mine: Tokenizer, seed: int) -> None:
    value = json.loads(sample(Constraint(mine, VOCABULARY, schema=PERSON), mine, seed))
    assert list(value) == ["name", "age"]
    assert len(value["name"]) <= 5
    assert 0 <= value["age"] <= 9


@pytest.mark.parametrize("seed", range(5))
def test_text_keeps_to_its_expression(mine: Tokenizer, seed: int) -> None:
    text = sample(Constraint(mine, VOCABULARY, regex="[A-C]{2}-[0-9]{1,3}(日|é)"), mine, seed)
    assert re.fullmatch("[A-C]{2}-[0-9]{1,3}(日|é)", text)


@pytest.mark.parametrize("seed", range(5))
def test_text_keeps_to_its_grammar(mine: Tokenizer, seed: int) -> None:
    grammar = 'start: sum\nsum: product ("+" product)~0..3\nproduct: /[1-9]/ | "(" /[1-9]/ ")"\n'
    text = sample(Constraint(mine, VOCABULARY, grammar=grammar), mine, seed)
    assert re.fullmatch(r"([1-9]|\([1-9]\))(\+([1-9]|\([1-9]\)))*", text)


def test_masks_have_a_place_for_every_logit(mine: Tokenizer) -> None:
    constraint = Constraint(mine, VOCABULARY, schema={"type": "boolean"})
    mask = constraint.mask()
    assert mask.dtype == np.bool_
    assert mask.shape == (VOCABULARY,)
    allowed = set(np.flatnonzero(mask).tolist())
    assert allowed >= {ord("t"), ord("f"), *ids("true", "false")}
    assert not allowed & {END, *ids("hello"), *range(END + 1 + len(WORDS), VOCABULARY)}


def test_the_end_is_allowed_where_the_output_is_complete(mine: Tokenizer) -> None:
    constraint = Constraint(mine, VOCABULARY, regex="a+")
    assert not constraint.complete
    assert not constraint.mask()[END]
    constraint.commit(ord("a"))
    assert constraint.complete
    assert set(np.flatnonzero(constraint.mask()).tolist()) == {ord("a"), END}
    constraint.commit(END)
    assert constraint.finished


def test_every_end_token_of_the_model_ends(mine: Tokenizer) -> None:
    flags = byte_level()["added_tokens"][0]
    two = byte_level(added_tokens=[flags, {**flags, "id": 257, "content": "<|stop|>"}])
    del two["model"]["vocab"]["true"]
    two["model"]["vocab"]["<|stop|>"] = 257
    both = tokenizer(two, eos=[END, 257])
    constraint = Constraint(both, VOCABULARY, regex="a+")
    constraint.commit(ord("a"))
    assert constraint.mask()[[END, 257]].all()


def test_a_token_that_is_not_allowed_changes_nothing(mine: Tokenizer) -> None:
    constraint = Constraint(mine, VOCABULARY, regex="ab")
    for token in (ord("b"), END, -1, VOCABULARY):
        with pytest.raises(InputError, match="the regex allows"):
            constraint.commit(token)
    constraint.commit(ord("a"))
    assert np.flatnonzero(constraint.mask()).tolist() == [ord("b")]


def test_tokens_that_must_come_are_known(mine: Tokenizer) -> None:
    assert mine.decode(Constraint(mine, VOCABULARY, regex="hello!{3}x?").forced()).startswith("h")


def test_sentencepiece_vocabularies_too() -> None:
    other = tokenizer(byte_fallback(), eos=[2])
    assert sample(Constraint(other, 265, regex="Hi 日é"), other, 0) == "Hi 日é"


@pytest.mark.parametrize(
    ("given", "kind", "says"),
    [
        ({}, InputError, "found none"),
        ({"regex": "a", "grammar": "b"}, InputError, "found regex, grammar"),
        ({"schema": "{"}, InputError, "not JSON"),
        ({"schema": "[]"}, InputError, r"found \[\]"),
        ({"schema": {"type": object}}, InputError, "not JSON"),
        ({"schema": {"type": "thing"}}, UnsupportedError, "Invalid type"),
        ({"schema": {"$ref": "http://localhost/x"}}, UnsupportedError, "not present"),
        ({"regex": "("}, UnsupportedError, "unclosed group"),
        ({"regex": "(?=a)b"}, UnsupportedError, "look-around"),
        ({"regex": 3}, InputError, "found int"),
        ({"grammar": "start: other"}, UnsupportedError, "unknown name"),
        ({"grammar": "a" * (2 << 20)}, InputError, "found 2097152"),
        ({"grammar": "start: " + '"a" ' * 100_000}, UnsupportedError, "followed"),
    ],
)
def test_what_can_not_be_followed_is_one_clear_error(
    mine: Tokenizer, given: dict[str, Any], kind: type[EdgertError], says: str
) -> None:
    with pytest.raises(kind, match=says) as caught:
        Constraint(mine, VOCABULARY, **given)
    assert len(str(caught.value)) < 500


def test_a_model_without_an_end_can_not_be_constrained() -> None:
    with pytest.raises(UnsupportedError, match="could not end"):
        Constraint(tokenizer(eos=[]), VOCABULARY, regex="a")


def test_vocabularies_go_with_their_tokenizer() -> None:
    own = tokenizer()
    Constraint(own, VOCABULARY, regex="a")
    watch = weakref.ref(own)
    del own
    gc.collect()
    assert watch() is None


def test_without_the_package_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch, mine: Tokenizer) -> None:
    monkeypatch.setitem(sys.modules, "llguidance", None)
    with pytest.raises(UnsupportedError, match=r"pip install 'edgert\[llm,grammar\]'"):
        Constraint(mine, VOCABULARY, regex="a")
