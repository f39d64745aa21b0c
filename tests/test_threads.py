"""Threads are started whole or not at all, whenever Ctrl-C comes."""

from __future__ import annotations

import random
import signal
import threading
import time

import pytest

from edgert.threads import launch


class Interrupt(Exception):
    """Raised by a signal handler between any two instructions, as KeyboardInterrupt is."""


def test_it_returns_when_everything_is_done() -> None:
    done: list[int] = []
    launch(lambda: done.append(threading.get_ident()))
    assert len(done) == 1 and done != [threading.get_ident()]


def test_errors_are_the_callers() -> None:
    def fail() -> None:
        raise RuntimeError("can't start new thread")

    with pytest.raises(RuntimeError, match="new thread"):
        launch(fail)


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no interval timers on this system")
def test_an_interrupt_leaves_no_thread_half_started() -> None:
    rng = random.Random(5)
    lived: list[int] = []
    armed = False

    def handler(number: int, frame: object) -> None:
        if armed:
            raise Interrupt

    def start(turn: int) -> None:
        for _ in range(3):
            threading.Thread(target=lived.append, args=(turn,), name="edgert-test", daemon=True).start()

    before = signal.signal(signal.SIGALRM, handler)
    interrupted, turns = 0, 0
    try:
        while interrupted < 100:
            try:
                try:
                    armed = True
                    signal.setitimer(signal.ITIMER_REAL, rng.random() * 4e-4 + 1e-6)
                    while True:
                        turns += 1
                        launch(lambda turn=turns: start(turn))  # type: ignore[misc]
                finally:
                    armed = False
            except Interrupt:
                interrupted += 1
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    deadline = time.monotonic() + 120
    while {lived.count(turn) for turn in set(lived)} != {3}:  # the last start may still be at work
        assert time.monotonic() < deadline, "a thread never came to life"
        time.sleep(0.001)
    assert len(set(lived)) >= turns - interrupted
