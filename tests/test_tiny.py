"""The whole way in a few seconds: the model that ships is converted to int8 and names its samples.

What `make check` runs before every commit. Everything it touches has tests of its own elsewhere.
"""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import pytest

import edgert
from edgert.cli.main import main
from edgert.models import FASHION_MNIST, FASHION_MNIST_CALIBRATION, fashion_mnist_samples

MAX_EDGE_BYTES = 300_000


@pytest.fixture(scope="module")
def edge_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tiny") / "fashion_mnist.edge"
    command = ["convert", FASHION_MNIST, "-o", path, "--weights", "int8", "--calib", FASHION_MNIST_CALIBRATION]
    assert main([str(word) for word in command]) == 0
    return path


def pixels(path: Path) -> np.ndarray:
    """float32 [1, 28, 28] in [0, 1] of a grey PNG whose rows are not filtered, as the samples are."""
    data = path.read_bytes()
    start = data.index(b"IDAT")
    length = int.from_bytes(data[start - 4 : start], "big")
    rows = np.frombuffer(zlib.decompress(data[start + 4 : start + 4 + length]), np.uint8).reshape(28, 29)
    assert not rows[:, 0].any()
    return rows[None, :, 1:].astype(np.float32) / 255


def test_size(edge_file: Path) -> None:
    assert edge_file.stat().st_size < MAX_EDGE_BYTES


@pytest.mark.parametrize("threads", [1, 2])
def test_answers(edge_file: Path, threads: int) -> None:
    samples = fashion_mnist_samples()
    session = edgert.load(edge_file, threads=threads)
    for path, number in samples:
        outputs = session.run(None, {"image": pixels(path)[None]})
        assert np.argmax(outputs[0]) == number, path.name


def test_command_line_answers_in_words(edge_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("PIL")
    path, _ = fashion_mnist_samples()[1]
    assert main(["run", str(edge_file), str(path)]) == 0
    assert "Trouser" in capsys.readouterr().out
