"""Small vocabularies: every byte, and a few tokens more."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from edgert.format import LanguageInfo, Model, ModelInfo
from edgert.format.model import StoredTensor
from edgert.graph.ir import Graph
from edgert.llm.tokenizer import BYTES, Tokenizer

END = 256
WORDS = ("true", "false", '{"', '":', "hello", " hello", "日", "é", " 日本")


def byte_level(**changes: Any) -> dict[str, Any]:
    """The tokenizer.json of a byte-level vocabulary: bytes 0 to 255, <|end|>, WORDS; nothing merges."""
    letters = {byte: letter for letter, byte in BYTES.items()}
    words = ["".join(letters[byte] for byte in word.encode()) for word in WORDS]
    texts = [*(letters[byte] for byte in range(256)), "<|end|>", *words]
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [_added(END, "<|end|>")],
        "normalizer": None,
        "pre_tokenizer": level,
        "post_processor": None,
        "decoder": level,
        "model": _bpe({text: number for number, text in enumerate(texts)}),
    } | changes


def byte_fallback(**changes: Any) -> dict[str, Any]:
    """The tokenizer.json of a SentencePiece vocabulary with its space before every text."""
    pieces = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁", "▁Hi", "a", "日", "H", "i"]
    space = {"type": "Replace", "pattern": {"String": "▁"}, "content": " "}
    strip = {"type": "Strip", "content": " ", "start": 1, "stop": 0}
    mark = [{"type": "Prepend", "prepend": "▁"}, {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]
    model = _bpe({text: number for number, text in enumerate(pieces)}, byte_fallback=True, unk_token="<unk>")
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [_added(number, text) for number, text in enumerate(pieces[:3])],
        "normalizer": {"type": "Sequence", "normalizers": mark},
        "pre_tokenizer": None,
        "post_processor": None,
        "decoder": {"type": "Sequence", "decoders": [space, {"type": "ByteFallback"}, {"type": "Fuse"}, strip]},
        "model": model,
    } | changes


def model(source: dict[str, Any] | None = None, **language: Any) -> Model:
    """A model that holds a tokenizer.json and nothing else; `language` as in LanguageInfo."""
    data = np.frombuffer(json.dumps(source or byte_level()).encode(), np.uint8)
    known = {"architecture": "llama", "context_length": 8, "vocabulary": 300, "tokenizer": "tokenizer", "eos": [END]}
    info = ModelInfo(language=LanguageInfo(**{**known, **language}))
    return Model(Graph("empty"), {"tokenizer": StoredTensor.pack_dense("tokenizer", data)}, info)


def tokenizer(source: dict[str, Any] | None = None, **options: Any) -> Tokenizer:
    return Tokenizer(json.dumps(source or byte_level()).encode(), **{"eos": [END], **options})


def ids(*pieces: str | int) -> list[int]:
    """Tokens of the byte-level vocabulary: a number, one of WORDS, or the bytes of any other text."""
    found: list[int] = []
    for piece in pieces:
        if isinstance(piece, int):
            found.append(piece)
        else:
            found += [END + 1 + WORDS.index(piece)] if piece in WORDS else list(piece.encode())
    return found


def _added(number: int, text: str) -> dict[str, Any]:
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    return {"id": number, "content": text, **flags}


def _bpe(vocabulary: dict[str, int], **options: Any) -> dict[str, Any]:
    empty = {"dropout": None, "unk_token": None, "continuing_subword_prefix": None, "end_of_word_suffix": None}
    flags = {"fuse_unk": False, "byte_fallback": False, "ignore_merges": False}
    return {"type": "BPE", **empty, **flags, **options, "vocab": vocabulary, "merges": []}
