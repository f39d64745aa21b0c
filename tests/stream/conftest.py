"""A file to stream, and the promise that every test in this folder keeps: nothing is left behind."""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgert.stream.stages import PAGE

sys.path.insert(0, str(Path(__file__).parent))

from streamed_files import KB, Streamed, division_of, open_files, parts_of, readers


@pytest.fixture
def streamed(tmp_path: Path) -> Streamed:
    path = tmp_path / "weights.bin"
    parts, content = parts_of(path, [100 * KB, 110 * KB, 120 * KB, 104 * KB, 130 * KB + 17, 100 * KB + 3])
    path.write_bytes(content)
    return Streamed(path, parts, content, division_of(parts[:1], [[part] for part in parts[1:]], 72 * PAGE))


@pytest.fixture(autouse=True)
def _nothing_left() -> Iterator[None]:
    """No test of streaming leaves a thread or an open file behind."""
    if readers():
        gc.collect()  # what earlier tests forgot
    before = open_files()
    yield
    deadline = time.monotonic() + 5
    while (readers() or open_files() > before) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert readers() == 0
    assert open_files() <= before
