"""Vocabularies rebuilt from GGUF metadata, against llama.cpp, SentencePiece and the original tokenizer.json."""

from __future__ import annotations

import hashlib
import io
import json
import random
import unicodedata
from collections.abc import Callable
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import sentencepiece

from edgert.converters.gguf.merges import merges_from_scores
from edgert.converters.gguf.pre_tokenizers import PRE_TOKENIZERS
from edgert.converters.gguf.reader import read_gguf
from edgert.converters.gguf.tokenizer import gguf_vocabulary
from edgert.errors import EdgertError, FormatError, UnsupportedError
from edgert.llm.tokenizer import BYTES, Tokenizer

GOLDEN = json.loads(Path(__file__).with_name("tokens.json").read_text())
TEXTS: list[str] = GOLDEN["texts"]
FILE = Path("model.gguf")
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)


def tokenizer(metadata: dict[str, Any]) -> Tokenizer:
    made = gguf_vocabulary(metadata, FILE)
    return Tokenizer(made.tokenizer.encode(), bos=made.bos, eos=made.eos, add_bos=made.add_bos)


def with_prefix(**values: Any) -> dict[str, Any]:
    return {f"tokenizer.ggml.{key}": value for key, value in values.items()}


# --- byte-level BPE -----------------------------------------------------------------------------------------------


@cache
def smollm2(path: Path) -> dict[str, Any]:
    return read_gguf(path).metadata


@pytest.mark.model
def test_smollm2_gives_the_tokens_of_llama_cpp(asset: Callable[[str], Path]) -> None:
    metadata = smollm2(asset("smollm2-135m"))
    made, mine = gguf_vocabulary(metadata, FILE), tokenizer(metadata)
    assert [mine.encode(text) for text in TEXTS] == GOLDEN["plain"]
    assert [mine.encode(text, parse_special=True) for text in TEXTS] == GOLDEN["special"]
    assert (made.bos, made.eos, made.unk, made.pad, made.add_bos, made.size) == (1, [0, 2], 0, 2, False, 49152)
    assert made.chat_template.startswith("{% for message in messages %}")
    assert made.notes == ["21 of 256 bytes have no token: characters made of them are left out of texts"]


@pytest.mark.model
def test_smollm2_gives_texts_back(asset: Callable[[str], Path]) -> None:
    metadata = smollm2(asset("smollm2-135m"))
    mine = tokenizer(metadata)
    known = {byte for letter, byte in BYTES.items() if mine.token_id(letter) is not None}
    whole = [text for text in TEXTS if known.issuperset(text.encode())]
    assert len(whole) > 0.9 * len(TEXTS)
    for text in whole:
        ids = mine.encode(text)
        assert mine.decode(ids) == text
        assert b"".join(map(mine.token_bytes, ids)) == text.encode()


@pytest.mark.model
@pytest.mark.parametrize("pre", {rules: name for name, rules in PRE_TOKENIZERS.items()}.values())
def test_pre_tokenizers_cut_as_llama_cpp_does(pre: str, asset: Callable[[str], Path]) -> None:
    """With SmolLM2's vocabulary; in NFC, which llama.cpp leaves out."""
    mine = tokenizer({**smollm2(asset("smollm2-135m")), "tokenizer.ggml.pre": pre})
    ids = [mine.encode(unicodedata.normalize("NFC", text), add_special=False) for text in TEXTS]
    assert hashlib.sha256(json.dumps(ids).encode()).hexdigest()[:16] == GOLDEN["pre"][pre]


def byte_level(merges: str = "", extra: tuple[str, ...] = (), **values: Any) -> dict[str, Any]:
    """A vocabulary of all bytes, of what `merges` ('a b, ab c') make, and of `extra` control tokens."""
    pairs = [pair for pair in merges.split(", ") if pair]
    texts = [*BYTES, *(pair.replace(" ", "") for pair in pairs), *extra]
    types = [NORMAL] * (len(texts) - len(extra)) + [CONTROL] * len(extra)
    base = {"model": "gpt2", "pre": "gpt-2", "tokens": texts, "token_type": types, "merges": pairs}
    return with_prefix(**{**base, **values})


