"""A decoder without a network, small tokenizers, and tiny model files: what the tests of generation stand on."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import small_decoder as tiny

from edgert.errors import InputError
from edgert.format import LanguageInfo, Model, ModelInfo, StoredTensor, write_model
from edgert.graph.ir import Graph, Node, TensorType
from edgert.llm.decoder import CacheSlice
from edgert.llm.tokenizer import BYTES, Tokenizer

EOS = 256
VOCABULARY = 260  # three rows more than the tokenizer has tokens, as models have them


class FakeDecoder:
    """Logits that hang on the last two tokens mostly, and on everything before a little: a cache that holds a wrong
    token anywhere shows. `loops`: how strongly it repeats what it has read. `runs`: tokens of each run."""

    def __init__(
        self, n_ctx: int = 64, vocabulary: int = VOCABULARY, *, loops: float = 0.0, sharp: float = 3.0
    ) -> None:
        self.n_ctx, self.vocabulary, self.kv = n_ctx, vocabulary, "f16"
        self.n_past = self.selected = 0
        self.runs: list[tuple[str, int]] = []
        self._cells = np.zeros(n_ctx, np.float32)
        self._loops, self._sharp = loops, sharp

    def prefill(self, tokens: Sequence[int], progress=None) -> None:
        self._take(tokens)
        self.runs.append(("prefill", len(tokens)))
        if progress is not None:
            progress(len(tokens), len(tokens))

    def decode(self, token: int) -> np.ndarray:
        self._take([token])
        self.runs.append(("decode", 1))
        return self._logits(self.n_past)

    def score(self, tokens: Sequence[int]) -> np.ndarray:
        start = self.n_past
        self._take(tokens)
        self.runs.append(("score", len(tokens)))
        return np.stack([self._logits(start + i + 1) for i in range(len(tokens))])

    def truncate(self, count: int) -> None:
        if not 0 <= count <= self.n_past:
            raise InputError(f"expected 0..{self.n_past}, found {count}")
        self.n_past = count

    def export_cache(self, count: int) -> list[CacheSlice]:
        return [CacheSlice("past", "fake", (self._cells[:count].copy(),))]

    def import_cache(self, slices: Sequence[CacheSlice], count: int) -> None:
        if slices[0].data[0].shape != (count,):
            raise InputError("differs")
        self._cells[:count] = slices[0].data[0]
        self.n_past = count

    def summary(self) -> str:
        return "fake"

    def close(self) -> None:
        self.n_past = 0

    def _take(self, tokens: Sequence[int]) -> None:
        if self.n_past + len(tokens) > self.n_ctx:
            raise InputError("the cache is full")
        assert all(0 <= token < self.vocabulary for token in tokens)
        self._cells[self.n_past : self.n_past + len(tokens)] = tokens
        self.n_past += len(tokens)

    def _logits(self, count: int) -> np.ndarray:
        held = self._cells[:count].astype(int).tolist()
        logits = self._sharp * noise(*held[-2:]) + 0.3 * noise(len(held), *held)
        if self._loops:
            for place in range(len(held) - 2, 1, -1):
                if held[place - 2 : place] == held[-2:]:
                    logits[held[place]] += self._loops
                    break
        return logits


@cache
def noise(*key: int) -> np.ndarray:
    row = np.random.default_rng(list(key)).standard_normal(VOCABULARY).astype(np.float32)
    row[EOS:] = -20  # never ends by itself
    row.setflags(write=False)
    return row


@cache
def byte_tokenizer() -> Tokenizer:
    """A token per byte, and <|end|>."""
    table = {letter: byte for letter, byte in BYTES.items()}
    return Tokenizer(tokenizer_json(table, ["<|end|>"]), eos=[EOS])


def tokenizer_json(table: dict[str, int], special: Sequence[str] = ()) -> bytes:
    """A byte-level tokenizer without merges; `special` tokens follow the table."""
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    first = max(table.values()) + 1
    added = [{"id": first + i, "content": text, **flags} for i, text in enumerate(special)]
    model = {
        "type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
        "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
        "vocab": table, "merges": [],
    }  # fmt: skip
    whole = {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": added, "normalizer": None,
        "pre_tokenizer": level, "post_processor": None, "decoder": level, "model": model,
    }  # fmt: skip
    return json.dumps(whole).encode()


WORDS = "\n" + "".join(map(chr, range(32, 127)))
TEMPLATE = (
    "{% for message in messages %}<|{{ message['role'] }}|>{{ message['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
ROLES = ["<|system|>", "<|user|>", "<|assistant|>", "<|end|>"]


def language_model(
    path: Path, *, tokenizer: bool = True, template: str = TEMPLATE, eos: bool = True, **sizes: int
) -> Path:
    """A tiny random decoder at `path` that reads and writes printable ASCII. It has no idea what it says. sizes: width,
    inner and layers, see tiny_decoder."""
    model = tiny.tiny_decoder(**sizes)
    assert model.info.language is not None and len(WORDS) + len(ROLES) == tiny.VOCABULARY
    table = {next(k for k, v in BYTES.items() if v == ord(letter)): i for i, letter in enumerate(WORDS)}
    if tokenizer:
        model.tensors["words"] = StoredTensor.pack_dense("words", np.frombuffer(tokenizer_json(table, ROLES), np.uint8))
    model.info.language = replace(
        model.info.language, tokenizer="words" if tokenizer else "", chat_template=template, eos=[99] if eos else []
    )
    write_model(model, path)
    return path


def embedding_model(path: Path) -> Path:
    """A tiny encoder: the mean of its tokens' vectors [8], and a little of where they stand."""
    rng = np.random.default_rng(1)
    graph = Graph("embedding", inputs=["tokens", "positions"], outputs=["hidden"])
    tables = {"table": rng.standard_normal((100, 8)), "places": 0.01 * rng.standard_normal((64, 8))}
    tensors = {name: StoredTensor.pack_dense(name, value.astype(np.float32)) for name, value in tables.items()}
    graph.types = {name: TensorType("int32", ("T",)) for name in graph.inputs}
    graph.types |= {name: tensor.type for name, tensor in tensors.items()}
    graph.types["hidden"] = TensorType("float32", ("T", 8))
    for name, tensor in tensors.items():
        graph.constants[name] = tensor.parts["data"]
    graph.nodes = [
        Node("Gather", ("table", "tokens"), ("x",), {"axis": 0}, "x"),
        Node("Gather", ("places", "positions"), ("p",), {"axis": 0}, "p"),
        Node("Add", ("x", "p"), ("hidden",), {}, "hidden"),
    ]
    table = {next(k for k, v in BYTES.items() if v == ord(letter)): i for i, letter in enumerate(WORDS)}
    tensors["words"] = StoredTensor.pack_dense("words", np.frombuffer(tokenizer_json(table, ROLES), np.uint8))
    language = LanguageInfo("bert", 64, 100, "words", pooling="mean", normalize=True)
    write_model(Model(graph, tensors, ModelInfo("tiny-embedding", "text-embedding", language=language)), path)
    return path
