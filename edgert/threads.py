"""Starting threads so that Ctrl-C at any instruction leaves none half started.

threading.Thread.start() waits for the new thread in Python code; cut in two there, it may keep a lock for which that
thread then waits for ever. Interrupts arrive in the main thread only, so another one does it.
"""

from __future__ import annotations

import _thread
from collections.abc import Callable


def launch(start: Callable[[], None]) -> None:
    """Calls `start`, which starts threads, where no interrupt arrives, and waits for it; whoever is interrupted while
    waiting may find it still at work. Raises what it raised, RuntimeError where the system gives no thread."""
    done = _thread.allocate_lock()
    done.acquire()
    raised: list[BaseException] = []

    def work() -> None:
        try:
            start()
        except BaseException as error:
            raised.append(error)
        finally:
            done.release()

    _thread.start_new_thread(work, ())
    done.acquire()
    if raised:
        raise raised.pop()
