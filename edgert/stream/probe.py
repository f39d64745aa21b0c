"""How fast storage gives bytes, by size of a read and number of reads at a time; measured once per file system.

What a plan makes of it is plan/stream_cost.py; the reads are those of source.py.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import os
import random
import time
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from tempfile import NamedTemporaryFile

from edgert.cache import cache_root
from edgert.errors import StorageError
from edgert.stream.memory import Memory
from edgert.stream.source import DirectSource, Source
from edgert.stream.stages import PAGE

BLOCKS = (4 << 10, 16 << 10, 64 << 10, 256 << 10, 1 << 20, 4 << 20)
DEPTHS = (1, 2, 4, 8)
MOST_BYTES = 16 << 20
"""Of all buffers at once. Deeper reads of large blocks gain nothing, and a board has little memory."""
CELL_SECONDS = 0.04
ROUNDS = 3
"""At different times, and their mean counts: storage gives now more, now less, and a run takes what comes."""
SCRATCH_BYTES = 64 << 20
"""Of the file that is written, and removed, to measure a folder."""

Rates = Mapping[tuple[int, int], float]
"""(bytes of a read, reads at a time) -> bytes per second."""
Places = Callable[[], int]
"""Where to read next; several threads ask."""


@dataclass(frozen=True)
class Storage:
    """What a file system was found to give.

    rates: bytes per second by bytes of a read and reads at a time. source: 'measured', or 'assumed' built-in values.
    how: 'O_DIRECT' or 'buffered'. where: the file system and its device, '' if assumed."""

    rates: Rates
    source: str
    how: str = "O_DIRECT"
    where: str = ""

    def bandwidth(self, nbytes: int, depth: int) -> float:
        """Bytes per second of reads of `nbytes`, `depth` of them at a time.

        Between measured sizes the time of a read is a straight line, between depths the rate is; outside of them
        a read takes as long as the smallest, or goes at the rate of the largest.
        """
        depths = sorted({d for _, d in self.rates})
        low, high, share = _between(depths, depth)
        slow, fast = self._at(nbytes, low), self._at(nbytes, high)
        return slow + share * (fast - slow)

    def _at(self, nbytes: int, depth: int) -> float:
        sizes = sorted(size for size, d in self.rates if d == depth)
        if nbytes >= sizes[-1]:
            return self.rates[sizes[-1], depth]
        low, high, share = _between(sizes, nbytes)
        begin, end = low / self.rates[low, depth], high / self.rates[high, depth]
        return max(nbytes, 1) / (begin + share * (end - begin))

    @property
    def best(self) -> tuple[int, int]:
        """(bytes of a read, reads at a time) that give most."""
        return max(self.rates, key=lambda cell: self.rates[cell])

    @property
    def most(self) -> float:
        """Bytes per second at best: no stream is faster."""
        return self.rates[self.best]

    def worth_while(self, depth: int) -> int:
        """The smallest read, in whole pages, at half of the best rate of that depth.

        Half of its time is the cost of asking. So two places nearer than this are better read as one, with what
        lies between, and scattered reads below it waste more than they save.
        """
        half = self.bandwidth(max(size for size, _ in self.rates), depth) / 2
        low, high = 1, max(size for size, _ in self.rates) // PAGE
        while low < high:
            middle = (low + high) // 2
            if self.bandwidth(middle * PAGE, depth) >= half:
                high = middle
            else:
                low = middle + 1
        return low * PAGE


def _between(steps: Sequence[int], value: int) -> tuple[int, int, float]:
    """The two of ascending `steps` around `value`, and how far it is from the first to the second."""
    after = bisect_left(steps, value)
    if after == len(steps):
        return steps[-1], steps[-1], 0.0
    if after == 0:
        return steps[0], steps[0], 0.0
    low, high = steps[after - 1], steps[after]
    return low, high, (value - low) / (high - low)


def _assumed() -> Storage:
    """One read: 0.15 ms and 200 MB/s; two and more at a time: 0.1 ms and 250 MB/s."""
    waits = {1: (1.5e-4, 2.0e8), 2: (1e-4, 2.5e8), 4: (1e-4, 2.5e8), 8: (1e-4, 2.5e8)}
    return Storage({(b, d): b / (wait + b / rate) for b in BLOCKS for d, (wait, rate) in waits.items()}, "assumed")


ASSUMED = _assumed()
"""A good eMMC module, until the storage has been measured: phones have 3 to 10 times as much, an SD card a third."""


def measure(
    source: Source, *, blocks: Sequence[int] = BLOCKS, depths: Sequence[int] = DEPTHS,
    seconds: float = CELL_SECONDS, rounds: int = ROUNDS, in_order: bool = False,
) -> dict[tuple[int, int], float]:  # fmt: skip
    """Bytes per second of whole reads at random places, or `in_order` one behind the other, of a source of at least
    one page.

    Blocks larger than the source, and buffers of more than MOST_BYTES, are left out. Raises what the source raises.
    """
    cells = [
        (block, depth) for block in blocks for depth in depths
        if block <= max(source.size, PAGE) and (block * depth <= MOST_BYTES or depth == 1)
    ]  # fmt: skip
    done, spent = dict.fromkeys(cells, 0), dict.fromkeys(cells, 0.0)
    memory = Memory(max(block * depth for block, depth in cells))  # as streamed weights have it
    for turn in range(rounds):
        for block, depth in cells:
            with ThreadPoolExecutor(depth) as pool:
                places = _in_order(source.size, block) if in_order else _anywhere(source.size, block, turn)
                start = time.perf_counter()
                jobs = [
                    pool.submit(_read, source, memory.view[i * block : (i + 1) * block], places, start + seconds)
                    for i in range(depth)
                ]
                done[block, depth] += sum(job.result() for job in jobs)
                spent[block, depth] += time.perf_counter() - start
    return {cell: done[cell] / spent[cell] for cell in cells}


def _anywhere(size: int, block: int, seed: int) -> Places:
    """Random whole blocks."""
    draw, count = random.Random(seed), max(size // block, 1)
    return lambda: draw.randrange(count) * block


def _in_order(size: int, block: int) -> Places:
    """One block behind the other, and again from the first."""
    turns, count = itertools.count(), max(size // block, 1)
    return lambda: next(turns) % count * block


def _read(source: Source, part: memoryview, places: Places, until: float) -> int:
    """Reads until the time has come, once at least: the bytes that came."""
    done = 0
    while True:
        done += source.read_into(part, places())
        if time.perf_counter() >= until:
            return done


def measure_storage(path: str | os.PathLike[str]) -> Storage:
    """Measures the file system that `path` is on and keeps the result.

    A file is read itself; in a folder, or for a file of less than the largest block, a file of SCRATCH_BYTES is
    written and removed. Takes about three seconds. Raises StorageError where neither can be.
    """
    place = Path(path)
    try:
        if place.is_file() and place.stat().st_size >= BLOCKS[-1]:
            storage = _measured(place, place)
        else:
            folder = place if place.is_dir() else place.parent
            with NamedTemporaryFile(dir=folder, prefix=".edgert-probe-", buffering=0) as scratch:
                piece = os.urandom(BLOCKS[-1])
                for _ in range(SCRATCH_BYTES // len(piece)):
                    scratch.write(piece)
                os.fsync(scratch.fileno())
                storage = _measured(Path(scratch.name), folder)
    except OSError as error:
        raise StorageError(
            f"{place}: expected a file to read or a folder to write to, found {error.strerror or error}; "
            "give a model file or a folder with 64 MB free"
        ) from error
    store_storage(place, storage)
    return storage


def _measured(file: Path, place: Path) -> Storage:
    with closing(DirectSource(file)) as source:
        return Storage(measure(source), "measured", source.how, file_system(place))


def file_system(path: str | os.PathLike[str]) -> str:
    """'ext4 on /dev/vda': the file system `path` is on, and its device, as the system names them."""
    place = os.path.realpath(path)
    found = "", f"device {Path(place).stat().st_dev}"
    try:
        lines = Path("/proc/self/mountinfo").read_text(errors="replace").splitlines()
    except OSError:
        lines = []
    for line in lines:
        head, _, tail = line.partition(" - ")
        point = head.split(" ")[4].encode().decode("unicode_escape")
        if os.path.commonpath([point, place]) == point and len(point) >= len(found[0]):
            kind, device = tail.split(" ")[:2]
            found = point, f"{kind} on {device}"
    return found[1]


def storage_path(path: str | os.PathLike[str]) -> Path:
    """Where the rates of the file system that `path` is on are kept. Raises OSError if `path` is not there."""
    size = os.statvfs(path) if hasattr(os, "statvfs") else None
    # Its size tells one card from another in the same slot.
    name = f"{file_system(path)}\0{size.f_blocks * size.f_frsize if size else 0}"
    return cache_root() / "storage" / f"{hashlib.sha256(name.encode()).hexdigest()[:16]}.json"


def load_storage(path: str | os.PathLike[str]) -> Storage:
    """What was measured for the file system that `path` is on, else the built-in values (source 'assumed')."""
    try:
        stored = json.loads(storage_path(path).read_text())
        rates = {(int(block), int(depth)): float(rate) for block, depth, rate in stored["rates"]}
        found = Storage(rates, "measured", str(stored["how"]), str(stored["where"]))
    except (OSError, ValueError, KeyError, TypeError):
        return ASSUMED
    whole = rates and all(math.isfinite(rate) and rate > 0 for rate in rates.values())
    return found if whole and all(block > 0 and depth > 0 for block, depth in rates) else ASSUMED


def store_storage(path: str | os.PathLike[str], storage: Storage) -> Path | None:
    """Keeps `storage` for the file system of `path`, whole or not at all; None where the cache cannot be written."""
    target = storage_path(path)
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    rates = [[block, depth, rate] for (block, depth), rate in storage.rates.items()]
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(json.dumps({"where": storage.where, "how": storage.how, "rates": rates}, indent=1))
        temporary.replace(target)
    except OSError:
        return None
    return target


def ensure_storage(path: str | os.PathLike[str]) -> Storage:
    """What is known of the file system that `path` is on; measured now if nothing is."""
    known = load_storage(path)
    return known if known.source == "measured" else measure_storage(path)
