"""Rules F36 to F38 of docs/format.md: the same bytes every time, and nothing left behind when writing fails."""

from __future__ import annotations

import errno
import os
import re
import resource
import signal
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgert.errors import EdgertError, FormatError
from edgert.format import Model, StoredTensor, read_model, write_model
from edgert.graph.ir import Graph

Forge = Any
Refused = Callable[..., FormatError]


def test_f36_deterministic(model: Model, small_file: Path, tmp_path: Path) -> None:
    content = small_file.read_bytes()
    write_model(model, tmp_path / "b.edge")
    assert (tmp_path / "b.edge").read_bytes() == content
    model.tensors = dict(reversed(model.tensors.items()))
    model.graph.types = dict(reversed(model.graph.types.items()))
    for node in model.graph.nodes:
        node.attrs = dict(reversed(node.attrs.items()))
    write_model(model, tmp_path / "c.edge")
    assert (tmp_path / "c.edge").read_bytes() == content
    # Tensors that no node uses come last, by name.
    for name in ("zz", "aa"):
        model.tensors[name] = StoredTensor.pack_dense(name, np.ones(1))
    write_model(model, tmp_path / "d.edge")
    assert list(read_model(tmp_path / "d.edge").tensors) == ["w", "b", "mask", "aa", "zz"]


def test_f36_the_bytes_are_those_of_version_1(small_file: Path) -> None:
    """Changes of this number change every file that users have: then the version must change too."""
    assert zlib.crc32(small_file.read_bytes()) == 3524476907


@pytest.mark.parametrize("moment", ["open", "write", "fsync", "replace"])
@pytest.mark.parametrize("failure", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
def test_f37_nothing_stays_behind(
    moment: str, failure: BaseException, model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "m.edge"
    target.write_bytes(b"old")

    def fail(*_: Any, **__: Any) -> None:
        raise failure

    if moment == "write":
        monkeypatch.setattr("edgert.format.writer.bytes", fail, raising=False)
    else:
        monkeypatch.setattr(
            *{"open": (Path, "open"), "fsync": (os, "fsync"), "replace": (Path, "replace")}[moment], fail
        )
    expected = KeyboardInterrupt if isinstance(failure, KeyboardInterrupt) else EdgertError
    with pytest.raises(expected) as caught:
        write_model(model, target)
    monkeypatch.undo()
    if expected is EdgertError:
        assert re.search(r"No space left on device.*needs \d+ bytes, \d+ bytes are free in", str(caught.value))
    assert [p.name for p in tmp_path.iterdir()] == ["m.edge"] and target.read_bytes() == b"old"


def test_f37_a_real_limit_of_the_disk(model: Model, tmp_path: Path) -> None:
    model.graph.constants["big"] = np.ones(1 << 16)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 12, limits[1]))
    try:
        with pytest.raises(EdgertError, match=r"needs \d+ bytes"):
            write_model(model, tmp_path / "m.edge")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert not list(tmp_path.iterdir())


def test_f37_an_interrupted_process(small_file: Path, tmp_path: Path) -> None:
    """A real SIGINT while the file is being written."""
    (folder := tmp_path / "out").mkdir()
    script = (
        "import os, sys, signal; from edgert.format import read_model, write_model\n"
        "fsync = os.fsync\n"
        "def interrupted(handle): os.kill(os.getpid(), signal.SIGINT); fsync(handle)\n"
        "os.fsync = interrupted\n"
        "write_model(read_model(sys.argv[1]), sys.argv[2])"
    )
    run = subprocess.run(
        [sys.executable, "-c", script, small_file, folder / "m.edge"], capture_output=True, check=False, text=True
    )
    assert run.returncode != 0 and "KeyboardInterrupt" in run.stderr
    assert not list(folder.iterdir())


def test_f37_targets_that_can_not_be_written(model: Model, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "file").touch()
    for path in (tmp_path, tmp_path / "fifo", tmp_path / "none/m.edge", tmp_path / "file/m.edge", tmp_path / "a\0b"):
        with pytest.raises(EdgertError):
            write_model(model, path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["fifo", "file"]


def test_f38_replacing_a_file_in_use_is_safe(model: Model, small_file: Path) -> None:
    before = model.tensors["w"].dense()
    reading = read_model(small_file)
    write_model(Model(Graph(outputs=["t"]), {"t": StoredTensor.pack_dense("t", np.ones(3))}), small_file)
    np.testing.assert_array_equal(reading.tensors["w"].dense(), before)
    assert list(read_model(small_file).tensors) == ["t"]
    # A model can be written over the file that it is read from.
    write_model(read_model(small_file), small_file)
