"""What may be asked of sessions: the words and numbers that load(), LLM and the command line take, checked.

What follows from them is in session.py and llm/.
"""

from __future__ import annotations

from typing import Literal

from edgert.errors import InputError
from edgert.plan.lowering.api import SPARSE

MAX_THREADS = 256
Stream = Literal["auto", "always", "never"]
STREAM: tuple[Stream, ...] = ("auto", "always", "never")
"""Which weights are streamed: those that a budget has no room for, all that are not kept, or none."""
Checks = Literal["once", "always", "never"]
CHECKS: tuple[Checks, ...] = ("once", "always", "never")
"""When streamed bytes are compared with their checksums."""
Precision = Literal["fp32", "fp16"]
PRECISIONS: tuple[Precision, ...] = ("fp32", "fp16")
"""What an OpenCL device multiplies floats in."""


def check_sparse(sparse: str) -> None:
    """Raises InputError for what is not among the choices."""
    if sparse not in SPARSE:
        raise InputError(f"sparse: expected one of {', '.join(SPARSE)}, found {sparse!r}")


def check_stream(stream: str, checks: str) -> None:
    """Raises InputError for what is not among the choices."""
    for name, found, choices in (("stream", stream, STREAM), ("checks", checks, CHECKS)):
        if found not in choices:
            raise InputError(f"{name}: expected one of {', '.join(choices)}, found {found!r}")


def check_precision(precision: str, device: str) -> None:
    """Raises InputError for what is not among the choices, and for halves on the processor."""
    if precision not in PRECISIONS:
        raise InputError(f"precision: expected one of {', '.join(PRECISIONS)}, found {precision!r}")
    if precision == "fp16" and device == "cpu":
        raise InputError(
            "precision 'fp16': expected a device that multiplies in halves, found device 'cpu'; give device='opencl', "
            "or leave precision at 'fp32'"
        )


def check_threads(threads: int | None) -> None:
    """Raises InputError for a number of threads that makes no sense."""
    if threads is not None and (isinstance(threads, bool) or not 1 <= threads <= MAX_THREADS):
        raise InputError(f"threads: expected 1..{MAX_THREADS}, found {threads!r}")
