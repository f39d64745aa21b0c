"""Ctrl-C is kept while an extension module is initialized, and is not lost."""

from __future__ import annotations

import signal
import threading

import pytest

from edgert.converters.interrupts import interrupts_deferred


def test_an_interrupt_comes_at_the_end() -> None:
    steps = []
    with pytest.raises(KeyboardInterrupt), interrupts_deferred():
        signal.raise_signal(signal.SIGINT)
        steps.append("went on")
    assert steps == ["went on"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_nothing_comes_and_errors_pass() -> None:
    with interrupts_deferred():
        pass
    with pytest.raises(ImportError), interrupts_deferred():
        raise ImportError
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_other_threads_are_left_alone() -> None:
    done = []

    def work() -> None:
        with interrupts_deferred():
            done.append(True)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert done == [True]