@pytest.mark.parametrize("name", PRE_TOKENIZERS)
def test_every_pre_tokenizer_loads_and_keeps_texts(name: str) -> None:
    mine = tokenizer(byte_level(pre=name, extra=("<s>",), bos_token_id=256, eos_token_id=256))
    for text in TEXTS:
        expected = unicodedata.normalize("NFC", text) if PRE_TOKENIZERS[name].nfc else text
        assert mine.decode(mine.encode(text, add_special=False)) == expected


@pytest.mark.parametrize(
    ("pre", "text", "pieces"),
    [
        ("gpt-2", "I've 1234  x", ["I", "'ve", " 1234", " ", " x"]),
        ("smollm", "I've 1234  x", ["I", "'ve", " ", "1", "2", "3", "4", " ", " x"]),
        ("llama-bpe", "I'VE 1234\n\n x", ["I", "'VE", " ", "123", "4", "\n\n", " x"]),
        ("qwen2", "I'VE 1234", ["I", "'VE", " ", "1", "2", "3", "4"]),
        ("falcon", "a+b 1234", ["a", "+", "b", " ", "123", "4"]),
        ("deepseek-llm", "ab 日本 12", ["ab", " ", "日本", " ", "12"]),
        ("gpt-4o", "camelCase's", ["camel", "Case's"]),
        ("tekken", "camelCase 12", ["camel", "Case", " ", "1", "2"]),
    ],
)
def test_pieces_are_those_of_the_rule(pre: str, text: str, pieces: list[str]) -> None:
    from tokenizers import Tokenizer as Library

    made = gguf_vocabulary(byte_level(pre=pre, extra=("<s>",), bos_token_id=256), FILE)
    cut = Library.from_str(made.tokenizer).pre_tokenizer.pre_tokenize_str(text)
    assert [bytes(BYTES[letter] for letter in piece).decode() for piece, _ in cut] == pieces


def test_special_tokens_are_text_unless_asked_for() -> None:
    mine = tokenizer(byte_level(extra=("<|end|>", "<s>"), bos_token_id=257, eos_token_id=256, add_bos_token=True))
    text = "a<|end|>b"
    assert mine.encode(text, parse_special=True) == [257, mine.token_id("a"), 256, mine.token_id("b")]
    plain = mine.encode(text)
    assert plain[0] == 257
    assert not {256, 257} & set(plain[1:])
    assert mine.decode(plain) == text
    assert mine.decode([mine.token_id("a") or 0, 256]) == "a"
    assert mine.token_bytes(256) == b""
    assert mine.special_ids == {256, 257}
    assert mine.eos == {256}


def test_user_defined_tokens_are_found_always_and_are_text() -> None:
    types = [NORMAL] * 256 + [USER_DEFINED]
    mine = tokenizer(byte_level(extra=("  é",), token_type=types))
    assert mine.encode("a  éb") == [mine.token_id("a"), 256, mine.token_id("b")]
    assert mine.decode(mine.encode("a  éb")) == "a  éb"
    assert mine.token_bytes(256) == "  é".encode()


def test_ends_of_turns_are_special_whatever_their_type() -> None:
    types = [NORMAL] * 256 + [USER_DEFINED, NORMAL]
    values = byte_level(extra=("<|im_end|>", "</s>"), token_type=types)
    mine = tokenizer(values)
    assert mine.special_ids == mine.eos == {256}
    assert gguf_vocabulary(values, FILE).eos == [256]


def test_merges_apply_in_their_order() -> None:
    mine = tokenizer(byte_level("b c, a b, ab c"))
    assert [mine.token_text(token) for token in mine.encode("abc")] == ["a", "bc"]


def test_a_llama_3_piece_that_is_a_token_is_not_merged() -> None:
    values = byte_level("b c, a b, ab c", pre="llama-bpe", extra=("<s>",), bos_token_id=259)
    mine = tokenizer(values)
    assert [mine.token_text(token) for token in mine.encode("abc")] == ["<s>", "abc"]


def test_bos_and_eos_around_a_text() -> None:
    mine = tokenizer(byte_level(extra=("<s>", "</s>"), bos_token_id=256, eos_token_id=257, add_eos_token=True))
    assert mine.encode("a") == [mine.token_id("a"), 257]
    assert mine.encode("a", add_special=False) == [mine.token_id("a")]


