"""Reads that a run waits for at once: some pages here and there, by several threads, through memory of their own.

What is read ahead of its use comes through store.py.
"""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from edgert.stream.crew import Crew
from edgert.stream.memory import Memory
from edgert.stream.readers import without_frames
from edgert.stream.source import Source, fill
from edgert.stream.stages import PAGE

READERS = 4
"""Reads at a time, one of them by the thread that waits."""
LARGEST = 256 << 10
"""Bytes of a read at most: so much memory each reader has."""


@dataclass(frozen=True)
class Request:
    """Bytes start .. start + nbytes of the file, which `deliver` takes from a view that is good until it returns."""

    start: int
    nbytes: int
    deliver: Callable[[memoryview], None]


@dataclass(eq=False, kw_only=True)
class _Helpers(Crew[Request]):
    """Who reads beside the thread that waits. under_way: their reads alone, which no interrupt cuts in two."""

    source: Source
    largest: int
    due: deque[Request] = field(default_factory=deque)
    spare: list[memoryview] = field(default_factory=list)
    """Memory of readers that have nothing to do."""
    under_way: int = 0
    error: BaseException | None = None
    bytes_read: int = 0
    reads: int = 0

    @property
    def busy(self) -> int:
        """Reads under way."""
        return self.under_way

    def claim(self) -> Request | None:
        """The next read, for the caller to do."""
        if not self.due:
            return None
        request = self.due.popleft()
        self.under_way += 1
        return request

    def work(self, job: Request) -> None:
        """Reads and delivers."""
        error: BaseException | None = None
        try:
            with self.lock:
                view = self.spare.pop() if self.spare else None
            if view is None:
                view = Memory(room(self.largest)).view
            self.serve(job, view)
            self.spare.append(view)
        except BaseException as caught:
            error = without_frames(caught)
        with self.lock:
            self.under_way -= 1
            if error is not None:
                self.due.clear()
                self.error = error
            self.news.ring()

    def serve(self, request: Request, view: memoryview) -> None:
        """Reads and delivers. Raises what fill raises."""
        first = request.start // PAGE * PAGE
        end = request.start + request.nbytes
        pages = view[: -(-end // PAGE) * PAGE - first]
        count = fill(self.source, pages, first, end - first)
        with self.lock:
            self.bytes_read += count
            self.reads += 1
        request.deliver(pages[request.start - first : end - first])

    def wake(self) -> None:
        """With the lock held."""
        if self.due:
            self.idle.ring()

    def forget(self) -> None:
        """In a forked child: no read of the parent is under way here."""
        self.under_way = 0

    def let_go(self) -> None:
        """Gives back the file, and memory with the last who holds it."""
        self.source.close()
        self.spare.clear()


class Fetcher:
    """Reads from `source` when asked, `readers` at a time, `largest` bytes each at most. Owns the source.

    For one thread at a time; an interrupted fetch leaves nothing under way once drop() or another fetch returns.
    """

    def __init__(self, source: Source, *, readers: int = READERS, largest: int = LARGEST) -> None:
        self.largest = largest
        self._helpers = _Helpers(readers=readers - 1, source=source, largest=largest)
        self._view = Memory(room(largest)).view
        self._finalizer: weakref.finalize[[], Any] = weakref.finalize(self, self._helpers.stop)

    @property
    def bytes_read(self) -> int:
        """Of the file, since it was made."""
        return self._helpers.bytes_read

    @property
    def reads(self) -> int:
        """How many there were."""
        return self._helpers.reads

    def fetch(self, requests: Sequence[Request]) -> None:
        """Returns when everything was delivered, by any thread and in any order. Raises FormatError where the file ends
        too early, StorageError where it cannot be read, what `deliver` raised, RuntimeError after close()."""
        helpers = self._helpers
        self.drop()
        if helpers.stopped:
            raise RuntimeError("the fetcher is closed")
        with helpers.lock:
            helpers.error = None
            helpers.due.extend(requests)
            if len(requests) > 1:
                helpers.idle.ring()
        helpers.start(len(requests) - 1)
        while True:
            with helpers.lock:
                request = helpers.due.popleft() if helpers.due else None
            if request is None:
                break
            helpers.serve(request, self._view)
        helpers.silence()
        error, helpers.error = helpers.error, None
        if error is not None:
            raise error

    def drop(self) -> None:
        """Returns when nothing of an earlier fetch, which may have been interrupted, is due or under way."""
        with self._helpers.lock:
            self._helpers.due.clear()
        self._helpers.silence()

    def close(self) -> None:
        """Stops the readers and gives memory and file back. May be called again."""
        self._finalizer()


def room(largest: int) -> int:
    """Bytes that a read of `largest` bytes from anywhere in a page goes through."""
    return -(-largest // PAGE) * PAGE + PAGE
