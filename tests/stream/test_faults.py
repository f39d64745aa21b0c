"""What goes wrong with a file, a disk or a run: a typed error or the right bytes, and a store that works again."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import pytest
from streamed_files import Checks, Streamed, jitter, readers
from test_store import run, seen

from edgert.errors import FormatError, StorageError
from edgert.stream.stages import PAGE
from edgert.stream.store import WeightStore

ALL = [0, 1, 2, 3, 4]


def test_a_file_that_is_too_short(streamed: Streamed) -> None:
    last = streamed.parts[-1]
    os.truncate(streamed.path, last.offset + last.nbytes - 1)
    source = streamed.source()
    with pytest.raises(FormatError, match="end of the file") as caught:
        WeightStore(source, streamed.division, Checks())
    assert caught.value.file == streamed.path
    assert caught.value.offset == last.offset
    assert source.closed == 1


@pytest.mark.parametrize("direct", [True, False], ids=["direct", "buffered"])
def test_truncated_while_running(streamed: Streamed, direct: bool) -> None:
    store = WeightStore(streamed.source(direct=direct), streamed.division, Checks())
    run(store, streamed, ALL)
    store.quiesce()
    end = streamed.parts[3].offset + 5000
    os.truncate(streamed.path, end)
    with pytest.raises(FormatError, match="too early") as caught:
        for _ in range(2):
            run(store, streamed, ALL)
    assert caught.value.offset == end
    streamed.path.write_bytes(streamed.content)
    run(store, streamed, ALL)
    store.close()


def test_unlinked_and_replaced_while_running(streamed: Streamed) -> None:
    store = WeightStore(streamed.source(), streamed.division, Checks())
    run(store, streamed, ALL)
    streamed.path.unlink()
    run(store, streamed, ALL)
    streamed.path.write_bytes(b"another model")
    run(store, streamed, ALL)
    store.close()


@pytest.mark.parametrize("checks", ["once", "never"])
def test_changed_in_place_is_found_by_checking_again(streamed: Streamed, checks: str) -> None:
    checker = Checks()
    store = WeightStore(streamed.source(), streamed.division, checker, checks=checks)  # type: ignore[arg-type]
    run(store, streamed, ALL)
    store.quiesce()
    os.utime(streamed.path, ns=(0, 1))
    checker.seen.clear()
    for _ in range(2):
        run(store, streamed, ALL)
    assert ("t3", True) in checker.seen, "touched alone: it is checked, and right"
    store.quiesce()
    damaged = bytearray(streamed.content)
    damaged[streamed.parts[3].offset + 100] ^= 1
    with streamed.path.open("r+b") as stream:
        stream.write(damaged)
    os.utime(streamed.path, ns=(0, 2))
    with pytest.raises(FormatError, match="CRC-32 of 't3'"):
        for _ in range(2):
            store.begin(ALL)
            for stage in ALL:
                store.acquire(stage)
                store.release(stage)
    store.close()


def test_damage_is_found_at_first_sight(streamed: Streamed) -> None:
    damaged = bytearray(streamed.content)
    damaged[streamed.parts[4].offset] ^= 255
    streamed.path.write_bytes(damaged)
    store = WeightStore(streamed.source(), streamed.division, Checks())
    for _ in range(2):
        with pytest.raises(FormatError, match="CRC-32 of 't4'"):
            run(store, streamed, ALL)
    store.close()
    damaged[streamed.parts[0].offset] ^= 255
    streamed.path.write_bytes(damaged)
    source = streamed.source()
    with pytest.raises(FormatError, match="CRC-32 of 't0'"):
        WeightStore(source, streamed.division, Checks())
    assert source.closed == 1
    assert readers() == 0


def test_a_read_error_is_told_once_and_tried_again(streamed: Streamed) -> None:
    source = streamed.source()
    store = WeightStore(source, streamed.division, Checks(), block=4 * PAGE)
    part = streamed.parts[3]
    bad = part.offset // PAGE * PAGE
    source.fails = lambda offset: offset == bad
    with pytest.raises(StorageError, match=rf"{streamed.path} at byte {bad}: cannot be read: Input/output error"):
        run(store, streamed, ALL)
    with pytest.raises(RuntimeError, match="could not be read"):
        store.acquire(2)
    source.fails = lambda offset: False
    for _ in range(2):
        run(store, streamed, ALL)
    store.close()


def test_a_read_error_at_the_start(streamed: Streamed) -> None:
    source = streamed.source()
    source.fails = lambda offset: offset == 0
    with pytest.raises(StorageError, match="Input/output error"):
        WeightStore(source, streamed.division, Checks())
    assert source.closed == 1


def test_a_source_that_raises_anything(streamed: Streamed) -> None:
    source = streamed.source()
    store = WeightStore(source, streamed.division, Checks())

    def fails(offset: int) -> bool:
        raise ZeroDivisionError

    source.fails = fails
    with pytest.raises(ZeroDivisionError):
        run(store, streamed, ALL)
    source.fails = lambda offset: False
    run(store, streamed, ALL)
    store.close()


@contextmanager
def interrupted(seconds: float) -> Iterator[None]:
    """A Ctrl-C of this process, `seconds` from now."""
    timer = threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    try:
        yield
    finally:
        timer.join()


def test_ctrl_c_while_waiting_for_a_slow_disk(streamed: Streamed) -> None:
    source = streamed.source()
    store = WeightStore(source, streamed.division, Checks())
    source.open.clear()
    start = time.monotonic()
    with pytest.raises(KeyboardInterrupt), interrupted(0.05):
        run(store, streamed, ALL)
    assert time.monotonic() - start < 2
    source.open.set()
    run(store, streamed, ALL)
    source.open.clear()
    with pytest.raises(KeyboardInterrupt), interrupted(0.05):
        run(store, streamed, [3, 1])
    threading.Timer(0.05, source.open.set).start()
    store.close()
    assert source.closed == 1


def test_ctrl_c_while_what_stays_is_read(streamed: Streamed) -> None:
    source = streamed.source()
    source.open.clear()
    threading.Timer(0.15, source.open.set).start()
    with pytest.raises(KeyboardInterrupt), interrupted(0.05):
        WeightStore(source, streamed.division, Checks())
    assert readers() == 0
    assert source.closed == 1


class Interrupt(Exception):
    """Raised by a signal handler between any two instructions, as KeyboardInterrupt is."""


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no interval timers on this system")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_interrupts_at_any_instruction(streamed: Streamed) -> None:
    """Many runs, each interrupted somewhere: the next one is right, and none waits for ever."""
    rng = random.Random(7)
    source = streamed.source()
    source.delay = jitter(3, 0.001)
    store = WeightStore(source, streamed.division, Checks(), block=8 * PAGE, readers=2)

    armed = False

    def handler(number: int, frame: FrameType | None) -> None:
        if armed:
            raise Interrupt

    before = signal.signal(signal.SIGALRM, handler)
    hits = 0
    try:
        for _ in range(250):
            order = rng.sample(ALL, rng.randint(1, 5))
            try:
                try:
                    armed = True
                    signal.setitimer(signal.ITIMER_REAL, rng.random() * 0.006 + 1e-5)
                    for _ in range(3):
                        run(store, streamed, order)
                finally:
                    armed = False
            except Interrupt:
                hits += 1
            if rng.random() < 0.3:
                run(store, streamed, ALL)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert hits > 50
    store.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_has_a_copy_of_its_own(streamed: Streamed) -> None:
    source = streamed.source()
    source.delay = jitter(5, 0.004)
    store = WeightStore(source, streamed.division, Checks(), block=8 * PAGE)
    store.begin(ALL)
    context = multiprocessing.get_context("fork")
    for stage in ALL:
        store.acquire(stage)
        child = context.Process(target=_in_child, args=(store, streamed))
        child.start()
        (part,) = streamed.streamed(stage)
        assert seen(store, part) == streamed.bytes_of(part)
        store.release(stage)
        child.join(20)
        assert child.exitcode == 0
    run(store, streamed, ALL)
    store.close()


def _in_child(store: WeightStore, streamed: Streamed) -> None:
    assert readers() == 0
    for _ in range(3):
        run(store, streamed, ALL)
    store.close()


PROGRAM = """
import sys
sys.path[:0] = {paths}
from pathlib import Path
from streamed_files import Checks, Streamed, division_of, parts_of
from edgert.stream.stages import PAGE
from edgert.stream.store import WeightStore
path = Path({path!r})
parts, content = parts_of(path, [100 << 10] * 4)
path.write_bytes(content)
streamed = Streamed(path, parts, content, division_of(parts[:1], [[part] for part in parts[1:]], 30 * PAGE))
source = streamed.source()
store = WeightStore(source, streamed.division, Checks())
source.delay = lambda: 0.05
store.begin([0, 1, 2])
store.acquire(0)
{end}
"""


@pytest.mark.parametrize("end", ["", "store._keep = store", "import os, signal; os.kill(os.getpid(), signal.SIGINT)"])
def test_the_interpreter_ends_with_reads_under_way(tmp_path: Path, end: str) -> None:
    program = PROGRAM.format(paths=[str(Path(__file__).parent)], path=str(tmp_path / "weights.bin"), end=end)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=False)
    if "SIGINT" in end:
        assert done.stderr.rstrip().endswith("KeyboardInterrupt")
        assert done.stderr.count("Traceback") == 1
    else:
        assert (done.returncode, done.stderr) == (0, "")
