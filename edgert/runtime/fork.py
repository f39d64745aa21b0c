"""What happens in a forked child: whoever owns worker threads is told, since the threads are gone there."""

from __future__ import annotations

import os
import weakref
from typing import Protocol


class Forkable(Protocol):
    """Something that can be used again after a fork."""

    def after_fork(self) -> None:
        """Called in the child, before anything else runs there."""
        ...


_known: weakref.WeakSet[Forkable] = weakref.WeakSet()


def tell_after_fork(owner: Forkable) -> None:
    """`owner.after_fork()` will be called in every forked child, as long as somebody else holds `owner`."""
    _known.add(owner)


def _tell() -> None:
    for owner in list(_known):
        owner.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_tell)
