"""What reading and checking streamed weights costs, without anything computed: GB/s, and seconds of a processor per GB.

    python -m bench.stream.checks [--file FILE] [--rounds 5]

A file of random bytes is streamed by the store of edgert/stream through a ring of 32 MB, in every form in turn: with
checksums never, once and always compared, through the page cache, with fewer and smaller reads, and with large pages.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import tempfile
import time
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bench.measure import machine, save
from edgert.format.parts import FilePart
from edgert.plan.residency import divide
from edgert.stream import memory
from edgert.stream.source import DirectSource
from edgert.stream.stages import PAGE, Division
from edgert.stream.store import WeightStore

PART = 2 << 20
BYTES = 512 << 20
RING = 32 << 20
OUT = Path("bench/results/stream-checks.json")
FORMS: dict[str, dict[str, Any]] = {
    "never": {"checks": "never"},
    "once": {"checks": "once"},
    "always": {"checks": "always"},
    "page cache": {"checks": "never", "direct": False},
    "1 reader": {"checks": "never", "readers": 1},
    "2 readers": {"checks": "never", "readers": 2},
    "8 readers": {"checks": "never", "readers": 8},
    "256 KB": {"checks": "never", "block": 256 << 10},
    "1 MB": {"checks": "never", "block": 1 << 20},
    "small pages": {"checks": "never", "large": False},
}
"""Direct reads of 4 MB by 4 readers into large pages, but for what the name says."""
LAPS = 3


def compare(arrived: Mapping[FilePart, Any], crc: bool) -> None:
    """Compares checksums as the model's reader does."""
    for part, content in arrived.items():
        if crc and zlib.crc32(content) != part.crc32:
            raise SystemExit(f"{part.file} changed while it was measured")


def measure(file: Path, division: Division, *, direct: bool = True, large: bool = True, **options: Any) -> list[float]:
    """GB per second, and processor seconds per GB, of LAPS runs that use every stage at once."""
    known, memory._HUGE_PAGES = memory._HUGE_PAGES, memory._HUGE_PAGES if large else None
    try:
        store = WeightStore(DirectSource(file, direct=direct), division, compare, **options)
    finally:
        memory._HUGE_PAGES = known
    before, start = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    for _ in range(LAPS):
        store.begin(range(len(division.stages)))
        for stage in range(len(division.stages)):
            store.acquire(stage)
            store.release(stage)
    seconds, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF)
    store.close()
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    gigabytes = LAPS * division.streamed_bytes / 1e9
    return [gigabytes / seconds, used / gigabytes]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures in turn, prints a table and saves the numbers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--file", type=Path, help="where to write the random bytes (default: a temporary file)")
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
        file = given.file or Path(folder) / "random"
        rng, parts = np.random.default_rng(0), []
        with file.open("wb") as stream:
            for index in range(BYTES // PART):
                data = rng.bytes(PART)
                stream.write(data)
                parts.append(FilePart(file, index * PART, PART, zlib.crc32(data), f"t{index}", "data"))
            stream.flush()
            os.fsync(stream.fileno())
            os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        division = divide(parts, RING + 2 * PAGE, ring=RING)
        results: dict[str, list[list[float]]] = {name: [] for name in FORMS}
        for _ in range(given.rounds):
            for name, options in FORMS.items():
                results[name].append(measure(file, division, **options))
    record: dict[str, Any] = {"machine": machine(), "bytes": BYTES, "ring": RING, "laps": LAPS, "forms": {}}
    print(f"{'':12}  GB/s: best  median   CPU s/GB: median")
    for name, runs in results.items():
        speed, used = zip(*runs, strict=True)
        record["forms"][name] = {"gb_per_s": [round(x, 4) for x in speed], "cpu_s_per_gb": [round(x, 4) for x in used]}
        print(f"{name:12}{max(speed):12.2f}{statistics.median(speed):8.2f}{statistics.median(used):19.3f}")
    save(OUT, record)


if __name__ == "__main__":
    main()
