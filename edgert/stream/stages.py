"""What is read from a file, and where it lies: stages of a run in a ring, and what stays in memory of its own.

Plain data. Which parts stay is decided in edgert/plan/residency.py; reading them is store.py.
"""

from __future__ import annotations

from dataclasses import dataclass

from edgert.format.parts import FilePart

PAGE = 4096
"""Direct reads start and end at multiples of this in the file, and go to multiples of it in memory."""


@dataclass(frozen=True)
class Extent:
    """Bytes start .. end of the file, multiples of PAGE, that are read to offset `at` of a memory. The file may end
    before `end`."""

    start: int
    end: int
    at: int

    @property
    def nbytes(self) -> int:
        return self.end - self.start


@dataclass(frozen=True)
class Placed:
    """A part that lies at offset `at` of a memory."""

    part: FilePart
    at: int


@dataclass(frozen=True)
class Stage:
    """What is read, and given free again, together. `place`: its first byte in its memory, a multiple of PAGE; nbytes:
    what it takes there, which is what is read. All parts of a tensor are in one stage."""

    index: int
    extents: tuple[Extent, ...]
    parts: tuple[Placed, ...]
    place: int
    nbytes: int

    @property
    def end(self) -> int:
        return self.place + self.nbytes


@dataclass(frozen=True)
class Division:
    """home: what stays, as one stage in a memory of resident_bytes. stages: what is read in every run, in order, each
    at its place in a ring of `ring` bytes. Both memories have PAGE bytes of nothing before the first place and behind
    the last, as kernels read a little around what they use."""

    home: Stage
    stages: tuple[Stage, ...]
    ring: int

    @property
    def resident(self) -> tuple[FilePart, ...]:
        return tuple(placed.part for placed in self.home.parts)

    @property
    def resident_bytes(self) -> int:
        """Of the memory for what stays."""
        return self.home.nbytes + 2 * PAGE if self.home.parts else 0

    @property
    def streamed_bytes(self) -> int:
        """Read from the file in a run that uses everything."""
        return sum(stage.nbytes for stage in self.stages)

    @property
    def held(self) -> int:
        """Bytes of both memories."""
        return self.resident_bytes + self.ring
