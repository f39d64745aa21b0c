"""Files, divisions and sources for the tests of streaming: sources that are slow, fail, or wait for a sign."""

from __future__ import annotations

import errno
import os
import random
import threading
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgert.errors import FormatError
from edgert.format.parts import FilePart
from edgert.stream.source import DirectSource
from edgert.stream.stages import PAGE, Division, Extent, Placed, Stage

KB = 1 << 10


def parts_of(file: Path, sizes: Sequence[int], *, first: int = 192) -> tuple[list[FilePart], bytes]:
    """Parts of random bytes, one after the other at multiples of 64, and what the file then holds."""
    rng = np.random.default_rng(len(sizes))
    content = bytearray(first)
    parts = []
    for index, size in enumerate(sizes):
        data = rng.integers(0, 256, size, np.uint8).tobytes()
        parts.append(FilePart(file, len(content), size, zlib.crc32(data), f"t{index}", "data"))
        content += data + bytes(-size % 64)
    return parts, bytes(content)


def stage_of(index: int, parts: Sequence[FilePart], place: int) -> Stage:
    """A stage in which each part has an extent of its own."""
    extents, placed, at = [], [], place
    for part in parts:
        start, end = part.offset // PAGE * PAGE, -(-(part.offset + part.nbytes) // PAGE) * PAGE
        extents.append(Extent(start, end, at))
        placed.append(Placed(part, at + part.offset - start))
        at += end - start
    return Stage(index, tuple(extents), tuple(placed), place, at - place)


def division_of(home: Sequence[FilePart], groups: Sequence[Sequence[FilePart]], ring: int) -> Division:
    """`groups` around a ring of `ring` bytes, each behind the one before it where there is room."""
    stages, at = [], PAGE
    for index, group in enumerate(groups):
        stage = stage_of(index, group, at)
        if stage.end + PAGE > ring:
            stage = stage_of(index, group, PAGE)
        stages.append(stage)
        at = stage.end
    return Division(stage_of(-1, home, PAGE), tuple(stages), ring)


@dataclass
class Checks:
    """A checker that compares checksums, and notes what it was asked."""

    seen: list[tuple[str, bool]] = field(default_factory=list)

    def __call__(self, arrived: Mapping[FilePart, npt.NDArray[Any]], crc: bool) -> None:
        for part, content in arrived.items():
            self.seen.append((part.tensor, crc))
            if crc and zlib.crc32(content) != part.crc32:
                raise FormatError(part.file, part.offset, f"CRC-32 of {part.tensor!r}", "another one")


class Sign:
    """Up or down. Not a threading.Event, which stays locked for ever if an interrupt cuts its Python code in two."""

    def __init__(self, *, up: bool = False) -> None:
        self._up = up

    def set(self) -> None:
        self._up = True

    def clear(self) -> None:
        self._up = False

    def wait(self) -> None:
        """Returns once it is up."""
        while not self._up:
            time.sleep(0.001)


class Trouble:
    """A source around another: slow, failing or stopped, as told."""

    def __init__(self, inner: DirectSource) -> None:
        self._inner = inner
        self.file, self.size, self.how = inner.file, inner.size, inner.how
        self.delay: Callable[[], float] = lambda: 0.0
        self.fails: Callable[[int], bool] = lambda offset: False
        self.open = Sign(up=True)
        self.reads: list[tuple[int, int]] = []
        self.closed = 0

    def read_into(self, view: memoryview, offset: int) -> int:
        self.reads.append((offset, len(view)))
        self.open.wait()
        if seconds := self.delay():
            time.sleep(seconds)
        if self.fails(offset):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return self._inner.read_into(view, offset)

    def stamp(self) -> tuple[int, int]:
        return self._inner.stamp()

    def close(self) -> None:
        self.closed += 1
        self._inner.close()


@dataclass
class Streamed:
    """A file of six tensors of 100 to 130 KB, of which the first stays and the others go around a ring for two."""

    path: Path
    parts: list[FilePart]
    content: bytes
    division: Division

    def source(self, *, direct: bool = True) -> Trouble:
        return Trouble(DirectSource(self.path, direct=direct))

    def bytes_of(self, part: FilePart) -> bytes:
        return self.content[part.offset : part.offset + part.nbytes]

    def streamed(self, stage: int) -> list[FilePart]:
        return [placed.part for placed in self.division.stages[stage].parts]


def readers() -> int:
    """Reader threads that live."""
    return sum(thread.name.startswith("edgert-reader") for thread in threading.enumerate())


def open_files() -> int:
    """Descriptors of this process; 0 where the system does not tell."""
    folder = Path("/proc/self/fd")
    return len(list(folder.iterdir())) if folder.is_dir() else 0


def jitter(seed: int, most: float) -> Callable[[], float]:
    """Random delays, mostly none."""
    rng = random.Random(seed)
    return lambda: rng.random() * most if rng.random() < 0.3 else 0.0