# --- SentencePiece ------------------------------------------------------------------------------------------------


@cache
def trained(prefix: bool) -> sentencepiece.SentencePieceProcessor:
    """A small BPE model with byte fallback, trained on some of the texts."""
    lines = [line for text in TEXTS for line in text.split("\n") if line.strip() and len(line) < 200]
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines * 3),
        model_writer=model,
        model_type="bpe",
        vocab_size=1000,
        byte_fallback=True,
        character_coverage=0.99,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        add_dummy_prefix=prefix,
        user_defined_symbols=["<tool>"],
        control_symbols=["<end>"],
        minloglevel=2,
        num_threads=1,
    )
    return sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())


def sentence_piece(prefix: bool) -> dict[str, Any]:
    model = trained(prefix)
    kinds = []
    for number in range(len(model)):
        control = CONTROL if model.is_control(number) else NORMAL
        kinds.append(UNKNOWN if model.is_unknown(number) else BYTE if model.is_byte(number) else control)
    kinds[model.piece_to_id("<tool>")] = USER_DEFINED
    return with_prefix(
        model="llama",
        tokens=[model.id_to_piece(number) for number in range(len(model))],
        scores=[model.get_score(number) for number in range(len(model))],
        token_type=kinds,
        bos_token_id=1,
        eos_token_id=2,
        unknown_token_id=0,
        add_space_prefix=prefix,
    )


@pytest.mark.parametrize("prefix", [True, False])
def test_sentence_piece_gives_the_tokens_of_sentencepiece(prefix: bool) -> None:
    reference, mine = trained(prefix), tokenizer(sentence_piece(prefix))
    random_texts = random.Random(7)
    letters = "".join(TEXTS)
    fuzz = ["".join(random_texts.choices(letters, k=random_texts.randint(1, 60))) for _ in range(300)]
    for text in [*TEXTS, *fuzz]:
        if "\x00" in text or "\u2581" in text:  # sentencepiece ends texts at NUL
            continue
        ids = mine.encode(text)
        assert ids == [1, *reference.encode(text)], text
        assert mine.decode(ids) == text
        assert b"".join(map(mine.token_bytes, ids)).decode() == (" " if prefix and text else "") + text


def test_sentence_piece_tokens_of_types() -> None:
    mine = tokenizer(sentence_piece(True))
    tool, end = mine.token_id("<tool>"), mine.token_id("<end>")
    assert tool in mine.encode("a<tool>b")
    assert end not in mine.encode("a<end>b")
    assert end in mine.encode("a<end>b", parse_special=True)
    assert 1 not in mine.encode("<s>", add_special=False)
    assert mine.token_bytes(mine.token_id("<0x0A>") or 0) == b"\n"
    assert mine.encode("") == [1]


def test_phi_3_tokens_take_the_space_after_them() -> None:
    values = sentence_piece(True)
    plain, phi = tokenizer(values), tokenizer({**values, "general.architecture": "phi3"})
    text = "<end>\n <s> a"
    assert phi.encode(text, parse_special=True) == plain.encode("<end><s> a", parse_special=True)
    assert phi.encode(text, parse_special=True) != plain.encode(text, parse_special=True)


def sentence_piece_merges(text: str, scores: dict[str, float]) -> list[str]:
    """What SentencePiece does, in the plainest words: join the best neighbours, leftmost first, as long as any."""
    symbols = list(text)
    while True:
        unions = [(scores[a + b], -i) for i, (a, b) in enumerate(pairwise(symbols)) if a + b in scores]
        if not unions:
            return symbols
        at = -max(unions)[1]
        symbols[at : at + 2] = [symbols[at] + symbols[at + 1]]


