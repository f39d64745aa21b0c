"""What goes wrong for people, on the command line: one clear line each, exit code 1 or 2, and no partial file.

Damage bit by bit is in tests/format; this is about what someone sees.
"""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from edgert.cli.main import main
from edgert.models import FASHION_MNIST, FASHION_MNIST_CALIBRATION, fashion_mnist_samples

PHOTO = str(fashion_mnist_samples()[0][0])
PATIENCE = 60.0
VERSION_AT, CRC_AT, HEADER_AT = 8, 60, 64
"""Offsets in a .edge file: the version, the prelude's checksum, and the header after the prelude."""


@pytest.fixture(scope="module")
def good(default_model: Callable[[str], Path]) -> bytes:
    return default_model("f32").read_bytes()


def one_line(capsys: pytest.CaptureFixture[str], words: list[object], code: int) -> str:
    """The only line on stderr of a command that fails with `code`."""
    capsys.readouterr()
    assert main([str(word) for word in words]) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ")
    assert captured.err.count("\n") == 1, captured.err
    return captured.err


def flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 0x10]) + data[at + 1 :]


def of_version(data: bytes, version: int) -> bytes:
    """As a later edgert would write it, its checksum right."""
    prelude = data[:VERSION_AT] + version.to_bytes(4, "little") + data[VERSION_AT + 4 : CRC_AT]
    return prelude + zlib.crc32(prelude).to_bytes(4, "little") + data[HEADER_AT:]


