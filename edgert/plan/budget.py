"""The memory budget: reading `--ram`, and holding a plan's exact needs against it before anything is allocated.

Counted is what the model needs; the Python interpreter and its libraries are not.
"""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass

from edgert.errors import InputError, MemoryBudgetError

_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([KMG]?)(?:I?B)?\s*", re.IGNORECASE)


def parse_bytes(text: str | int) -> int:
    """'512M', '1.5G', '64KiB' or a number of bytes -> bytes; K, M and G are powers of 1024.

    Raises InputError for anything else, and for zero.
    """
    match = _SIZE.fullmatch(text) if isinstance(text, str) else None
    nbytes = int(float(match[1]) * _UNITS[match[2].upper()]) if match else text
    if isinstance(nbytes, bool) or not isinstance(nbytes, int) or nbytes <= 0:
        raise InputError(f"ram: expected a size such as 512M, 1.5G or a positive number of bytes, found {text!r}")
    return nbytes


def show_bytes(nbytes: int) -> str:
    """For people, in units that parse_bytes reads: 512 B, 1.5 KB, 3.2 MB, 1.1 GB."""
    for unit, size in (("GB", 1 << 30), ("MB", 1 << 20), ("KB", 1 << 10)):
        if nbytes >= size:
            return f"{nbytes / size:.1f} {unit}"
    return f"{nbytes} B"


@dataclass(frozen=True)
class MemoryUse:
    """Bytes a plan needs. arena: intermediate tensors. constants: tables made at planning. weights: parts
    used, mapped from the file (the system may drop and read them again). scratch: all threads together.
    records: op records and their sync words. host: an estimate of what NumPy allocates inside host ops.
    state: what lives from run to run, such as a key-value cache. resident, ring: of streamed weights what stays, and
    what the others are read to."""

    arena: int
    constants: int
    weights: int
    scratch: int
    records: int
    host: int
    state: int = 0
    resident: int = 0
    ring: int = 0

    @property
    def total(self) -> int:
        return sum(asdict(self).values())

    def describe(self) -> str:
        """'6.2 MB (arena 2.1 MB, weights 3.9 MB mapped, ...)'; empty parts are left out."""
        words = {"weights": " mapped", "host": " est.", "resident": " of weights", "ring": " for the others"}
        parts = [
            f"{name} {show_bytes(nbytes)}{words.get(name, '')}"
            for name, nbytes in sorted(asdict(self).items(), key=lambda item: -item[1])
            if nbytes
        ]
        return f"{show_bytes(self.total)} ({', '.join(parts)})"


def enforce(use: MemoryUse, ram: int | None, *, smallest: MemoryUse | None = None, threads: int = 1) -> None:
    """Raises MemoryBudgetError if `use` exceeds `ram`; `smallest` is the need with one thread."""
    if ram is None or use.total <= ram:
        return
    least = smallest if smallest is not None and smallest.total < use.total else use
    if least.total <= ram:
        advice = f"use one thread, which needs {show_bytes(least.total)}"
    else:
        advice = f"the smallest budget that works is ram={least.total} ({show_bytes(least.total)})"
        if least is not use:
            advice += " with threads=1"
    raise MemoryBudgetError(
        f"expected a plan within {show_bytes(ram)}, found {use.describe()} with {threads} "
        f"thread{'s' if threads > 1 else ''}; {advice}"
    )