def test_merges_from_scores_are_exact_while_scores_differ() -> None:
    rng = random.Random(3)
    for _ in range(60):
        pieces = {"a", "b", "c"}
        while len(pieces) < 16:
            pieces.add("".join(rng.choices("abc", k=rng.randint(2, 5))))
        ranks = rng.sample(range(len(pieces)), len(pieces))
        scores = {piece: -float(rank) for piece, rank in zip(sorted(pieces), ranks, strict=True)}
        order = {pair: rank for rank, pair in enumerate(merges_from_scores(scores, None))}
        for _ in range(20):
            text = "".join(rng.choices("abc", k=rng.randint(1, 25)))
            symbols = list(text)
            while pairs := [(order[p], i) for i, p in enumerate(pairwise(symbols)) if p in order]:
                at = min(pairs)[1]
                symbols[at : at + 2] = [symbols[at] + symbols[at + 1]]
            assert symbols == sentence_piece_merges(text, scores)


def test_shared_scores_are_noted() -> None:
    texts = ["<unk>", "a", "b", "ab", "ba", *(f"<0x{byte:02X}>" for byte in range(256))]
    types = [UNKNOWN, *[NORMAL] * 4, *[BYTE] * 256]
    values = with_prefix(
        model="llama", tokens=texts, scores=[0.0] * 261, token_type=types, bos_token_id=1, eos_token_id=2
    )
    assert "share their score" in gguf_vocabulary(values, FILE).notes[0]


# --- WordPiece ----------------------------------------------------------------------------------------------------


def word_piece(vocabulary: dict[str, int], **values: Any) -> dict[str, Any]:
    """As llama.cpp's converter writes BERT: words start with a mark, what goes on has none."""
    texts = sorted(vocabulary, key=lambda text: vocabulary[text])
    special = {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"}
    marked = [
        text if text[0] == "[" and text[-1] == "]" else text[2:] if text.startswith("##") else "\u2581" + text
        for text in texts
    ]
    ids = {key: vocabulary[name] for key, name in (("unknown", "[UNK]"), ("cls", "[CLS]"), ("seperator", "[SEP]"))}
    return with_prefix(
        model="bert",
        tokens=marked,
        token_type=[CONTROL if text in special else NORMAL for text in texts],
        bos_token_id=vocabulary["[CLS]"],
        **{f"{key}_token_id": number for key, number in ids.items()},
        **values,
    )


@pytest.mark.model
def test_word_piece_gives_the_tokens_of_the_original(asset: Callable[[str], Path]) -> None:
    source = (asset("minilm-l6") / "tokenizer.json").read_bytes()
    original = Tokenizer(source)
    mine = tokenizer(word_piece(json.loads(source)["model"]["vocab"]))
    for text in TEXTS:
        assert mine.encode(text) == original.encode(text), text
        assert mine.decode(mine.encode(text)) == original.decode(original.encode(text))
    assert mine.encode("a")[0] == 101
    assert mine.encode("a")[-1] == 102


def test_word_piece_of_words_with_capitals_keeps_them() -> None:
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "Cat", "cat", "##s", "\u00e9"]
    mine = tokenizer(word_piece({word: number for number, word in enumerate(words)}))
    assert mine.encode("Cats cat\u00e9", add_special=False) == [4, 6, 1]
    assert mine.decode([4, 6, 5]) == "Cats cat"
    lower = tokenizer(word_piece({word: number for number, word in enumerate(words)}, **{"normalizer.lowercase": True}))
    assert lower.encode("Cats", add_special=False) == [5, 6]


# --- what is wrong ------------------------------------------------------------------------------------------------

SMALL = byte_level("a b")
SPM = with_prefix(
    model="llama",
    tokens=["<unk>", "<s>", "</s>", "a"],
    scores=[0.0, 0.0, 0.0, -1.0],
    token_type=[UNKNOWN, CONTROL, CONTROL, NORMAL],
)


