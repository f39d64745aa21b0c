"""A memory control group (version 1): so much RAM, page cache included, and no more, for the processes started in it.

Needs root and the version-1 memory controller, and says so where they are not.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

ROOT = Path("/sys/fs/cgroup/memory")
_ENTER = 'echo $$ > "$0/cgroup.procs" && exec "$@"'


class NoGroups(RuntimeError):
    """This machine can not limit memory this way; the message says why."""


@dataclass(frozen=True)
class Use:
    """peak: the most bytes the group had, page cache included. failures: how often the limit was met, which is when
    the kernel dropped page cache to make room. own, cached: bytes that are processes' own, and page cache, now."""

    peak: int
    failures: int
    own: int
    cached: int


def check() -> None:
    """Raises NoGroups unless groups can be made, and nothing can be swapped out instead of being held back."""
    if not (ROOT / "memory.limit_in_bytes").is_file():
        raise NoGroups(f"expected the version-1 memory controller at {ROOT}, found none")
    if os.geteuid() != 0:
        raise NoGroups("control groups are made by root: run as root")
    if len(swaps := Path("/proc/swaps").read_text().splitlines()) > 1:
        raise NoGroups(f"expected no swap space, found {swaps[1].split()[0]}: swapoff -a")


class Group:
    """A control group of `limit` bytes, gone when it is left with no process in it."""

    def __init__(self, name: str, limit: int) -> None:
        check()
        self.limit = limit
        self.path = ROOT / f"edgert-bench-{os.getpid()}-{name}"
        self.path.mkdir()
        (self.path / "memory.limit_in_bytes").write_text(str(limit))

    def command(self, command: list[str]) -> list[str]:
        """`command`, to be started inside the group."""
        return ["/bin/sh", "-c", _ENTER, str(self.path), *command]

    def use(self) -> Use:
        stat = dict(line.split() for line in self._read("memory.stat").splitlines())
        return Use(
            int(self._read("memory.max_usage_in_bytes")), int(self._read("memory.failcnt")),
            int(stat["total_rss"]), int(stat["total_cache"]),
        )  # fmt: skip

    @property
    def killed(self) -> bool:
        """Whether the kernel killed a process because even without page cache the limit was not enough."""
        found = dict(line.split() for line in self._read("memory.oom_control").splitlines())
        return int(found.get("oom_kill", 0)) > 0

    def _read(self, name: str) -> str:
        return (self.path / name).read_text()

    def __enter__(self) -> Group:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for _ in range(50):
            try:
                self.path.rmdir()
                return
            except OSError:  # a process that was killed is still leaving
                time.sleep(0.1)
