"""Compiled kernels are found again by the next process, and not by one with other sources."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from edgert.kernels_cpu import jit
from edgert.kernels_cpu.levels import LEVELS, host_levels

CODE = """
from pathlib import Path
from edgert.kernels_cpu.jit import cache_folder
from edgert.kernels_cpu.levels import LEVELS
print(*(cache_folder(Path("/cache"), level) for level in LEVELS.values()), sep="\\n")
"""


def test_every_process_looks_in_the_same_folder() -> None:
    """Python orders sets of strings anew in every process."""
    found = set()
    for seed in ("1", "2", "3"):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        command = [sys.executable, "-c", CODE]
        found.add(subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout)
    assert len(found) == 1
    assert len(set(found.pop().split())) == len(LEVELS)


def test_other_sources_and_compilers_have_other_folders(monkeypatch: pytest.MonkeyPatch) -> None:
    level, root = host_levels()[-1], Path("/cache")
    before = jit.cache_folder(root, level)
    monkeypatch.setattr(jit, "source_hash", lambda: "edited")
    edited = jit.cache_folder(root, level)
    monkeypatch.setattr(jit, "compiler_versions", lambda: ("1", "2"))
    assert len({before, edited, jit.cache_folder(root, level)}) == 3