@pytest.mark.parametrize(
    ("base", "change", "kind", "says"),
    [
        ({}, {}, FormatError, "expected a tokenizer"),
        (SMALL, {"model": "rwkv"}, UnsupportedError, "found 'rwkv'"),
        (SMALL, {"model": 3}, FormatError, "tokenizer.ggml.model"),
        (SMALL, {"pre": "my-own-pre"}, UnsupportedError, "found 'my-own-pre'"),
        (SMALL, {"tokens": None}, FormatError, "tokenizer.ggml.tokens"),
        (SMALL, {"tokens": []}, FormatError, "found 0"),
        (SMALL, {"tokens": ["a", 1]}, FormatError, "int at 1"),
        (SMALL, {"tokens": ["a", "b", "a"], "token_type": None}, FormatError, "'a' as 0 and 2"),
        (SMALL, {"tokens": ["a", "\ud800"], "token_type": None}, FormatError, "UTF-8"),
        (SMALL, {"tokens": ["a" * 5000], "token_type": None}, FormatError, "found 5000"),
        (SMALL, {"token_type": [1]}, FormatError, "257 token types"),
        (SMALL, {"token_type": [1.5] * 257}, FormatError, "float at 0"),
        (SMALL, {"merges": None}, FormatError, "tokenizer.ggml.merges"),
        (SMALL, {"merges": ["ab"]}, FormatError, "merge 0"),
        (SMALL, {"merges": ["a b", "a c"]}, FormatError, "'ac', which is not"),
        (SMALL, {"merges": ["a "]}, FormatError, "merge 0"),
        (SMALL, {"bos_token_id": 257}, FormatError, "below 257"),
        (SMALL, {"bos_token_id": -7}, FormatError, "bos_token_id"),
        (SMALL, {"eos_token_id": "2"}, FormatError, "eos_token_id"),
        (SMALL, {"add_bos_token": True, "bos_token_id": 2**32 - 1}, FormatError, "add_bos_token"),
        (SMALL, {"add_bos_token": 1}, FormatError, "true or false"),
        (SPM, {}, FormatError, "none"),
        (SPM, {"scores": [0.0]}, FormatError, "4 finite scores"),
        (SPM, {"scores": [0.0, 0.0, 0.0, float("nan")]}, FormatError, "1 of them not finite"),
        (SPM, {"scores": None}, FormatError, "tokenizer.ggml.scores"),
        (SPM, {"tokens": ["<unk>", "<s>", "</s>", "a" * 600]}, FormatError, "at most 512"),
        (SPM, {"remove_extra_whitespaces": True}, UnsupportedError, "keeps spaces"),
        (SPM, {"model": "bert"}, FormatError, "[CLS]"),
        (SPM, {"model": "bert", "tokens": ["a", "##a", "x", "y"]}, FormatError, "[CLS]"),
        (SPM, {"model": "bert", "tokens": ["\u2581##a", "a", "x", "y"], "token_type": [1] * 4}, FormatError, "differ"),
    ],
)
def test_what_is_wrong_is_one_clear_error(
    base: dict[str, Any], change: dict[str, Any], kind: type[EdgertError], says: str
) -> None:
    values = {**base, **with_prefix(**change)}
    if change == {} and base is SPM:
        values |= with_prefix(unknown_token_id=2**32 - 1)
        says = "byte tokens"
    with pytest.raises(kind, match=says.replace("[", r"\[")):
        gguf_vocabulary({key: value for key, value in values.items() if value is not None}, FILE)


def test_missing_pre_is_noted() -> None:
    values = {key: value for key, value in SMALL.items() if not key.endswith(".pre")}
    assert "'default' is used" in gguf_vocabulary(values, FILE).notes[0]


def test_damaged_vocabularies_give_typed_errors() -> None:
    """Whatever of it is another value: a vocabulary that loads and encodes, or one typed error."""
    rng = random.Random(11)
    odd: list[Any] = [None, "", "a", -1, 0, 1, 2**40, 1.5, True, [], ["a"], [1, 2], ["a b"], {}, [[]], "\ud800"]
    bases = [SMALL, sentence_piece(True), word_piece({"[UNK]": 0, "[CLS]": 1, "[SEP]": 2, "a": 3, "##b": 4})]
    refused = 0
    for _ in range(400):
        values = dict(rng.choice(bases))
        for _ in range(rng.randint(1, 3)):
            key = rng.choice(list(values))
            if isinstance(values[key], list) and values[key] and rng.random() < 0.7:
                values[key] = list(values[key])
                values[key][rng.randrange(len(values[key]))] = rng.choice(odd)
            else:
                values[key] = rng.choice(odd)
        try:
            tokenizer(values).encode("ab <s> cd\u00e9")
        except EdgertError:
            refused += 1
    assert refused > 200
