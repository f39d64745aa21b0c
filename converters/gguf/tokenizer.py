"""Rebuilds the vocabulary in GGUF metadata as a Hugging Face tokenizer.json: byte-level BPE, SentencePiece, WordPiece.
Rules for cutting text are `pre_tokenizers.py`, merges `merges.py`. Source: docs/gguf.md of ggml, llama-vocab.cpp."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path
from typing import Any

from edgert.converters.gguf.merges import merges_from_scores, merges_from_text, shared_scores
from edgert.converters.gguf.pre_tokenizers import PRE_TOKENIZERS, PreTokenizer
from edgert.converters.llm.settings import Settings
from edgert.converters.llm.vocabulary import END_TOKENS, Vocabulary
from edgert.errors import FormatError, UnsupportedError

PREFIX = "tokenizer.ggml."

MAX_TOKENS = 1 << 20
"""Four times the largest vocabularies there are."""

MAX_TOKEN = 1 << 12
"""Characters of one token; runs of spaces in some vocabularies reach several hundred."""

MAX_CHARACTERS = 1 << 25
"""Of all tokens together; a vocabulary of 262,144 has 2 million."""

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)
"""`tokenizer.ggml.token_type`, after SentencePiece."""

TURN_ENDS = END_TOKENS - {"</s>", "[EOS]"}
MISTAKEN = (NORMAL, USER_DEFINED)
"""Some files give such tokens these types, so that what ends a turn would be shown. ("</s>" is a word of HTML too.)"""

SPACE = "\u2581"
"""What SentencePiece writes for a space; GGUF marks with it the WordPiece tokens that start a word."""

Json = dict[str, Any]


@dataclass(frozen=True)
class _Tokens:
    """What every kind of vocabulary has. ids: by text. types: by id."""

    settings: Settings
    ids: dict[str, int]
    types: list[int]

    @property
    def texts(self) -> list[str]:
        return list(self.ids)

    def of_type(self, *kinds: int) -> list[str]:
        return [text for text, kind in zip(self.ids, self.types, strict=True) if kind in kinds]

    def special(self, key: str, default: int = -1) -> int:
        """The id under `key`, such as 'bos_token_id'; `default` if the file does not say."""
        wanted = self.settings.integer(key, default if 0 <= default < len(self.ids) else -1, low=-1, high=2**32 - 1)
        if wanted == 2**32 - 1:  # how some writers say "none"
            return -1
        if wanted >= len(self.ids):
            raise self.settings.wrong(key, f"the number of a token, below {len(self.ids)}")
        return wanted


@dataclass(frozen=True)
class _Parts:
    """What the kinds of vocabulary differ in. sides: ids put before and after every text."""

    model: Json
    decoder: Json
    normalizer: Json | None = None
    pre_tokenizer: Json | None = None
    sides: tuple[list[int], list[int]] = field(default_factory=lambda: ([], []))
    bos: int = -1
    eos: int = -1
    unk: int = -1
    texts: list[str] | None = None
    notes: list[str] = field(default_factory=list)


def gguf_vocabulary(metadata: Mapping[str, Any], path: Path) -> Vocabulary:
    """The vocabulary in `metadata`, the key-value pairs of the GGUF file `path`.

    Raises FormatError when it is missing or damaged, UnsupportedError for a kind or a `pre` that is not known.
    """
    settings = Settings(metadata, path, PREFIX)
    if not settings.has("model"):
        hint = "take a file with a vocabulary: some hold a part of a model only"
        raise FormatError(path, None, f"a tokenizer ({PREFIX}model)", "none", hint)
    kind = settings.text("model")
    if kind not in KINDS:
        raise UnsupportedError(
            f"{path}: expected a tokenizer of the kinds {', '.join(KINDS)}, found {kind[:60]!r}; "
            "take a model of another family, or its safetensors folder, whose tokenizer.json is used as it is"
        )
    tokens = _tokens(settings)
    parts = KINDS[kind](tokens)
    texts = parts.texts or tokens.texts
    text = json.dumps(
        {
            "version": "1.0",
            "truncation": None,
            "padding": None,
            "added_tokens": _added_tokens(tokens, texts),
            "normalizer": parts.normalizer,
            "pre_tokenizer": parts.pre_tokenizer,
            "post_processor": _template(texts, *parts.sides),
            "decoder": parts.decoder,
            "model": parts.model,
        },
        ensure_ascii=False,
        separators=(",", ":"),
    )
    ends = [parts.eos, tokens.special("eot_token_id"), tokens.special("eom_token_id")]
    ends += [tokens.ids[text] for text in tokens.of_type(CONTROL) if text in END_TOKENS]
    return Vocabulary(
        tokenizer=text,
        size=len(texts),
        chat_template=Settings(metadata, path).text("tokenizer.chat_template", ""),
        bos=parts.bos,
        eos=sorted({end for end in ends if end >= 0}),
        unk=parts.unk,
        pad=tokens.special("padding_token_id"),
        add_bos=bool(parts.sides[0]),
        notes=parts.notes,
    )


def _tokens(settings: Settings) -> _Tokens:
    """The arrays that every kind has, checked against each other and the limits above."""
    texts = _array(settings, "tokens", str)
    if not 0 < len(texts) <= MAX_TOKENS:
        raise FormatError(settings.path, None, f"1 to {MAX_TOKENS} tokens", str(len(texts)))
    if (longest := max(map(len, texts))) > MAX_TOKEN:
        raise FormatError(settings.path, None, f"tokens of at most {MAX_TOKEN} characters", str(longest))
    if (total := sum(map(len, texts))) > MAX_CHARACTERS:
        raise FormatError(settings.path, None, f"tokens of at most {MAX_CHARACTERS} characters together", str(total))
    ids: dict[str, int] = {}
    for number, text in enumerate(texts):
        text = text or f"[EMPTY_{number}]"  # padding of the embedding table; the name llama.cpp gives them
        if text in ids:
            found = f"{text[:60]!r} as {ids[text]} and {number}"
            raise FormatError(settings.path, None, "each token once", found)
        ids[text] = number
    try:
        "".join(ids).encode("utf-8")
    except UnicodeEncodeError as error:
        raise FormatError(settings.path, None, "tokens in UTF-8", error.reason) from None
    types = _array(settings, "token_type", int) if settings.has("token_type") else [NORMAL] * len(ids)
    if len(types) != len(ids):
        raise FormatError(settings.path, None, f"{len(ids)} token types", str(len(types)))
    kinds = [CONTROL if text in TURN_ENDS and kind in MISTAKEN else kind for text, kind in zip(ids, types, strict=True)]
    return _Tokens(settings, ids, kinds)


def _array(settings: Settings, key: str, *kinds: type) -> list[Any]:
    expected = f"a list of {kinds[0].__name__} values"
    values = settings.raw(key)
    if not isinstance(values, list):
        raise settings.wrong(key, expected)
    for number, value in enumerate(values):
        if not isinstance(value, kinds):
            found = f"{type(value).__name__} at {number}"
            raise FormatError(settings.path, None, f"{expected} for {PREFIX + key!r}", found)
    return values


def _byte_level(tokens: _Tokens) -> _Parts:
    """Radford et al. 2019: bytes are written as printable characters, and merged within pieces of the text."""
    from edgert.llm.tokenizer import BYTES

    settings = tokens.settings
    pre = settings.text("pre", "default")
    if pre not in PRE_TOKENIZERS:
        raise UnsupportedError(
            f"{settings.path}: expected {PREFIX}pre to be one of {', '.join(sorted(PRE_TOKENIZERS))}, "
            f"found {pre[:60]!r}; "
            "the rule that cuts the text is not in the file: convert the model's safetensors folder instead"
        )
    rules = PRE_TOKENIZERS[pre]
    notes = (
        [] if settings.has("pre") else [f"the file does not name its pre-tokenizer ({PREFIX}pre): 'default' is used"]
    )
    if missing := sum(letter not in tokens.ids for letter in BYTES):
        notes.append(f"{missing} of 256 bytes have no token: characters made of them are left out of texts")
    merges = merges_from_text(_array(settings, "merges", str), tokens.ids, settings.path)
    unk = tokens.special("unknown_token_id")
    bos, eos = tokens.special("bos_token_id"), tokens.special("eos_token_id")
    return _Parts(
        model=_bpe(tokens.ids, merges, ignore_merges=rules.ignore_merges),
        decoder=_BYTE_LEVEL,
        normalizer={"type": "NFC"} if rules.nfc else None,
        pre_tokenizer=_cuts(rules),
        sides=_sides(tokens, bos if settings.flag("add_bos_token", rules.add_bos and bos >= 0) else None, eos),
        bos=bos,
        eos=eos,
        unk=unk,
        notes=notes,
    )


def _sentence_piece(tokens: _Tokens) -> _Parts:
    """Kudo & Richardson 2018, in its BPE form; spaces are characters, unknown characters become bytes."""
    settings = tokens.settings
    if settings.flag("remove_extra_whitespaces", False):
        raise UnsupportedError(
            f"{settings.path}: expected a SentencePiece vocabulary that keeps spaces, found one that drops repeated "
            f"ones ({PREFIX}remove_extra_whitespaces); convert the model's safetensors folder instead"
        )
    scores = _array(settings, "scores", float, int)
    if len(scores) != len(tokens.ids) or not all(map(isfinite, scores)):
        found = f"{len(scores)}, {sum(not isfinite(score) for score in scores)} of them not finite"
        raise FormatError(settings.path, None, f"{len(tokens.ids)} finite scores", found)
    # Control tokens are left out, so that no text merges into one; tokens that users defined are found before.
    plain = {
        text: score
        for (text, kind, score) in zip(tokens.ids, tokens.types, scores, strict=True)
        if kind in (NORMAL, UNUSED)
    }
    unk = tokens.special("unknown_token_id", 0)
    has_bytes = all(f"<0x{byte:02X}>" in tokens.ids for byte in range(256))
    if not has_bytes and unk < 0:
        expected = "the byte tokens <0x00> to <0xFF>, or an unknown token"
        raise FormatError(settings.path, None, expected, "neither", "such a vocabulary has no token for most text")
    spaced = settings.flag("add_space_prefix", True)
    bos, eos = tokens.special("bos_token_id", 1), tokens.special("eos_token_id", 2)
    to_space: Json = {"type": "Replace", "pattern": {"String": SPACE}, "content": " "}
    to_mark: Json = {"type": "Replace", "pattern": {"String": " "}, "content": SPACE}
    first: Json = {"type": "Strip", "content": " ", "start": 1, "stop": 0}
    shared = shared_scores(plain)
    return _Parts(
        model=_bpe(
            tokens.ids,
            merges_from_scores(plain, settings.path),
            unk_token=tokens.texts[unk] if unk >= 0 else None,
            fuse_unk=True,
            byte_fallback=True,
        ),
        decoder=_sequence("decoders", to_space, {"type": "ByteFallback"}, {"type": "Fuse"}, *[first] * spaced),
        normalizer=_sequence("normalizers", *[{"type": "Prepend", "prepend": SPACE}] * spaced, to_mark),
        sides=_sides(tokens, bos if settings.flag("add_bos_token", True) else None, eos),
        bos=bos,
        eos=eos,
        unk=unk,
        notes=[f"{shared} tokens share their score with another: ties are broken by rank"] if shared else [],
    )


def _word_piece(tokens: _Tokens) -> _Parts:
    """Wu et al. 2016 as BERT uses it. GGUF drops the '##' of pieces that go on, and marks those that start a word."""
    settings = tokens.settings
    texts = []
    for text, kind in zip(tokens.ids, tokens.types, strict=True):
        if text.startswith(SPACE) and len(text) > 1:
            texts.append(text[1:])
        elif kind in (UNKNOWN, CONTROL, USER_DEFINED, UNUSED) or (text[0] == "[" and text[-1] == "]"):
            texts.append(text)
        else:
            texts.append("##" + text)
    if len(set(texts)) != len(texts):
        raise FormatError(settings.path, None, "WordPiece tokens that differ without their marks", "two that do not")
    # Older files do not say whether text is made lower case; a vocabulary that is for such text has no capitals.
    plain = (text for text, kind in zip(texts, tokens.types, strict=True) if kind == NORMAL and text[0] != "[")
    lower = settings.flag("normalizer.lowercase", not any("A" <= letter <= "Z" for text in plain for letter in text))
    unk, bos = tokens.special("unknown_token_id", 100), tokens.special("bos_token_id", 101)
    bos = tokens.special("cls_token_id", bos)
    separator = tokens.special("seperator_token_id", tokens.special("separator_token_id", 102))  # spelled so in files
    if unk < 0 or bos < 0 or separator < 0:
        raise FormatError(settings.path, None, "the tokens [UNK], [CLS] and [SEP]", f"{unk}, {bos} and {separator}")
    return _Parts(
        model={
            "type": "WordPiece",
            "unk_token": texts[unk],
            "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100,
            "vocab": {text: number for number, text in enumerate(texts)},
        },
        decoder={"type": "WordPiece", "prefix": "##", "cleanup": True},
        normalizer={
            "type": "BertNormalizer",
            "clean_text": True,
            "handle_chinese_chars": True,
            "strip_accents": settings.flag("normalizer.strip_accents", lower),
            "lowercase": lower,
        },
        pre_tokenizer={"type": "BertPreTokenizer"},
        sides=([bos], [separator]),
        bos=bos,
        eos=tokens.special("eos_token_id"),
        unk=unk,
        texts=texts,
    )


KINDS: dict[str, Callable[[_Tokens], _Parts]] = {
    "gpt2": _byte_level,
    "llama": _sentence_piece,
    "bert": _word_piece,
}
"""By the value of `tokenizer.ggml.model`."""

_BYTE_LEVEL: Json = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}


def _bpe(ids: Mapping[str, int], merges: list[tuple[str, str]], **options: Any) -> Json:
    defaults = {
        "dropout": None,
        "unk_token": None,
        "continuing_subword_prefix": None,
        "end_of_word_suffix": None,
        "fuse_unk": False,
        "byte_fallback": False,
        "ignore_merges": False,
    }
    return {"type": "BPE", **defaults, **options, "vocab": ids, "merges": merges}


def _cuts(rules: PreTokenizer) -> Json:
    splits: list[Json] = [
        {"type": "Split", "pattern": {"Regex": split}, "behavior": "Isolated", "invert": False}
        for split in rules.splits
    ]
    return _sequence("pretokenizers", *splits, _BYTE_LEVEL)


def _sequence(field: str, *steps: Json) -> Json:
    return {"type": "Sequence", field: list(steps)}


def _sides(tokens: _Tokens, bos: int | None, eos: int) -> tuple[list[int], list[int]]:
    """bos if it is asked for, eos if the file asks for it. Raises FormatError if it then has no such token."""
    after = tokens.settings.flag("add_eos_token", False)
    for wanted, number, name in ((bos is not None, bos, "bos"), (after, eos, "eos")):
        if wanted and number == -1:
            raise FormatError(
                tokens.settings.path, None, f"{PREFIX}{name}_token_id, as {PREFIX}add_{name}_token says", "none"
            )
    return [] if bos is None else [bos], [eos] if after else []


def _template(texts: list[str], before: list[int], after: list[int]) -> Json | None:
    """What puts tokens around a text; None if there are none."""
    if not before and not after:
        return None

    def around(sequence: str, kind: int) -> list[Json]:
        def special(number: int) -> Json:
            return {"SpecialToken": {"id": texts[number], "type_id": kind}}

        return [*map(special, before), {"Sequence": {"id": sequence, "type_id": kind}}, *map(special, after)]

    specials = {
        texts[number]: {"id": texts[number], "ids": [number], "tokens": [texts[number]]} for number in before + after
    }
    pair = around("A", 0) + around("B", 1)
    return {"type": "TemplateProcessing", "single": around("A", 0), "pair": pair, "special_tokens": specials}


def _added_tokens(tokens: _Tokens, texts: list[str]) -> list[Json]:
    """Tokens that are found in the text before anything else: special ones on request, users' ones always."""
    found = (UNKNOWN, CONTROL, USER_DEFINED)
    flags = {"single_word": False, "lstrip": False, "normalized": False}
    # Phi-3 takes the white space after its tokens for part of them; GGUF has no key for that.
    metadata = tokens.settings.values
    takes_space = metadata.get(f"{PREFIX}model") == "llama" and metadata.get("general.architecture") == "phi3"
    return [
        {
            "id": number,
            "content": text,
            **flags,
            "rstrip": takes_space and text not in ("<unk>", "<s>", "<|endoftext|>"),
            "special": kind != USER_DEFINED,
        }
        for number, (text, kind) in enumerate(zip(texts, tokens.types, strict=True))
        if kind in found
    ]
