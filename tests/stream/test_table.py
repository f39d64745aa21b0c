"""Rows of a table from the file: what was asked for, and nothing that is damaged or not there."""

from __future__ import annotations

import os
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgert.errors import FormatError, StorageError
from edgert.format.parts import FilePart
from edgert.stream.table import PIECE, Table


@pytest.fixture
def part(tmp_path: Path) -> FilePart:
    content = np.random.default_rng(0).integers(0, 256, 2 * PIECE + 12_345, np.uint8).tobytes()
    path = tmp_path / "table.bin"
    path.write_bytes(content)
    start = 4321
    return FilePart(path, start, len(content) - start, zlib.crc32(content[start:]), "embedding", "data")


def test_rows_are_what_the_file_has(part: FilePart) -> None:
    table = Table(part)
    content = part.file.read_bytes()[part.offset :]
    offsets = [0, 70_000, 64, part.nbytes - 300]
    rows = [bytearray(300) for _ in offsets]
    part.file.unlink()
    table.read([memoryview(row) for row in rows], offsets)
    assert [bytes(row) for row in rows] == [content[at : at + 300] for at in offsets]
    table.close()
    table.close()


def test_damage_is_found_before_the_first_row(part: FilePart) -> None:
    wrong = replace(part, crc32=part.crc32 ^ 1)
    with pytest.raises(FormatError, match="CRC-32") as caught:
        Table(wrong)
    assert caught.value.offset == part.offset
    Table(wrong, check=False).close()


def test_what_cannot_be_read(part: FilePart, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="No such file"):
        Table(replace(part, file=tmp_path / "other"))
    table = Table(part)
    os.truncate(part.file, part.offset + 1000)
    with pytest.raises(FormatError, match="embedding"):
        table.read([memoryview(bytearray(300))], [900])
    table.close()
    with pytest.raises(StorageError):
        table.read([memoryview(bytearray(300))], [0])
