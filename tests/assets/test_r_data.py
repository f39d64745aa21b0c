"""Character vectors come out of an R database, and damage of any byte is one error."""

from __future__ import annotations

import gzip
import struct
import zlib
from pathlib import Path

import pytest

from edgert.assets.r_data import read_strings
from edgert.assets.registry import AssetError

TEXTS = {"emma": ["EMMA", "", "By Jane Austen"], "persuasion": ["Captain Wentworth’s letter"]}
NIL = b"\0\0\0\xfe"


def integer(value: int) -> bytes:
    return struct.pack(">i", value)


def chars(text: str) -> bytes:
    data = text.encode()
    return integer(0x40009) + integer(len(data)) + data


def strings(lines: list[str]) -> bytes:
    return integer(16) + integer(len(lines)) + b"".join(map(chars, lines))


def integers(values: list[int]) -> bytes:
    return integer(13) + integer(len(values)) + b"".join(map(integer, values))


def named(values: dict[str, bytes], tag: bytes) -> bytes:
    content = integer(0x213) + integer(len(values)) + b"".join(values.values())
    return content + integer(0x402) + tag + strings(list(values)) + NIL


def serialized(content: bytes, version: int = 3) -> bytes:
    head = b"X\n" + integer(version) + integer(0x40201) + integer(0x30500)
    return head + (integer(5) + b"UTF-8" if version == 3 else b"") + content


@pytest.fixture(params=[2, 3])
def files(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, Path]:
    """(index, database) of TEXTS, in either version of the serialization."""
    database, places = b"", {}
    for name, lines in TEXTS.items():
        content = serialized(strings(lines), request.param)
        chunk = integer(len(content)) + zlib.compress(content)
        places[name] = integers([len(database), len(chunk)])
        database += chunk
    name_symbol, reference = integer(1) + chars("names"), integer(0x1FF)
    variables = named(places, name_symbol)
    contents = named({"variables": variables, "compressed": integers([1])}, reference)
    index = tmp_path / "Rdata.rdx"
    index.write_bytes(gzip.compress(serialized(contents, request.param)))
    (tmp_path / "Rdata.rdb").write_bytes(database)
    return index, tmp_path / "Rdata.rdb"


def test_texts(files: tuple[Path, Path]) -> None:
    assert read_strings(*files) == TEXTS


@pytest.mark.parametrize("which", [0, 1])
def test_every_truncation_and_flipped_byte(files: tuple[Path, Path], which: int) -> None:
    data = files[which].read_bytes()
    damaged = [data[:end] for end in range(len(data))]
    damaged += [data[:at] + bytes([data[at] ^ 0x55]) + data[at + 1 :] for at in range(len(data))]
    for content in damaged:
        files[which].write_bytes(content)
        try:
            read_strings(*files)
        except AssetError as error:
            assert "expected character vectors" in str(error)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (serialized(integers([1])), "no character vector"),
        (serialized(integer(14) + integer(1) + bytes(8)), "type 14"),
        (serialized(integer(16) + integer(2**31 - 1)), "2147483647 values"),
        (serialized(integer(16) + integer(1) + integer(9) + integer(-1)), "-1 values"),
        (serialized((integer(19) + integer(1)) * 40 + NIL), "too deep"),
        (serialized(strings(["x"]), 4), "version 4"),
    ],
    ids=["numbers", "doubles", "huge", "missing", "deep", "version"],
)
def test_anything_else_is_refused(files: tuple[Path, Path], content: bytes, message: str) -> None:
    index, database = files
    chunk = integer(len(content)) + zlib.compress(content)
    places = named({"x": integers([0, len(chunk)])}, integer(1) + chars("names"))
    index.write_bytes(gzip.compress(serialized(named({"variables": places}, integer(0x1FF)))))
    database.write_bytes(chunk)
    with pytest.raises(AssetError, match=message):
        read_strings(index, database)
