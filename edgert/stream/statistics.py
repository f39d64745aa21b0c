"""What streaming did, in numbers that can be compared with what was predicted."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Statistics:
    """What a store did since it was made.

    bytes_read, reads: of the file. reading, checking: seconds in reads and in checks, summed over the readers, who are
    at it at the same time. waited, waits: seconds that runs waited for stages, and how often. laps: runs begun.
    """

    bytes_read: int = 0
    reads: int = 0
    reading: float = 0.0
    checking: float = 0.0
    waited: float = 0.0
    waits: int = 0
    laps: int = 0
