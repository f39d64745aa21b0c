"""Ctrl-C while an extension module is being initialized: kept until that is over, as it may crash or be lost there.

Only imports of such modules are wrapped; everywhere else Ctrl-C works at once.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def interrupts_deferred() -> Iterator[None]:
    """A SIGINT that comes inside raises KeyboardInterrupt at the end. Only the main thread gets signals; in others, and
    where somebody handles them otherwise, nothing is changed."""
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or before is not signal.default_int_handler:
        yield
        return
    came = []

    def remember(number: int, frame: FrameType | None) -> None:
        came.append(number)

    signal.signal(signal.SIGINT, remember)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if came:
        raise KeyboardInterrupt
