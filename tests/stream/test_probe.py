"""Storage as it is measured: on a source of known speed the rates are its own; what is kept comes back; what is not
known is assumed, and says so."""

from __future__ import annotations

import gc
import threading
import time
from pathlib import Path

import pytest

from edgert.errors import StorageError
from edgert.stream import probe
from edgert.stream.probe import ASSUMED, BLOCKS, DEPTHS, Storage, load_storage, measure, store_storage

MB = 1 << 20
DISK = Storage({(b, d): b / (1e-4 + b / 1e9) for b in BLOCKS for d in DEPTHS}, "measured", where="a disk")
"""0.1 ms for asking, then 1 GB/s."""


class Slow:
    """A source where each read takes `seconds`, as many at a time as one likes."""

    how, file = "slow", Path("slow")

    def __init__(self, size: int, seconds: float) -> None:
        self.size, self._seconds = size, seconds
        self.asked: list[tuple[int, int]] = []
        self._lock, self._now, self.most_at_once = threading.Lock(), 0, 0

    def read_into(self, view: memoryview, offset: int) -> int:
        with self._lock:
            self.asked.append((len(view), offset))
            self._now += 1
            self.most_at_once = max(self.most_at_once, self._now)
        time.sleep(self._seconds)
        with self._lock:
            self._now -= 1
        return len(view)

    def stamp(self) -> tuple[int, int]:
        return self.size, 0

    def close(self) -> None:
        pass


def test_whole_aligned_reads_inside_the_file() -> None:
    source = Slow(3 * MB + 100, 1e-3)
    rates = measure(source, blocks=(4096, MB, 4 * MB), depths=(1, 4), seconds=0.02, rounds=1)
    assert set(rates) == {(4096, 1), (4096, 4), (MB, 1), (MB, 4)}  # 4 MB are more than there is
    assert all(offset % nbytes == 0 and offset + nbytes <= source.size for nbytes, offset in source.asked)
    assert len({offset for nbytes, offset in source.asked if nbytes == 4096}) > 1
    assert 2 <= source.most_at_once <= 4


def test_rates_are_bytes_over_time() -> None:
    rates = measure(Slow(8 * MB, 2e-3), blocks=(64 << 10,), depths=(1,), seconds=0.02, rounds=1)
    assert 0 < rates[64 << 10, 1] <= (64 << 10) / 2e-3


def test_in_order() -> None:
    source = Slow(4 * MB, 0)
    measure(source, blocks=(MB,), depths=(1,), seconds=0.001, rounds=1, in_order=True)
    assert [offset for _, offset in source.asked[:5]] == [0, MB, 2 * MB, 3 * MB, 0][: len(source.asked)]


def test_buffers_stay_small() -> None:
    source = Slow(64 * MB, 0)
    rates = measure(source, seconds=0.0, rounds=1)
    assert max(block * depth for block, depth in rates) <= probe.MOST_BYTES
    assert max(block for block, _ in rates) == BLOCKS[-1]


def test_what_a_read_raises_comes_out() -> None:
    class Broken(Slow):
        def read_into(self, view: memoryview, offset: int) -> int:
            raise OSError(5, "Input/output error")

    gc.collect()  # what earlier tests forgot
    before = threading.active_count()
    with pytest.raises(OSError, match="Input/output"):
        measure(Broken(MB, 0), blocks=(4096,), depths=(4,), seconds=0.001, rounds=1)
    assert threading.active_count() == before


def test_between_measured_sizes_time_is_a_line() -> None:
    for nbytes in (4096, 5000, 1 << 20, 3_000_000):
        assert DISK.bandwidth(nbytes, 3) == pytest.approx(nbytes / (1e-4 + nbytes / 1e9), rel=1e-9)
    assert DISK.bandwidth(64 * MB, 100) == DISK.rates[4 * MB, 8]  # nothing is faster than what was measured
    assert DISK.bandwidth(512, 1) == pytest.approx(DISK.rates[4096, 1] / 8)  # a page is read all the same
    assert DISK.most == DISK.rates[4 * MB, DISK.best[1]]


def test_deeper_is_between_depths() -> None:
    storage = Storage({(4096, 1): 10.0, (4096, 4): 40.0}, "measured")
    assert [storage.bandwidth(4096, depth) for depth in (1, 2, 4, 9)] == [10.0, 20.0, 40.0, 40.0]


def test_smallest_read_worth_while() -> None:
    """At half of the best rate: asking and reading take the same time, but for what the best still spends on asking."""
    least = DISK.worth_while(2)
    assert least % 4096 == 0
    half = DISK.rates[4 * MB, 2] / 2
    assert DISK.bandwidth(least, 2) >= half > DISK.bandwidth(least - 4096, 2)
    assert 80_000 < least < 110_000


def test_kept_for_the_file_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGERT_CACHE", str(tmp_path / "cache"))
    assert load_storage(tmp_path) is ASSUMED
    assert ASSUMED.source == "assumed"
    kept = store_storage(tmp_path, DISK)
    assert kept is not None
    assert load_storage(tmp_path) == DISK
    (tmp_path / "file").write_bytes(b"1")
    assert load_storage(tmp_path / "file") == DISK
    for damage in (
        "",
        "{}",
        '{"where": "", "how": "", "rates": [[4096, 1, -5]]}',
        '{"where": "", "how": "", "rates": 5}',
    ):
        kept.write_text(damage)
        assert load_storage(tmp_path) is ASSUMED


def test_a_cache_that_cannot_be_written_is_no_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_bytes(b"1")
    monkeypatch.setenv("EDGERT_CACHE", str(tmp_path / "file"))
    assert store_storage(tmp_path, DISK) is None


def test_a_folder_is_measured_by_a_file_that_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGERT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(probe, "CELL_SECONDS", 0.0)
    monkeypatch.setattr(probe, "SCRATCH_BYTES", 8 << 20)
    found = probe.measure_storage(tmp_path)
    assert found.source == "measured"
    assert all(rate > 0 for rate in found.rates.values())
    assert " on " in found.where
    assert [path.name for path in tmp_path.iterdir()] == ["cache"]
    assert probe.ensure_storage(tmp_path) == load_storage(tmp_path) == found


def test_a_place_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="expected a file to read or a folder"):
        probe.measure_storage(tmp_path / "nothing" / "here")
