"""What the tests of wheels share: processes without this one's settings, pip, and distributions by link."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import distribution
from pathlib import Path

from edgert.kernels_cpu.levels import host_levels

LEFT_OUT = ("x86-64-amx",)
"""Levels of which wheels have no library, see setup.py."""

HOST = [level.name for level in host_levels() if level.name not in LEFT_OUT][-1]
"""What an installed wheel runs on this machine."""

ARM = ("armv8-a", "armv8.2-dotprod")
"""Levels of 64-bit ARM whose libraries the tests have."""

Build = Callable[[str], Path]
"""Value of EDGERT_WHEEL -> the wheel."""


def run(command: list[str | Path], **environment: str) -> subprocess.CompletedProcess[str]:
    """A process that must succeed, with nothing of this one's settings for edgert and Python, and away from the
    checkout, which `python -m` would import from."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("EDGERT_", "PYTHON"))}
    done = subprocess.run(
        [str(part) for part in command],
        env={**kept, **environment}, cwd="/", capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def pip_wheel(source: Path, out: Path, kind: str) -> Path:
    """The wheel of one kind, by pip."""
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    run([*command, "--wheel-dir", out, source], EDGERT_WHEEL=kind)
    (built,) = out.glob("*.whl")
    return built


def link(name: str, folder: Path) -> None:
    """Puts the installed distribution `name` into `folder`, without its dependencies."""
    found = distribution(name)
    for top in {file.parts[0] for file in found.files or () if file.parts[0] not in ("..", "__pycache__")}:
        (folder / top).symlink_to(Path(str(found.locate_file(top))))
