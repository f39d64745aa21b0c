"""What happens to readers when the process forks: they are silent at that moment, and the child starts its own.

Direct reads into memory that is just then shared with a child may end up in the wrong copy (open(2), NOTES).
"""

from __future__ import annotations

import os
import weakref
from typing import Protocol


class Forking(Protocol):
    """Whoever has reader threads."""

    def hold(self) -> None:
        """Returns once no read is under way; none begins before resume(). In the parent, before the fork."""
        ...

    def resume(self) -> None:
        """In the parent, after the fork."""
        ...

    def after_fork(self) -> None:
        """In the child: there are no readers, and locks of other threads are as they were."""
        ...


_known: weakref.WeakSet[Forking] = weakref.WeakSet()


def tell_of_forks(owner: Forking) -> None:
    """Calls `owner` at every fork, as long as somebody else holds it."""
    _known.add(owner)


def _before() -> None:
    for owner in list(_known):
        owner.hold()


def _in_parent() -> None:
    for owner in list(_known):
        owner.resume()


def _in_child() -> None:
    for owner in list(_known):
        owner.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before, after_in_parent=_in_parent, after_in_child=_in_child)
