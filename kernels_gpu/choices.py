"""What was measured on a device, kept from run to run: one file of numbers for each device and driver.

What is measured, and what follows from it, is tune.py and probes.py.
"""

from __future__ import annotations

import hashlib
import json
import os
from contextlib import suppress
from pathlib import Path

from edgert.kernels_gpu.device import DeviceInfo


class Choices:
    """Key -> whole number, in a file of `folder` that several processes may write. A damaged file is one without
    numbers, and where none can be written, what was measured is kept as long as this object."""

    def __init__(self, device: DeviceInfo, folder: Path) -> None:
        self.device = device
        self.path = folder / f"tiles-{hashlib.sha256(device.identity.encode()).hexdigest()[:16]}.json"
        self._numbers = self._read()

    def __contains__(self, key: str) -> bool:
        return key in self._numbers

    def __len__(self) -> int:
        return len(self._numbers)

    def get(self, key: str) -> int | None:
        """What is kept, None if nothing is."""
        return self._numbers.get(key)

    def put(self, key: str, number: int) -> None:
        """Keeps a number."""
        self._numbers[key] = number
        self._write()

    def _read(self) -> dict[str, int]:
        try:
            found = json.loads(self.path.read_text("utf-8"))
        except (OSError, ValueError, RecursionError):
            return {}
        table = found.get("tiles") if isinstance(found, dict) else None
        if not isinstance(table, dict):
            return {}
        return {key: number for key, number in table.items() if type(number) is int and number >= 0}

    def _write(self) -> None:
        """Whole or not at all, with what other processes have found meanwhile. Where that is impossible the next start
        measures again."""
        self._numbers = {**self._read(), **self._numbers}
        table = {"device": self.device.identity.split("\0"), "tiles": self._numbers}
        with suppress(OSError):
            store_whole(self.path, json.dumps(table, indent=1).encode())


def store_whole(path: Path, data: bytes) -> None:
    """Writes a file whole or not at all, also if it is interrupted. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_bytes(data)
        temporary.replace(path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise
