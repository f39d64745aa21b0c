"""Processes that want the same kernels share the work: each is compiled once, and nobody waits for who has died."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import harness
import pytest

from edgert.kernels_cpu import claims
from edgert.kernels_cpu.claims import claimed
from edgert.kernels_cpu.jit import object_name
from edgert.kernels_cpu.levels import active_level

needs_locks = pytest.mark.skipif(claims.fcntl is None, reason="this system has no flock")


def test_an_open_claim_is_nobody_elses(tmp_path: Path) -> None:
    path = tmp_path / "a.o"
    with claimed(path, 0) as mine:
        assert mine
    assert list(tmp_path.iterdir()) == []


@needs_locks
def test_two_want_the_same(tmp_path: Path) -> None:
    path = tmp_path / "a.o"
    with claimed(path, 0) as first:
        with claimed(path, 0) as second, claimed(tmp_path / "b.o", 0) as other:
            assert (first, second, other) == (True, False, True)
        start = time.monotonic()
        with claimed(path, 0.2) as second:
            assert not second and time.monotonic() - start >= 0.2
    with claimed(path, 0) as second:
        assert second
    assert list(tmp_path.iterdir()) == []


@needs_locks
@harness.needs_compiler
def test_a_claim_ends_with_its_process(tmp_path: Path) -> None:
    path = tmp_path / "a.o"
    code = "import sys, time; from pathlib import Path; from edgert.kernels_cpu.claims import claimed\n" \
        "with claimed(Path(sys.argv[1]), 0):\n    print('claimed', flush=True); time.sleep(3600)"  # fmt: skip
    process = subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None and process.stdout.readline() == "claimed\n"
        with claimed(path, 0) as mine:
            assert not mine
    finally:
        process.kill()
        process.communicate()
    with claimed(path, 60) as mine:
        assert mine


@needs_locks
def test_file_systems_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(descriptor: int, how: int) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(claims.fcntl, "flock", refuse)
    with claimed(tmp_path / "a.o", 0) as first, claimed(tmp_path / "a.o", 0) as second:
        assert first and second


@needs_locks
@harness.needs_compiler
def test_a_compiler_leaves_to_others_what_they_are_at(tmp_path: Path) -> None:
    """It makes the rest first, then waits, and takes what the other made."""
    theirs, ours = tmp_path / object_name("fill_row"), tmp_path / object_name("unary_f32")
    level = active_level().name
    command = ["-m", "edgert.kernels_cpu.compiler", "--level", level, "--out", str(tmp_path), "fill_row", "unary_f32"]
    with claimed(theirs, 0):
        process = subprocess.Popen([sys.executable, *command])
        deadline = time.monotonic() + 240
        while not ours.exists():
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.01)
        assert process.poll() is None and not theirs.exists()
        theirs.write_bytes(b"made by another")
    assert process.wait(240) == 0
    assert theirs.read_bytes() == b"made by another"
    assert sorted(tmp_path.iterdir()) == sorted([theirs, ours, ours.with_suffix(".isa")])
