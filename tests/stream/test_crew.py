"""Threads of a crew: all jobs done, silence when asked for, an end without rests, a child of a fork that goes on."""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from dataclasses import dataclass, field

import pytest

from edgert.stream.crew import Crew


@dataclass(eq=False, kw_only=True)
class Counting(Crew[int]):
    """Adds up numbers, slowly."""

    due: deque[int] = field(default_factory=deque)
    under_way: int = 0
    total: int = 0
    most: int = 0
    given_back: int = 0

    @property
    def busy(self) -> int:
        return self.under_way

    def claim(self) -> int | None:
        if not self.due:
            return None
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        return self.due.popleft()

    def work(self, job: int) -> None:
        time.sleep(0.001)
        with self.lock:
            self.total += job
            self.under_way -= 1
            self.news.ring()

    def wake(self) -> None:
        if self.due:
            self.idle.ring()

    def forget(self) -> None:
        self.under_way = 0

    def let_go(self) -> None:
        self.given_back += 1

    def add(self, *numbers: int) -> None:
        self.start()
        with self.lock:
            self.due.extend(numbers)
            self.wake()

    def done(self) -> int:
        while self.due:
            time.sleep(0.001)
        self.silence()
        return self.total


@pytest.mark.parametrize("readers", [1, 2, 5])
def test_all_jobs_are_done(readers: int) -> None:
    crew = Counting(readers=readers)
    for _ in range(3):
        crew.add(*range(20))
    assert crew.done() == 3 * 190
    assert crew.most <= readers == len(crew.threads)
    crew.stop()
    assert (crew.threads, crew.given_back) == ([], 1)


def test_a_crew_that_never_started_gives_back() -> None:
    crew = Counting(readers=2)
    crew.stop()
    assert crew.given_back == 1
    crew.start()
    assert not crew.threads


def test_only_as_many_as_are_wanted_start() -> None:
    crew = Counting(readers=3)
    crew.start(0)
    crew.start(-1)
    assert not crew.threads
    crew.start(2)
    while len(crew.threads) < 2:
        time.sleep(0.001)
    crew.start(9)
    while len(crew.threads) < 3:
        time.sleep(0.001)
    crew.stop()


def test_a_start_that_was_interrupted_makes_none_too_many() -> None:
    crew = Counting(readers=2)
    for _ in range(3):  # as if the threads before were not yet known
        crew.start()
    crew.add(1, 2, 3)
    assert crew.done() == 6 and len(crew.threads) == 2
    crew.stop()


def test_nothing_is_claimed_while_the_process_forks() -> None:
    crew = Counting(readers=2)
    crew.add(*range(10))
    crew.hold()
    before = crew.total
    time.sleep(0.02)
    assert not crew.busy and crew.total == before
    crew.resume()
    assert crew.done() == 45
    crew.stop()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_child_has_readers_of_its_own() -> None:
    crew = Counting(readers=2)
    crew.add(1, 2, 3)
    assert crew.done() == 6
    child = os.fork()
    if not child:
        crew.add(4)
        status = 0 if crew.done() == 10 and crew.process == os.getpid() else 1
        crew.stop()
        os._exit(status)
    assert os.waitpid(child, 0)[1] == 0
    crew.add(5)
    assert crew.done() == 11 and len(crew.threads) == 2
    crew.stop()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("edgert-reader")]
