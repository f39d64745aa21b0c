"""Compiles what the tests of kernels need, beside other tests, most of which keep one core busy."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]


def compile_all(workers: int | None = None) -> None:
    """Every kernel at every level, and the model of AMX tiles."""
    from harness import CACHE, LEVELS

    from edgert.kernels_cpu import jit
    from edgert.kernels_cpu.levels import LEVELS as ALL_LEVELS
    from edgert.kernels_cpu.registry import kernels

    if ALL_LEVELS["x86-64-v4-vnni"] in LEVELS:
        amx = ALL_LEVELS["x86-64-amx"]
        os.environ["EDGERT_AMX_MODEL"] = "1"
        try:
            tiles = [name for name in kernels() if name.endswith("_amx")]
            jit.compile_missing(jit.cache_folder(CACHE, amx), amx, ["engine", *tiles], workers=workers)
        finally:
            del os.environ["EDGERT_AMX_MODEL"]
    for level in LEVELS:
        names = [name for name, spec in kernels().items() if spec.available(level)]
        jit.compile_missing(jit.cache_folder(CACHE, level), level, ["engine", *names], workers=workers)


class Ahead:
    """A process that compiles at low priority until it is stopped; what it made is there."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", "import os; os.nice(10); import ahead; ahead.compile_all(1)"],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (TESTS / "kernels", TESTS, TESTS.parent)))},
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, process_group=0,
        )  # fmt: skip

    def stop(self) -> None:
        """Ends it, and the compilers it started. May be called again."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
