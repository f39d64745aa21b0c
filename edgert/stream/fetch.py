"""Reads that a run waits for at once: some pages here and there, by several threads, through memory of their own.

What is read ahead of its use comes through store.py.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from edgert.stream.bell import Bell
from edgert.stream.fork import tell_of_forks
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


@dataclass(eq=False)
class _Shared:
    """What readers and a fetcher share; see readers.py. busy: of readers alone, whom no interrupt cuts in two."""

    source: Source
    largest: int
    readers: int
    lock: threading.RLock = field(default_factory=threading.RLock)
    idle: Bell = field(default_factory=Bell)
    news: Bell = field(default_factory=Bell)
    due: deque[Request] = field(default_factory=deque)
    busy: int = 0
    error: BaseException | None = None
    forking: bool = False
    stopped: bool = False
    threads: list[threading.Thread] = field(default_factory=list)
    process: int = field(default_factory=os.getpid)
    bytes_read: int = 0
    reads: int = 0

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

    def silence(self) -> None:
        """Returns when no reader is at work."""
        while True:
            with self.lock:
                if not self.busy:
                    return
                ticket = self.news.ticket()
            ticket.acquire()


class Fetcher:
    """Reads from `source` when asked, `readers` at a time, `largest` bytes each at most. Owns the source.

    For one thread at a time; an interrupted fetch leaves nothing under way once drop() or another fetch returns.
    """

    def __init__(self, source: Source, *, readers: int = READERS, largest: int = LARGEST) -> None:
        self.largest = largest
        self._shared = _Shared(source, largest, readers)
        self._view = Memory(room(largest)).view
        self._finalizer: weakref.finalize[[_Shared], Any] = weakref.finalize(self, _stop, self._shared)
        tell_of_forks(self)

    @property
    def bytes_read(self) -> int:
        """Of the file, since it was made."""
        return self._shared.bytes_read

    @property
    def reads(self) -> int:
        """How many there were."""
        return self._shared.reads

    def fetch(self, requests: Sequence[Request]) -> None:
        """Returns when everything was delivered, by any thread and in any order. Raises FormatError where the file ends
        too early, StorageError where it cannot be read, what `deliver` raised, RuntimeError after close()."""
        shared = self._shared
        self.drop()
        if shared.stopped:
            raise RuntimeError("the fetcher is closed")
        with shared.lock:
            shared.error = None
            shared.due.extend(requests)
            if len(requests) > 1:
                shared.idle.ring()
        for number in range(len(shared.threads) + 1, min(shared.readers, len(requests))):
            threading.Thread(target=_live, args=(shared,), name=f"edgert-reader-{number}", daemon=True).start()
        while True:
            with shared.lock:
                request = shared.due.popleft() if shared.due else None
            if request is None:
                break
            shared.serve(request, self._view)
        shared.silence()
        error, shared.error = shared.error, None
        if error is not None:
            raise error

    def drop(self) -> None:
        """Returns when nothing of an earlier fetch, which may have been interrupted, is due or under way."""
        self._shared.due.clear()
        self._shared.silence()

    def close(self) -> None:
        """Stops the readers and gives memory and file back. May be called again."""
        self._finalizer()

    def hold(self) -> None:
        """See fork.py."""
        with self._shared.lock:
            self._shared.forking = True
        self._shared.silence()

    def resume(self) -> None:
        """See fork.py."""
        with self._shared.lock:
            self._shared.forking = False
            self._shared.idle.ring()

    def after_fork(self) -> None:
        """See fork.py."""
        shared = self._shared
        shared.lock, shared.idle, shared.news = threading.RLock(), Bell(), Bell()
        shared.threads.clear()
        shared.process, shared.forking, shared.busy = os.getpid(), False, 0


def room(largest: int) -> int:
    """Bytes that a read of `largest` bytes from anywhere in a page goes through."""
    return -(-largest // PAGE) * PAGE + PAGE


def _live(shared: _Shared) -> None:
    thread = threading.current_thread()
    with shared.lock:
        # One reads already: who waits. An interrupted fetch may have started one more than it knows.
        if shared.stopped or len(shared.threads) >= shared.readers - 1:
            return
        shared.threads.append(thread)
    view = Memory(room(shared.largest)).view
    while True:
        with shared.lock:
            if shared.stopped:
                shared.threads.remove(thread)
                _let_go(shared)
                return
            request = shared.due.popleft() if shared.due and not shared.forking else None
            if request is None:
                ticket = shared.idle.ticket()
            else:
                shared.busy += 1
        if request is None:
            ticket.acquire()
            continue
        error: BaseException | None = None
        try:
            shared.serve(request, view)
        except BaseException as caught:  # a reader that dies would leave the run waiting
            error = without_frames(caught)
        with shared.lock:
            shared.busy -= 1
            if error is not None:
                shared.due.clear()
                shared.error = error
            shared.news.ring()


def _stop(shared: _Shared) -> None:
    if shared.process != os.getpid():
        return
    with shared.lock:
        shared.stopped = True
        shared.idle.ring()
        threads = list(shared.threads)
        _let_go(shared)
    if threading.current_thread() not in threads:  # else the collector runs in a reader: the last one lets go
        for thread in threads:
            thread.join()


def _let_go(shared: _Shared) -> None:
    if not shared.threads:
        shared.source.close()