DAMAGE: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "corrupt header": (lambda data: flipped(data, HEADER_AT + 40), "header CRC-32"),
    "corrupt weights": (lambda data: flipped(data, len(data) - 4096), "CRC-32"),
    "truncated": (lambda data: data[: len(data) // 2], "bytes"),
    "truncated prelude": (lambda data: data[:20], "bytes"),
    "empty": (lambda data: b"", "an empty file"),
    "oversized": (lambda data: data + bytes(64), "bytes"),
    "wrong version": (lambda data: of_version(data, 99), "version"),
    "an ONNX model": (lambda data: FASHION_MNIST.read_bytes(), ".edge"),
    "a photo": (lambda data: Path(PHOTO).read_bytes(), ".edge"),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_damaged_files(kind: str, good: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    change, word = DAMAGE[kind]
    path = tmp_path / "model.edge"
    path.write_bytes(change(good))
    labelled = tmp_path / "labelled.npz"
    np.savez(labelled, x=np.zeros((1, 28, 28), np.uint8), y=[0])
    for words in (["run", path, PHOTO], ["bench", path], ["inspect", path, "--verify"], ["eval", path, labelled]):
        line = one_line(capsys, words, 1)
        assert str(path) in line
        assert word in line


def test_missing_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "none.edge"
    for command in ("run", "bench", "inspect"):
        assert str(path) in one_line(capsys, [command, path, *([PHOTO] if command == "run" else [])], 1)
    assert str(tmp_path) in one_line(capsys, ["run", tmp_path, PHOTO], 1)
    assert "none.onnx" in one_line(capsys, ["convert", tmp_path / "none.onnx", "-o", tmp_path / "out.edge"], 2)
    assert "none.onnx" in one_line(capsys, ["check", tmp_path / "none.onnx"], 2)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"picture": np.zeros((1, 1, 28, 28), np.float32)}, ["'image' float32[N,1,28,28]", "'picture'"]),
        ({"image": np.zeros((1, 1, 32, 32), np.float32)}, ["[N,1,28,28]", "[1, 1, 32, 32]"]),
        ({"image": np.zeros((1, 28, 28), np.float32)}, ["[1, 28, 28]", "array[None]"]),
        ({"image": np.zeros((1, 1, 28, 28), np.float64)}, ["float64", ".astype('float32')"]),
        ({"image": np.zeros((1, 1, 28, 28), np.uint8)}, ["uint8", ".astype('float32')"]),
        ({}, ["'image'", "none"]),
    ],
)
def test_wrong_inputs(
    arrays: dict[str, np.ndarray], words: list[str], default_model: Callable[[str], Path], tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    np.savez(tmp_path / "x.npz", **arrays)  # type: ignore[arg-type]
    line = one_line(capsys, ["run", default_model("f32"), tmp_path / "x.npz"], 2)
    for word in words:
        assert word in line
    assert "expected" in line or "found" in line


# ---- convert: a full disk and an interrupt, in a process of its own
def command(out: Path, *more: object) -> list[str]:
    return [sys.executable, "-m", "edgert.cli.main", "convert", str(FASHION_MNIST), "-o", str(out), *map(str, more)]


@pytest.fixture
def environment(repo_root: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(repo_root)}


def check_refused_for_space(done: subprocess.CompletedProcess[str], folder: Path, before: list[Path]) -> None:
    assert done.returncode == 1, done.stderr
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1, done.stderr
    assert "was not written" in done.stderr
    assert "bytes are free" in done.stderr
    assert sorted(folder.iterdir()) == before


def test_a_file_size_limit(tmp_path: Path, environment: dict[str, str]) -> None:
    """As under `ulimit -f`, or on a file system with small files; the file that was there before stays."""
    out = tmp_path / "out.edge"
    out.write_bytes(b"older")
    done = subprocess.run(
        command(out), env=environment, capture_output=True, text=True, timeout=PATIENCE,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000)),
    )  # fmt: skip
    check_refused_for_space(done, tmp_path, [out])
    assert out.read_bytes() == b"older"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 kB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("mounting a small file system is not allowed here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk(small_disk: Path, environment: dict[str, str]) -> None:
    done = subprocess.run(
        command(small_disk / "out.edge"), env=environment, capture_output=True, text=True, timeout=PATIENCE
    )
    check_refused_for_space(done, small_disk, [])
    assert "No space left on device" in done.stderr


@pytest.mark.parametrize("report", [False, True])
def test_a_disk_that_fills_at_the_last_moment(
    report: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    more = ["--report", tmp_path / "report.json"] if report else []
    line = one_line(capsys, ["convert", FASHION_MNIST, "-o", tmp_path / "out.edge", *more], 1)
    assert "No space left on device" in line
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("delay", [0.0, 0.4, 1.0])
def test_an_interrupt(delay: float, tmp_path: Path, environment: dict[str, str]) -> None:
    """Ctrl-C after `delay` seconds of work, of which there is much: said in a word, and nothing left."""
    with np.load(FASHION_MNIST_CALIBRATION) as archive:
        np.savez(tmp_path / "calibration.npz", image=np.tile(archive["image"], (25, 1, 1, 1)))
    folder = tmp_path / "out"
    folder.mkdir()
    more = ("--weights", "int8", "--calib", tmp_path / "calibration.npz", "--samples", 5000)
    process = subprocess.Popen(
        command(folder / "out.edge", *more, "--report", folder / "report.json"),
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        wait_for_work(process)
        time.sleep(delay)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=PATIENCE)
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()
    assert process.returncode == 130, errors
    assert errors.strip() == "interrupted"
    assert list(folder.iterdir()) == []


def wait_for_work(process: subprocess.Popen[str]) -> None:
    """Until the process loads what it converts with."""
    maps = Path(f"/proc/{process.pid}/maps")
    end = time.monotonic() + PATIENCE
    while "/onnx/" not in maps.read_text():
        assert process.poll() is None, "the conversion was over before it could be interrupted"
        assert time.monotonic() < end
        time.sleep(0.01)


def test_an_interrupt_while_writing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(handle: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    assert main(["convert", str(FASHION_MNIST), "-o", str(tmp_path / "out.edge")]) == 130
    assert capsys.readouterr().err.strip() == "interrupted"
    assert list(tmp_path.iterdir()) == []
