"""SharedRam: one memory budget for several sessions. Each is promised the least it works with; what is left is divided.

How a session keeps to what it is promised is its own business: it plans for that, and trims when it becomes less.
"""

from __future__ import annotations

import threading
import weakref
from typing import Protocol

from edgert.errors import MemoryBudgetError
from edgert.plan.budget import parse_bytes, show_bytes
from edgert.runtime.fork import tell_after_fork


class Member(Protocol):
    """A session, as the budget knows it."""

    def trim(self, ram: int) -> int:
        """Gives memory back until the session needs at most `ram` bytes, which is at least its least."""
        ...


class Share:
    """What one session is promised, in bytes: at least `least`, and no more than the `wanted` that it can use."""

    def __init__(self, whole: SharedRam, member: Member, name: str, least: int, wanted: int) -> None:
        self.name, self.least, self.wanted, self.nbytes = name, least, max(least, wanted), 0
        self._whole, self._member = whole, weakref.ref(member)
        self._ending = weakref.finalize(member, whole._drop, self)
        self._ending.atexit = False

    def keep_to(self, nbytes: int) -> None:
        """Has the session give back what is above `nbytes`, and promises it no more than that."""
        member = self._member()
        if member is not None:
            member.trim(nbytes)
        self.shrink(nbytes)

    def shrink(self, nbytes: int) -> int:
        """The session has given back what is above `nbytes`, and is promised no more than that: what it then has."""
        self.nbytes = min(self.nbytes, nbytes)
        return self.nbytes

    def leave(self) -> None:
        """Gives everything back: the session has ended. May be called twice."""
        self._ending()


class SharedRam:
    """A budget of `ram`, such as '300M', that is given to several sessions in place of one for each: `edgert.load(path,
    ram=shared)`, `edgert.LLM(path, ram=shared)`. Safe to use from several threads.

    A session that comes makes the others trim, which waits for their runs in progress. What a closed session leaves is
    for those that come.
    """

    def __init__(self, ram: str | int) -> None:
        """Raises InputError for what is no size."""
        self.nbytes = parse_bytes(ram)
        self._shares: list[Share] = []
        self.after_fork()
        tell_after_fork(self)

    @property
    def shares(self) -> dict[str, int]:
        """Bytes promised to each session, by the name of its model; those of one name together."""
        found: dict[str, int] = {}
        for share in self._shares.copy():
            found[share.name] = found.get(share.name, 0) + share.nbytes
        return found

    def join(self, member: Member, name: str, least: int, wanted: int) -> Share:
        """A share for a session that works with `least` bytes and can use `wanted`. It may allocate when it has it.

        Raises MemoryBudgetError, saying who holds what, if there is no room for `least` beside that of the others.
        """
        with self._joining:
            with self._lock:
                self._check(name, least)
                share = Share(self, member, name, least, wanted)
                others = self._shares.copy()
                self._shares.append(share)
                spare = self.nbytes - sum(s.least for s in self._shares)
                room = sum(s.wanted - s.least for s in self._shares)
            try:
                for other in others:
                    # Each gets the same part of what it can use beyond its least.
                    promised = other.least + min(other.wanted - other.least, spare * (other.wanted - other.least) // (
                        room or 1))  # fmt: skip
                    if promised < other.nbytes:
                        other.keep_to(promised)
                with self._lock:
                    left = self.nbytes - sum(s.nbytes for s in self._shares)
                    share.nbytes = min(share.wanted, left)
            except BaseException:
                share.leave()
                raise
        return share

    def _check(self, name: str, least: int) -> None:
        held = sum(share.least for share in self._shares)
        if held + least > self.nbytes:
            words = [f"{share.name} {show_bytes(share.nbytes)}, at least {show_bytes(share.least)}"
                     for share in self._shares]  # fmt: skip
            raise MemoryBudgetError(
                f"expected room for {name}, which needs at least {show_bytes(least)}, in the shared "
                f"{show_bytes(self.nbytes)}; found {'; '.join(words) or 'nobody else there'}; close one, or share at "
                f"least {held + least} bytes ({show_bytes(held + least)})"
            )

    def _drop(self, share: Share) -> None:
        with self._lock:
            if share in self._shares:
                self._shares.remove(share)

    def after_fork(self) -> None:
        """In the child another thread may have held the locks."""
        # One session joins at a time. `_lock` is never held while another session is waited for; it can be taken
        # twice, as a session that is collected leaves wherever that happens.
        self._joining, self._lock = threading.Lock(), threading.RLock()
