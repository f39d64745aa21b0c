"""Damaged and hostile files: every truncation, every flipped bit, forged headers, claims without limit."""

from __future__ import annotations

import json
import os
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgert.errors import FormatError
from edgert.format import Model, read_model, write_model
from edgert.format.header import header_from
from edgert.format.limits import MAX_HEADER_BYTES, MAX_JSON_VALUES


def answer_or_error(path: Path) -> Model | None:
    """The model with everything taken, or None for a FormatError. Anything else escapes and fails."""
    try:
        model = read_model(path, verify="all")
        model.unpacked_graph()
        return model
    except FormatError as error:
        assert str(path) in str(error) and error.expected and error.found
        return None


def test_every_truncation_is_refused(small_file: Path, tmp_path: Path) -> None:
    content = small_file.read_bytes()
    path = tmp_path / "cut.edge"
    path.write_bytes(content)
    for size in range(len(content) - 1, -1, -1):
        os.truncate(path, size)
        assert answer_or_error(path) is None, size


def test_every_extension_is_refused(small_file: Path) -> None:
    content = small_file.read_bytes()
    for tail in (b"\0", b"x", bytes(64), bytes(4096), content):
        small_file.write_bytes(content + tail)
        assert answer_or_error(small_file) is None


def test_every_flipped_bit_is_noticed(small_file: Path) -> None:
    content = small_file.read_bytes()
    assert answer_or_error(small_file) is not None
    descriptor = os.open(small_file, os.O_WRONLY)
    tracemalloc.start()
    try:
        for place, byte in enumerate(content):
            for bit in range(8):
                os.pwrite(descriptor, bytes([byte ^ 1 << bit]), place)
                # Every byte of the file is under a CRC or must be zero, so none can go unnoticed.
                assert answer_or_error(small_file) is None, (place, bit)
            os.pwrite(descriptor, bytes([byte]), place)
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()
        os.close(descriptor)
    assert answer_or_error(small_file) is not None


def test_flipped_bits_of_a_language_model_are_noticed(language_file: Path) -> None:
    content = language_file.read_bytes()
    assert answer_or_error(language_file) is not None
    with language_file.open("r+b", buffering=0) as file:
        for place, byte in enumerate(content):
            os.pwrite(file.fileno(), bytes([byte ^ 1 << place % 8]), place)
            assert answer_or_error(language_file) is None, place
            os.pwrite(file.fileno(), bytes([byte]), place)
    for size in range(len(content) - 1, -1, -7):
        os.truncate(language_file, size)
        assert answer_or_error(language_file) is None, size


def test_flipped_header_bits_with_forged_checksums(small_file: Path, forge: Any) -> None:
    """What a CRC can not stop: a typed error, or a model that is valid."""
    text = json.dumps(forge.header, separators=(",", ":")).encode()
    valid = 0
    for place in range(len(text)):
        for bit in range(0, 8, 3):
            changed = bytearray(text)
            changed[place] ^= 1 << bit
            try:
                header_from(bytes(changed), len(forge.data), small_file)
                valid += 1
            except FormatError:
                pass
    assert 0 < valid < len(text) * 3


