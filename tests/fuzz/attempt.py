"""One mutated file through the product: converted, planned and run, under limits of time and memory.
Whatever is not an answer or a typed error escapes, and is a failure."""

from __future__ import annotations

import contextlib
import math
import resource
import signal
import sys
import tempfile
import traceback
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1] / "converters" / "tflite")]

from mutate import mutated  # noqa: E402
from sources import sources  # noqa: E402

from edgert.converters.convert import convert  # noqa: E402
from edgert.errors import EdgertError  # noqa: E402
from edgert.graph import control  # noqa: E402
from edgert.runtime.session import Session  # noqa: E402

SECONDS = 20
"""For one file of a few kilobytes: a hundred times what a sound one takes."""

MEMORY = 1 << 30
"""Bytes that the process may grow by over what it has with everything imported."""

LARGEST = 1 << 22
"""Elements of an input that is still tried."""

BUDGET = "64M"
"""What a mutated model may ask of a device."""

control.MAX_ITERATIONS = 1 << 10  # the bound itself, in seconds


class Stuck(BaseException):
    """The time of one attempt is over. Not an Exception, so that nothing takes it for bad input."""


@contextlib.contextmanager
def limited(seconds: int = SECONDS) -> Iterator[None]:
    """Raises Stuck after `seconds`, in the main thread of a process on Unix."""

    def over(signal_number: int, frame: object) -> None:
        raise Stuck(f"still at it after {seconds} s")

    previous = signal.signal(signal.SIGALRM, over)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, previous)


def attempt(kind: str, seed: int, folder: Path) -> str:
    """'refused', 'converted' (but it cannot run as it is) or 'ran'. Anything but a typed error escapes."""
    names = sorted(sources(kind))
    name = names[seed % len(names)]
    path = folder / f"{name}.{kind}"
    path.write_bytes(mutated(sources(kind)[name], kind, seed))
    with limited(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            model = convert(path, folder / "m.edge").model
        except EdgertError as error:
            assert str(error).strip(), "an error says something"
            return "refused"
        try:
            with Session(model, threads=1, ram=BUDGET) as session:
                if any(math.prod(d for d in v.shape if isinstance(d, int)) > LARGEST for v in session.get_inputs()):
                    return "converted"
                session.run({value.name: np.zeros([d if isinstance(d, int) else 1 for d in value.shape], value.dtype)
                             for value in session.get_inputs()})  # fmt: skip
        except EdgertError:
            return "converted"
        return "ran"


def attempts(kind: str, seeds: Iterable[int]) -> tuple[Counter[str], dict[int, str]]:
    """(how many ended how, seed -> what escaped)."""
    counts: Counter[str] = Counter()
    failures: dict[int, str] = {}
    with tempfile.TemporaryDirectory() as folder:
        for seed in seeds:
            try:
                counts[attempt(kind, seed, Path(folder))] += 1
            except (KeyboardInterrupt, SystemExit):
                raise
            except BaseException:
                counts["failed"] += 1
                failures[seed] = traceback.format_exc()
    return counts, failures


def bound_memory() -> None:
    """From now on this process can not grow by more than MEMORY."""
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[0])
    limit = pages * resource.getpagesize() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def peak_bytes() -> int:
    """The most memory this process ever had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
