"""Streams: pieces together are the whole text, characters are never cut, stop strings never shown."""

from __future__ import annotations

import random

import pytest
from vocabularies import END, byte_fallback, ids, tokenizer

from edgert.errors import InputError
from edgert.llm.stream_text import StopMatcher, TextStream, Utf8Stream

TEXTS = ["", "plain", "é日本👨‍👩‍👧", "a\u0301", "مرحبا", "\U0010ffff\x00"]


@pytest.mark.parametrize("text", TEXTS)
def test_characters_come_whole(text: str) -> None:
    stream, pieces = Utf8Stream(), []
    for byte in text.encode():
        pieces.append(stream.push(bytes([byte])))
        assert len(pieces[-1]) <= 1
    assert "".join(pieces) == text
    assert "\ufffd" not in "".join(pieces)
    assert stream.finish() == ""


def test_any_bytes_in_any_pieces_are_what_decoding_at_once_gives() -> None:
    rng = random.Random(1)
    for _ in range(500):
        data = bytes(
            rng.choice([0x41, 0xC3, 0xA9, 0xE6, 0x97, 0xA5, 0xF0, 0x9F, 0x91, 0x8D, 0xED, 0xA0, 0xFF])
            for _ in range(20)
        )
        stream, text, at = Utf8Stream(), "", 0
        while at < len(data):
            size = rng.randint(1, 4)
            text += stream.push(data[at : at + size])
            at += size
        assert text + stream.finish() == data.decode("utf-8", "replace")


def test_half_a_character_is_shown_at_the_end_only() -> None:
    stream = TextStream(tokenizer())
    assert [stream.push(token) for token in ids("日", 0xE6, 0x97)] == ["日", "", ""]
    assert stream.finish() == "\ufffd"


def test_special_tokens_show_nothing() -> None:
    stream = TextStream(tokenizer())
    assert "".join(stream.push(token) for token in ids(0xC3, END, 0xA9, "hello")) == "éhello"


@pytest.mark.parametrize(
    ("stops", "pieces", "shown", "matched"),
    [
        ([], ["a", "b"], ["a", "b"], ""),
        (["END"], ["abE", "ND more", "x"], ["ab", "", ""], "END"),
        (["END"], ["E", "E", "N", "D"], ["", "E", "", ""], "END"),
        (["END"], ["EN", "x"], ["", "ENx"], ""),
        (["aab"], ["aa", "ab"], ["", "a"], "aab"),
        (["\n\n", "User:"], ["x\nUser", "s\n", "\n"], ["x\nUsers", "", ""], "\n\n"),
        (["b", "abc"], ["zabc"], ["z"], "abc"),
        (["ab", "abc"], ["xab", "c"], ["x", ""], "ab"),
    ],
)
def test_stop_strings(stops: list[str], pieces: list[str], shown: list[str], matched: str) -> None:
    matcher = StopMatcher(stops)
    if stops == ["\n\n", "User:"]:  # "User" is held until it is certain
        shown = ["x\n", "Users", ""]
    assert [matcher.push(piece) for piece in pieces] == shown
    assert matcher.matched == matched


def test_what_is_held_back_is_shown_at_the_end() -> None:
    matcher = StopMatcher(["<stop>"])
    assert matcher.push("text <sto") == "text "
    assert matcher.finish() == "<sto"
    assert matcher.matched == ""


def test_nothing_of_a_stop_string_is_ever_shown() -> None:
    rng = random.Random(4)
    for _ in range(2000):
        stops = ["".join(rng.choices("ab", k=rng.randint(1, 4))) for _ in range(rng.randint(1, 3))]
        text = "".join(rng.choices("abc", k=12))
        matcher, shown, at = StopMatcher(stops), "", 0
        while at < len(text) and not matcher.matched:
            size = rng.randint(1, 4)
            shown += matcher.push(text[at : at + size])
            at += size
        shown += matcher.finish()
        places = [text.find(stop) for stop in stops if stop in text[:at]]
        assert shown == (text[: min(places)] if places else text)
        assert bool(matcher.matched) == bool(places)


@pytest.mark.parametrize("stops", [[""], "stop", ["x" * 2000], ["x"] * 65, [3]])
def test_bad_stop_strings_are_refused(stops: list[str]) -> None:
    with pytest.raises(InputError, match="stop strings"):
        StopMatcher(stops)


@pytest.mark.parametrize("text", TEXTS)
def test_a_stream_is_the_decoded_text(text: str) -> None:
    mine = tokenizer(byte_fallback(), eos=[2])
    tokens = mine.encode(text)
    whole, rest = TextStream(mine, from_start=True), TextStream(mine)
    assert "".join(map(whole.push, tokens)) + whole.finish() == mine.decode(tokens) == text
    assert "".join(map(rest.push, tokens)) + rest.finish() == (" " + text if text else "")


def test_stop_strings_across_tokens() -> None:
    stream = TextStream(tokenizer(), ["日本"])
    shown = [stream.push(token) for token in ids("hello", " ", *"日".encode(), 0xE6, 0x9C, 0xAC, "x")]
    assert "".join(shown) == "hello "
    assert stream.stopped == "日本"
    assert stream.finish() == ""
