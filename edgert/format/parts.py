"""The parts of a stored tensor that know their sizes before anyone takes them.

Those of a file are in `reader.py`; here are the ones that are made when they are first asked for.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping

from edgert.format.encodings import PartSpec
from edgert.graph.ir import Array


class Parts(Mapping[str, Array]):
    """role -> array. `specs`: what the parts are, in file order, all sizes known."""

    specs: tuple[PartSpec, ...]

    @abstractmethod
    def __getitem__(self, role: str) -> Array: ...

    def __iter__(self) -> Iterator[str]:
        return (spec.role for spec in self.specs)

    def __len__(self) -> int:
        return len(self.specs)


class LazyParts(Parts):
    """Parts that `make` makes, all at once, when one is first taken."""

    def __init__(self, specs: tuple[PartSpec, ...], make: Callable[[], Mapping[str, Array]]) -> None:
        self.specs, self._make = specs, make
        self._made: Mapping[str, Array] | None = None

    def __getitem__(self, role: str) -> Array:
        if self._made is None:
            self._made = self._make()
        return self._made[role]
