"""Tokenizer: what it does with a stored tokenizer.json, sound and damaged; of rebuilt ones see converters/gguf."""

from __future__ import annotations

import json
import random
import sys
from typing import Any

import pytest
from vocabularies import END, byte_fallback, byte_level, ids, model, tokenizer

from edgert.errors import EdgertError, FormatError, InputError, UnsupportedError
from edgert.format import Model
from edgert.graph.ir import Graph
from edgert.llm.tokenizer import MAX_GROWTH, Tokenizer


def test_a_model_brings_its_tokenizer() -> None:
    mine = Tokenizer.from_model(model(bos=END, add_bos=True))
    assert mine.encode("hi") == [END, *b"hi"]
    assert mine.encode("hi", add_special=False) == [*b"hi"]
    assert mine.encode("<|end|>hi", parse_special=True) == [END, *b"hi"]  # one bos, not two
    assert (mine.bos, mine.eos, mine.special_ids) == (END, {END}, {END})


def test_a_model_without_one_says_so() -> None:
    with pytest.raises(FormatError, match="'lost'"):
        Tokenizer.from_model(model(tokenizer="lost"))
    with pytest.raises(UnsupportedError, match="a language model without one"):
        Tokenizer.from_model(model(tokenizer=""))
    with pytest.raises(UnsupportedError, match="a model of another kind"):
        Tokenizer.from_model(Model(Graph("empty")))


def test_bytes_of_byte_level_tokens() -> None:
    mine = tokenizer()
    assert [mine.token_bytes(byte) for byte in range(256)] == [bytes([byte]) for byte in range(256)]
    assert mine.token_bytes(*ids(" 日本")) == " 日本".encode()
    assert mine.token_bytes(END) == b""
    assert mine.token_bytes(50_000) == b""  # a row of the table that pads it
    assert mine.decode(ids("é", END, "日", 0xE6, 0x97)) == "é日\ufffd"
    with pytest.raises(InputError, match="found -1"):
        mine.token_bytes(-1)


def test_bytes_of_byte_fallback_tokens() -> None:
    mine = tokenizer(byte_fallback(), eos=[2])
    assert mine.encode("Hi 日é") == [259, 263, 264, 259, 262, 3 + 0xC3, 3 + 0xA9]
    assert mine.decode(mine.encode("Hi 日é")) == "Hi 日é"
    assert mine.decode(mine.encode("  Hi ")) == "  Hi "
    assert mine.token_bytes(3 + 0xC3) == b"\xc3"
    assert mine.token_bytes(260) == b" Hi"
    assert mine.decode([1, 260, 2, 260]) == "Hi Hi"
    assert mine.text_start(b" Hi") == b"Hi"
    assert mine.encode_continuation("Hi 日") == [263, 264, 259, 262]


@pytest.mark.parametrize(
    ("decoder", "pieces", "text"),
    [
        ({"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always"}, ["▁Hi", "▁", "a"], "Hi a"),
        ({"type": "Metaspace", "replacement": "▁", "prepend_scheme": "never"}, ["▁Hi", "a"], " Hia"),
        ({"type": "WordPiece", "prefix": "##", "cleanup": True}, ["H", "i"], "H i"),
    ],
)
def test_decoders_of_other_kinds(decoder: dict[str, Any], pieces: list[str], text: str) -> None:
    mine = tokenizer(byte_fallback(decoder=decoder), eos=[2])
    tokens = [mine.token_id(piece) or 0 for piece in pieces]
    assert mine.decode(tokens) == text
    assert (
        mine.text_start(b"".join(map(mine.token_bytes, tokens))).decode()
        == text.removeprefix(" " if decoder["type"] == "WordPiece" else "")
        or decoder["type"] == "WordPiece"
    )


def test_text_that_is_no_text() -> None:
    with pytest.raises(InputError, match="a lone surrogate at 2"):
        tokenizer().encode("ab\ud800")
    with pytest.raises(InputError, match="found bytes"):
        tokenizer().encode(b"ab")  # type: ignore[arg-type]
    assert tokenizer().encode("") == []
    assert tokenizer().decode([]) == ""


def test_a_long_word_takes_no_long_time() -> None:
    mine = tokenizer()
    word = "x" * 1_000_000
    assert len(mine.encode(word)) == len(word)


def test_what_a_tokenizer_json_says_of_padding_is_left_out() -> None:
    padding = {"strategy": {"Fixed": 10**9}, "direction": "Right", "pad_to_multiple_of": None}
    padding |= {"pad_id": 0, "pad_type_id": 0, "pad_token": "a"}
    cut = {"max_length": 1, "strategy": "LongestFirst", "stride": 0, "direction": "Right"}
    assert tokenizer(byte_level(padding=padding, truncation=cut)).encode("hi") == [*b"hi"]


DAMAGED: dict[str, Any] = {
    "text": b"\xff{",
    "deep": b"[" * 100_000,
    "empty": {},
    "merge": byte_level(model={**byte_level()["model"], "merges": [["a", "never"]]}),
    "expression": byte_level(
        pre_tokenizer={"type": "Split", "pattern": {"Regex": "("}, "behavior": "Isolated", "invert": False}
    ),
    "charsmap": byte_level(normalizer={"type": "Precompiled", "precompiled_charsmap": "AAAA"}),
    "growth": byte_level(
        normalizer={
            "type": "Sequence",
            "normalizers": [{"type": "Replace", "pattern": {"String": "a"}, "content": "a" * MAX_GROWTH}] * 3,
        }
    ),
}


@pytest.mark.parametrize("kind", DAMAGED)
def test_damaged_ones_are_refused(kind: str) -> None:
    source = DAMAGED[kind]
    with pytest.raises(FormatError):
        Tokenizer(source if isinstance(source, bytes) else json.dumps(source).encode())


@pytest.mark.parametrize("decoder", [None, {"type": "BPEDecoder", "suffix": "</w>"}])
def test_unknown_decoders_are_named(decoder: dict[str, Any] | None) -> None:
    with pytest.raises(UnsupportedError, match="found none" if decoder is None else "found BPEDecoder"):
        tokenizer(byte_level(decoder=decoder))


def test_an_expression_that_does_not_end_is_stopped() -> None:
    split = {"type": "Split", "pattern": {"Regex": "(a|aa)+$"}, "behavior": "Isolated", "invert": False}
    with pytest.raises(FormatError, match="retry-limit"):
        tokenizer(byte_level(pre_tokenizer=split)).encode("a" * 50 + "b")


def test_damage_anywhere_is_one_typed_error() -> None:
    rng = random.Random(5)
    good = json.dumps(byte_level()).encode()
    refused = 0
    for _ in range(300):
        data = bytearray(good)
        for _ in range(rng.randint(1, 4)):
            at = rng.randrange(len(data))
            data[at : at + rng.randint(0, 3)] = rng.choice([b"", b"null", b"[", b'"', b"-1", b"1e999", b"{}", b"\xff"])
        try:
            mine = Tokenizer(bytes(data))
            mine.decode(mine.encode("hello é"))
        except EdgertError:
            refused += 1
    assert refused > 200


def test_without_the_package_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(UnsupportedError, match=r"pip install 'edgert\[llm\]'"):
        tokenizer()
