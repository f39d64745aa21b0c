"""A GGUF writer that writes whatever it is told, right or wrong, and remembers where every field begins."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

CODES = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "B", 10: "Q", 11: "q", 12: "d"}
U32, F32, BOOL, STRING, ARRAY = 4, 6, 7, 8, 9


@dataclass
class Info:
    """A tensor announcement; offset None: behind the one before."""

    name: str | bytes
    dims: tuple[int, ...] = (4,)
    kind: int = 0
    data: bytes = bytes(16)
    offset: int | None = None
    rank: int | None = None


@dataclass
class Gguf:
    """A file. metadata: (key, type, value); an array value is (type, values), its length by `lengths`."""

    metadata: list[tuple[str | bytes, int, Any]] = field(default_factory=list)
    tensors: list[Info] = field(default_factory=list)
    magic: bytes = b"GGUF"
    version: int = 3
    tensor_count: int | None = None
    key_count: int | None = None
    alignment: int = 32
    boundaries: list[int] = field(default_factory=list)

    def __bytes__(self) -> bytes:
        self._out = bytearray()
        self._put(self.magic)
        self._number("I", self.version)
        self._number("Q", len(self.tensors) if self.tensor_count is None else self.tensor_count)
        self._number("Q", len(self.metadata) if self.key_count is None else self.key_count)
        for key, kind, value in self.metadata:
            self._string(key)
            self._number("I", kind)
            self._value(kind, value)
        data = bytearray()
        for info in self.tensors:
            self._string(info.name)
            self._number("I", len(info.dims) if info.rank is None else info.rank)
            for dim in reversed(info.dims):
                self._number("Q", dim)
            self._number("I", info.kind)
            data += bytes(-len(data) % self.alignment)
            self._number("Q", len(data) if info.offset is None else info.offset)
            data += info.data
        self._put(bytes(-len(self._out) % self.alignment))
        self._put(bytes(data))
        return bytes(self._out)

    def _put(self, data: bytes) -> None:
        self.boundaries.append(len(self._out))
        self._out += data

    def _number(self, code: str, value: float) -> None:
        self._put(struct.pack(f"<{code}", value))

    def _string(self, text: str | bytes) -> None:
        data = text.encode() if isinstance(text, str) else text
        self._number("Q", len(data))
        self._put(data)

    def _value(self, kind: int, value: Any) -> None:
        if isinstance(value, bytes) and kind != STRING:
            self._put(value)  # as it is
        elif kind == STRING:
            self._string(value)
        elif kind == ARRAY:
            inner, items = value
            self._number("I", inner)
            self._number("Q", len(items))
            for item in items:
                self._value(inner, item)
        else:
            self._number(CODES[kind], value)


def model(extra: Iterable[tuple[str | bytes, int, Any]] = (), **changes: Any) -> Gguf:
    """A small file with one of everything; changes replace fields of Gguf."""
    metadata = [
        ("general.architecture", STRING, "llama"),
        ("llama.block_count", U32, 2),
        ("llama.rope.freq_base", F32, 1e5),
        ("tokenizer.ggml.add_bos_token", BOOL, 0),
        ("tokenizer.ggml.tokens", ARRAY, (STRING, ["<s>", "Ġthe", "…"])),
        ("tokenizer.ggml.token_type", ARRAY, (5, [3, 1, 1])),
        *extra,
    ]
    rng = np.random.default_rng(1)
    tensors = [
        Info("norm.weight", (32,), 0, rng.normal(size=32).astype(np.float32).tobytes()),
        Info("ffn.weight", (3, 64), 2, (np.arange(3 * 2 * 18) % 60).astype(np.uint8).tobytes()),
        Info("embd.weight", (2, 5), 1, rng.normal(size=10).astype(np.float16).tobytes()),
    ]
    return Gguf(**{"metadata": metadata, "tensors": tensors, **changes})


@pytest.fixture
def small() -> Callable[..., Gguf]:
    """`model`: a small file, to be changed and turned into bytes."""
    return model


@pytest.fixture
def info() -> type[Info]:
    return Info
