"""Waiting for another thread, so that Ctrl-C at any instruction leaves nothing locked and no wake-up lost.

A threading.Condition waits and notifies in Python code that an interrupt can cut in two; this cannot be cut.
"""

from __future__ import annotations

import threading
from collections import deque


class Bell:
    """Wakes who waits for something that a lock of the caller guards.

    Who waits: with the lock held, looks, and calls `ticket()` if it is not there yet; then, without the lock,
    `ticket.acquire()`, and looks again. Who makes it true calls `ring()` with the lock held.
    """

    def __init__(self) -> None:
        self._waiting: deque[threading.Lock] = deque()

    def ticket(self) -> threading.Lock:
        """A locked lock that the next ring() opens."""
        lock = threading.Lock()
        lock.acquire()
        self._waiting.append(lock)
        return lock

    def ring(self) -> None:
        """Wakes everyone. Interrupted between two of them, another call wakes the rest."""
        while self._waiting:
            if self._waiting[0].locked():
                self._waiting[0].release()
            self._waiting.popleft()
