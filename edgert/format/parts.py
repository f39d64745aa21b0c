"""The parts of a stored tensor that know their sizes before anyone takes them.

Those of a file are in `reader.py`; here are the ones that are made when they are first asked for.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from edgert.format.encodings import PartSpec
from edgert.graph.ir import Array


@dataclass(frozen=True)
class FilePart:
    """Where a part lies: `nbytes` bytes from `offset` of `file`, whose CRC-32 the header promises. tensor, role: whose
    part it is."""

    file: Path
    offset: int
    nbytes: int
    crc32: int
    tensor: str
    role: str


class Parts(Mapping[str, Array]):
    """role -> array. `specs`: what the parts are, in file order, all sizes known."""

    specs: tuple[PartSpec, ...]

    @abstractmethod
    def __getitem__(self, role: str) -> Array: ...

    def place(self, role: str) -> FilePart | None:
        """Where the part lies in a file, known without reading it; None for parts that lie in none."""
        return None

    def alone(self, role: str) -> Array:
        """A part for what it says by itself, such as scales: not fit to be read with the others."""
        return self[role]

    def check_arrived(self, arrived: Mapping[str, Array], *, crc: bool) -> None:
        """Raises FormatError unless `arrived`, role -> uint8 bytes that were read from their places, are what taking
        the parts would have given. crc: whether checksums are compared too; what kernels trust always is."""
        raise TypeError("parts that lie in no file cannot arrive from one")

    def drop_pages(self) -> bool:
        """Gives back the memory of all that was read of the file, by these and other parts; whether there is one."""
        return False

    def __iter__(self) -> Iterator[str]:
        return (spec.role for spec in self.specs)

    def __len__(self) -> int:
        return len(self.specs)

    def __contains__(self, role: object) -> bool:
        """Without taking the part."""
        return any(spec.role == role for spec in self.specs)


class LazyParts(Parts):
    """Parts that `make` makes, all at once, when one is first taken."""

    def __init__(self, specs: tuple[PartSpec, ...], make: Callable[[], Mapping[str, Array]]) -> None:
        self.specs, self._make = specs, make
        self._made: Mapping[str, Array] | None = None

    def __getitem__(self, role: str) -> Array:
        if self._made is None:
            self._made = self._make()
        return self._made[role]


class Apart(Parts):
    """The same parts, each taken `alone`: for reading a small one without its large siblings."""

    def __init__(self, parts: Parts) -> None:
        self.specs, self._parts = parts.specs, parts

    def __getitem__(self, role: str) -> Array:
        return self._parts.alone(role)

    def place(self, role: str) -> FilePart | None:
        return self._parts.place(role)

    def check_arrived(self, arrived: Mapping[str, Array], *, crc: bool) -> None:
        self._parts.check_arrived(arrived, crc=crc)
