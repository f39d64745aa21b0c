"""Reading past the page cache: the bytes, the end of the file, and what happens where it cannot be done."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from edgert.errors import FormatError, MemoryBudgetError, StorageError
from edgert.stream.memory import HUGE, Memory
from edgert.stream.source import DirectSource
from edgert.stream.stages import PAGE


@pytest.fixture(params=[True, False], ids=["direct", "buffered"])
def direct(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.mark.parametrize("nbytes", [3 * PAGE, 2 * PAGE + 1, 3 * PAGE - 1, 5])
def test_bytes_and_the_end_of_the_file(tmp_path: Path, direct: bool, nbytes: int) -> None:
    content = os.urandom(nbytes)
    (tmp_path / "file").write_bytes(content)
    source = DirectSource(tmp_path / "file", direct=direct)
    assert source.size == nbytes
    assert source.how in ("O_DIRECT", "buffered")
    if not direct:
        assert source.how == "buffered"
    memory = Memory(4 * PAGE)
    assert source.read_into(memory.view, 0) == nbytes
    assert bytes(memory.view[:nbytes]) == content
    assert source.read_into(memory.view[: 2 * PAGE], PAGE) == min(max(0, nbytes - PAGE), 2 * PAGE)
    assert source.read_into(memory.view, 4 * PAGE) == 0
    source.close()
    source.close()


def test_file_systems_that_refuse_are_read_through_the_page_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_bytes(b"x" * PAGE)
    opened: list[int] = []
    really = os.preadv

    def refuse(descriptor: int, buffers: list[memoryview], offset: int) -> int:
        opened.append(descriptor)
        if len(opened) == 1:
            raise OSError(22, "Invalid argument")
        return really(descriptor, buffers, offset)

    monkeypatch.setattr(os, "preadv", refuse)
    source = DirectSource(tmp_path / "file")
    assert source.how == "buffered"
    memory = Memory(PAGE)
    assert source.read_into(memory.view, 0) == PAGE
    assert bytes(memory.view) == b"x" * PAGE
    source.close()


def test_stamp_tells_a_change(tmp_path: Path, direct: bool) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x" * PAGE)
    source = DirectSource(path, direct=direct)
    before = source.stamp()
    assert source.stamp() == before
    os.utime(path, ns=(0, 1))
    assert source.stamp() != before
    path.write_bytes(b"y")
    assert source.stamp()[0] == 1
    source.close()


def test_what_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="no such file"):
        DirectSource(tmp_path / "none")
    with pytest.raises(StorageError, match="not a regular file"):
        DirectSource(tmp_path)
    path = tmp_path / "secret"
    path.write_bytes(b"x")
    path.chmod(0)
    if os.geteuid():
        with pytest.raises(StorageError, match="Permission denied"):
            DirectSource(path)


def test_memory_begins_on_a_page_and_goes_with_its_last_view() -> None:
    memory = Memory(3 * PAGE)
    assert memory.address % PAGE == 0
    assert not any(memory.view)
    array = memory.array(PAGE, 10)
    assert array.ctypes.data == memory.address + PAGE
    assert not array.flags.writeable
    memory.view[PAGE] = 7
    memory.close()
    assert array[0] == 7
    assert Memory(0).address == 0
    assert Memory(HUGE + PAGE).address % PAGE == 0
    with pytest.raises(MemoryBudgetError, match="the system has no"):
        Memory(1 << 62)
