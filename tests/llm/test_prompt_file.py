"""Prompts on disk: they come back as they were, and damage bit by bit is one typed error."""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest

from edgert.errors import EdgertError, FormatError
from edgert.llm import prompt_file
from edgert.llm.decoder import CacheSlice
from edgert.llm.prompt_file import SavedPrompt, load_prompt, save_prompt

RNG = np.random.default_rng(0)
PROMPT = SavedPrompt(
    "ab" * 32,
    "int8",
    [5, 0, 99],
    [
        CacheSlice(f"past_key.{i}", "kvint8", (
            RNG.integers(-127, 128, (2, 1, 256)).astype(np.int8), RNG.standard_normal((2, 1, 16)).astype(np.float32),
        ))
        for i in range(2)
    ] + [CacheSlice("other", "kvf16", (RNG.standard_normal((2, 1, 32)).astype(np.float16)[:, :1],))],
)  # fmt: skip


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    save_prompt(tmp_path / "p.prompt", PROMPT)
    return tmp_path / "p.prompt"


def load(path: Path, model: str = PROMPT.model, kv: str = PROMPT.kv) -> SavedPrompt:
    return load_prompt(path, model, kv)


def test_round_trip(saved: Path) -> None:
    found = load(saved)
    assert (found.model, found.kv, found.tokens) == (PROMPT.model, PROMPT.kv, PROMPT.tokens)
    for left, right in zip(found.slices, PROMPT.slices, strict=True):
        assert (left.name, left.layout) == (right.name, right.layout)
        for a, b in zip(left.data, right.data, strict=True):
            assert a.dtype == b.dtype and np.array_equal(a, b)
    assert [path.name for path in saved.parent.iterdir()] == ["p.prompt"]


def test_another_model_or_cache(saved: Path) -> None:
    with pytest.raises(FormatError, match="one of another"):
        load(saved, model="00" * 32)
    with pytest.raises(FormatError, match="a cache of f16"):
        load(saved, kv="f16")


def test_every_damaged_byte_is_found(saved: Path) -> None:
    good = saved.read_bytes()
    for at in range(0, len(good), 3):
        saved.write_bytes(good[:at] + bytes([good[at] ^ 0x20]) + good[at + 1 :])
        with pytest.raises(FormatError, match=r"p\.prompt"):
            load(saved)
    for size in (0, 7, 8, 35, 36, 40, len(good) - 1):
        saved.write_bytes(good[:size])
        with pytest.raises(FormatError):
            load(saved)
    saved.write_bytes(good + b"\0")
    with pytest.raises(FormatError):
        load(saved)


HOSTILE = {
    "huge count": ('"tokens":3', '"tokens":9'),
    "negative": ('"tokens":3', '"tokens":-1'),
    "wrapped product": ("[2,1,256]", "[4294967296,4294967296,1]"),
    "huge shape": ("[2,1,256]", "[35184372088832,35184372088832,9]"),
    "not an integer": ("[2,1,256]", "[2,true,256]"),
    "rank": ("[2,1,256]", "[2,1,256,1,1]"),
    "dtype": ('"float16"', '"object"'),
    "unknown key": ('"kv":', '"more":1,"kv":'),
    "no JSON": ('"kv":', "{"),
    "control characters": ("past_key.0", "past\\u001b.0"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_headers_that_lie(saved: Path, kind: str) -> None:
    """All checksums right, as an attacker writes them: sizes are compared before anything is allocated."""
    good = saved.read_bytes()
    (length,) = struct.unpack_from("<I", good, 12)
    old, new = HOSTILE[kind]
    header = good[36 : 36 + length].decode()
    assert old in header
    text = header.replace(old, new, 1).encode()
    data = good[36 + length :]
    start = prompt_file._FIELDS.pack(
        prompt_file.MAGIC, 1, len(text), 36 + len(text) + len(data), zlib.crc32(text), zlib.crc32(data)
    )
    saved.write_bytes(start + struct.pack("<I", zlib.crc32(start)) + text + data)
    with pytest.raises(FormatError):
        load(saved)


@pytest.mark.parametrize("kind", ["none", "folder", "fifo", "another file"])
def test_what_is_no_prompt(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "x"
    if kind == "folder":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "another file":
        path.write_bytes(b"GIF89a" * 20)
    with pytest.raises(FormatError):
        load(path)
    if kind in ("folder", "fifo"):
        with pytest.raises(EdgertError):
            save_prompt(path, PROMPT)
        assert path.exists() and not path.is_file()


def test_what_can_not_be_written_leaves_the_old_file(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    good = saved.read_bytes()

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(EdgertError, match="No space left"):
        save_prompt(saved, PROMPT)
    assert saved.read_bytes() == good
    assert len(list(saved.parent.iterdir())) == 1
    with pytest.raises(EdgertError, match="not written"):
        save_prompt(saved.parent / "none" / "p", PROMPT)
