"""Running out of memory on a workstation is an answer like any other: a typed error that names the file.
What a model may need on a device is planned, in `edgert/plan/memory.py`."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from edgert.errors import ConversionError

P = ParamSpec("P")
R = TypeVar("R")


def memory_errors_named(function: Callable[P, R]) -> Callable[P, R]:
    """`function`, whose first argument is a file, with ConversionError in place of MemoryError.

    A damaged file may claim sizes that only show when arrays are made from them.
    """

    @functools.wraps(function)
    def named(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return function(*args, **kwargs)
        except MemoryError as error:
            source = args[0] if args else next(iter(kwargs.values()), "")
            why = f" ({error})" if str(error) else ""
            raise ConversionError(
                f"{source}: expected a model that this machine has the memory to convert, found none left{why}; "
                "if its sizes are meant, use a machine with more"
            ) from None

    return named