@pytest.mark.parametrize("which", ["small", "language"])
def test_flipped_data_bits_with_forged_checksums(which: str, request: pytest.FixtureRequest, forge: Any) -> None:
    """The values of a part may be anything its encoding allows; the rest is an error."""
    small_file = request.getfixturevalue(f"{which}_file")
    forge = type(forge).take_apart(small_file.read_bytes())
    for tensor in forge.header["tensors"]:
        for part in tensor["parts"]:
            before = bytes(forge.data[part["offset"] : part["offset"] + part["nbytes"]])
            for place in range(0, part["nbytes"], 3):
                forge.patch(tensor["name"], part["role"], place, bytes([before[place] ^ 0x80]))
                small_file.write_bytes(forge.bytes())
                answer_or_error(small_file)
            forge.patch(tensor["name"], part["role"], 0, before)
    small_file.write_bytes(forge.bytes())
    assert answer_or_error(small_file) is not None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
    | st.sampled_from(["x", "w", "past", "dense", "q8", "q4", "row", "n4k4", "n16k64", "block", "b1x4", "nm:1:2"])
    | st.sampled_from(["int8", "float32", "bool", -1, 2**63, 0, 1]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=8,
)  # fmt: skip


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of every value inside a JSON value."""
    items = list(value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ())
    return [p for key, inner in items for p in ((*path, key), *places(inner, (*path, key)))]


@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_fuzzed_headers(forge: Any, language_file: Path, sparse_file: Path, data: st.DataObject) -> None:
    files = (language_file.read_bytes(), sparse_file.read_bytes())
    forge = data.draw(st.sampled_from([forge, *map(type(forge).take_apart, files)]))
    header = json.loads(json.dumps(forge.header))
    for _ in range(data.draw(st.integers(1, 3))):
        *path, key = data.draw(st.sampled_from(places(header)))
        owner = header
        for step in path:
            owner = owner[step]
        if data.draw(st.booleans()):
            owner[key] = data.draw(JSON)
        elif isinstance(owner, dict):
            del owner[key]
        else:
            owner.insert(key, owner[key])
    try:
        header_from(json.dumps(header).encode(), len(forge.data), None)
    except FormatError as error:
        assert error.expected and error.found and len(str(error)) < 2000


@settings(max_examples=200, deadline=None)
@given(text=st.binary(max_size=64) | st.text(max_size=64).map(lambda s: s.encode("utf-8", "surrogatepass")))
def test_fuzzed_text(text: bytes) -> None:
    with pytest.raises(FormatError):
        header_from(text, 0, None)


def peak(action: Callable[[], Any]) -> int:
    """Bytes of Python memory that `action` takes at most."""
    tracemalloc.start()
    try:
        action()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_f35_claims_allocate_nothing(small_file: Path, forge: Any) -> None:
    claims = [
        {"header_length": MAX_HEADER_BYTES}, {"header_length": 2**64 - 1}, {"data_length": 2**64 - 64},
        {"file_length": 2**63}, {"data_offset": 2**64 - 64},
    ]  # fmt: skip
    for claim in claims:
        forge.prelude = claim
        small_file.write_bytes(forge.bytes())
        assert peak(lambda: answer_or_error(small_file)) < 1 << 20
    forge.prelude = {}
    for shape in ([2**40, 1], [2**40, 0], [0, 2**62], [2**62] * 8, [2**31, 2**31, 2**31]):
        forge.header["tensors"][0]["shape"] = shape
        small_file.write_bytes(forge.bytes())
        assert peak(lambda: answer_or_error(small_file)) < 1 << 20


@pytest.mark.parametrize(
    "bomb",
    [
        b"[" * (1 << 20), b'{"a":' * (1 << 20), b"[" + b"[]," * (1 << 20) + b"[]]", b"9" * (4 << 20),
        b"1e" + b"9" * (1 << 20), b'{"source":' + b"{}," * (MAX_JSON_VALUES // 2 + 1), b" " * (1 << 20),
        b'"' + b"a" * (1 << 20), b'{"report":' + b'{"a":' * 500 + b"1" + b"}" * 501,
    ],
    ids=["lists", "objects", "wide", "digits", "exponent", "values", "blank", "string", "deep"],
)  # fmt: skip
def test_f35_bombs_cost_a_small_multiple_of_the_header(bomb: bytes, small_file: Path, forge: Any) -> None:
    forge.header = bomb
    small_file.write_bytes(forge.bytes())
    assert peak(lambda: answer_or_error(small_file)) < 40 * len(bomb) + (4 << 20)
    assert answer_or_error(small_file) is None


def test_a_large_honest_file_is_not_copied(tmp_path: Path, model: Model) -> None:
    import numpy as np

    model.graph.constants["big"] = np.ones(4 << 20, np.float32)
    write_model(model, tmp_path / "big.edge")
    assert peak(lambda: read_model(tmp_path / "big.edge", verify="all")) < 1 << 20


def test_damage_in_one_part_is_found_when_it_is_taken(small_file: Path, forge: Any) -> None:
    forge.patch("w", "data", 0, b"\x55", fix_crc=False)
    small_file.write_bytes(forge.bytes())
    model = read_model(small_file)
    model.tensors["w"].parts["sum"]
    for _ in range(2):
        with pytest.raises(FormatError, match=r"'w' data") as caught:
            model.tensors["w"].dense()
    start = len(forge.bytes()) - len(forge.data) + forge.part("w", "data")["offset"]
    assert caught.value.offset == start
    assert zlib.crc32(small_file.read_bytes()[start : start + 24]) != forge.part("w", "data")["crc32"]
