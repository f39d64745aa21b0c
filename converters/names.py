"""Names that fit into a file, and names that nobody has yet.
Which names a file takes at all is in `edgert/format`."""

from __future__ import annotations

from collections.abc import Iterable

MAX_NAME = 160
"""Bytes of a name: a .edge file holds 255, of which scopes and suffixes take some. Fused layers have longer ones."""


def shortened(name: str) -> str:
    """`name` within MAX_NAME bytes: what is too long loses its middle."""
    raw, half = name.encode(), MAX_NAME // 2 - 2
    if len(raw) <= MAX_NAME:
        return name
    return f"{raw[:half].decode('utf-8', 'ignore')}...{raw[-half:].decode('utf-8', 'ignore')}"


class Names:
    """The names that are taken. A file may call all its tensors the same: the next number of each name is kept, so
    that a thousand of them do not take a million tries."""

    def __init__(self, taken: Iterable[str] = ()) -> None:
        self._taken = set(taken)
        self._last: dict[str, int] = {}

    def fresh(self, name: str) -> str:
        """`name`, or `name_1`, `name_2`, ... : one that was not taken and is not empty. It is taken now."""
        candidate, number = name, self._last.get(name, 0)
        while candidate in self._taken or not candidate:
            number += 1
            candidate = f"{name}_{number}"
        self._last[name] = number
        self._taken.add(candidate)
        return candidate
