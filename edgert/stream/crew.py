"""Threads that read for somebody: how they start, wait for work, fall silent and end.

What they read, and in what order, say those who make a crew of their own: readers.py and fetch.py.
"""

from __future__ import annotations

import os
import threading
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from functools import partial
from typing import Generic, TypeVar

from edgert.stream.bell import Bell
from edgert.stream.fork import tell_of_forks
from edgert.threads import launch

Job = TypeVar("Job")


@dataclass(eq=False, kw_only=True)
class Crew(ABC, Generic[Job]):
    """Up to `readers` threads. They hold the crew and not its owner, so that a forgotten owner is collected: it has a
    finalizer that calls stop().

    The lock is one that its thread may take again: the collector may end a forgotten owner inside any method.
    """

    readers: int
    lock: threading.RLock = field(default_factory=threading.RLock)
    idle: Bell = field(default_factory=Bell)
    """Readers wait here for something to read."""
    news: Bell = field(default_factory=Bell)
    """Others wait here for what readers did."""
    threads: list[threading.Thread] = field(default_factory=list)
    process: int = field(default_factory=os.getpid)
    forking: bool = False
    """No job is claimed, for the moment of a fork."""
    stopped: bool = False

    def __post_init__(self) -> None:
        tell_of_forks(self)

    # ---- what a crew of its own kind says
    @property
    @abstractmethod
    def busy(self) -> int:
        """Jobs under way."""

    @abstractmethod
    def claim(self) -> Job | None:
        """The next job, for the caller to do at once. With the lock held."""

    @abstractmethod
    def work(self, job: Job) -> None:
        """Does it. Must not raise: a reader that dies would leave who waits for it waiting."""

    @abstractmethod
    def wake(self) -> None:
        """Rings `idle` if there is something to claim. With the lock held."""

    @abstractmethod
    def forget(self) -> None:
        """In a forked child: what was under way in the parent is not here."""

    @abstractmethod
    def let_go(self) -> None:
        """Gives back file and memory. Once, with the lock held, when the crew is stopped and the last reader gone."""

    # ---- what all have in common
    def start(self, wanted: int | None = None) -> None:
        """Starts the readers that are missing, of `wanted` or all."""
        wanted = self.readers if wanted is None else min(wanted, self.readers)
        if len(self.threads) < wanted:
            launch(partial(_start, self, wanted))

    def silence(self) -> None:
        """Returns when no job is under way. Endless while new ones are claimed."""
        while True:
            with self.lock:
                if not self.busy:
                    return
                ticket = self.news.ticket()
            ticket.acquire()

    def stop(self) -> None:
        """Stops the readers, and waits for the jobs under way; then file and memory are given back. In a forked child
        that does not use the crew nothing happens."""
        if self.process != os.getpid():
            return
        with self.lock:
            self.stopped = True
            self.idle.ring()
            self.news.ring()
            threads = list(self.threads)
            if not threads:
                self.let_go()
        # Else the collector runs in a reader, and the last one lets go.
        if threading.get_ident() not in {thread.ident for thread in threads}:
            for thread in threads:
                thread.join()

    def hold(self) -> None:
        """See fork.py."""
        with self.lock:
            self.forking = True
        self.silence()

    def resume(self) -> None:
        """See fork.py."""
        with self.lock:
            self.forking = False
            self.wake()

    def after_fork(self) -> None:
        """See fork.py. Readers are started when they are next needed."""
        self.lock, self.idle, self.news = threading.RLock(), Bell(), Bell()
        self.threads.clear()
        self.process, self.forking = os.getpid(), False
        self.forget()


def _start(crew: Crew[Job], wanted: int) -> None:
    for number in range(len(crew.threads), wanted):
        threading.Thread(target=_live, args=(crew,), name=f"edgert-reader-{number}", daemon=True).start()


def _live(crew: Crew[Job]) -> None:
    thread = threading.current_thread()
    with crew.lock:
        # An interrupted start() may have started one more than it knows.
        if crew.stopped or len(crew.threads) >= crew.readers:
            return
        crew.threads.append(thread)
    while True:
        with crew.lock:
            if crew.stopped:
                crew.threads.remove(thread)
                if not crew.threads:
                    crew.let_go()
                return
            job = None if crew.forking else crew.claim()
            if job is None:
                ticket = crew.idle.ticket()
        if job is None:
            ticket.acquire()
        else:
            crew.work(job)
