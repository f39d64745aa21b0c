"""run and bench with less memory than weights: the same answers, what is read and predicted, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import streamed_model

import edgert
from edgert.cli.main import main


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return streamed_model.build(tmp_path_factory.mktemp("streamed") / "m.edge")


@pytest.fixture
def feeds(tmp_path: Path) -> Path:
    np.savez(tmp_path / "x.npz", **streamed_model.feeds())
    return tmp_path / "x.npz"


def call(capsys: pytest.CaptureFixture[str], *words: object, code: int = 0) -> tuple[str, str]:
    """(stdout, stderr) of a command that ends with `code`."""
    assert main([str(word) for word in words]) == code
    said = capsys.readouterr()
    return said.out, said.err


def test_run_within_a_budget(path: Path, feeds: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "y.npz"
    call(capsys, "run", path, feeds, "--ram", "1M", "-o", out)
    with edgert.load(path) as session, np.load(out) as found:
        assert np.array_equal(found["scores"], session.run(streamed_model.feeds())["scores"])
    text = call(capsys, "run", path, feeds, feeds, feeds, "--ram", "1M", "--checks", "always", "-v")[1]
    assert "read for each run, predicted" in text and "runs/s, found" in text and "waited for storage" in text


def test_run_refuses_what_does_not_fit(path: Path, feeds: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = call(capsys, "run", path, feeds, "--ram", "100K", code=1)[1]
    assert "the smallest budget that works is ram=" in text
    assert "mapped" in call(capsys, "run", path, feeds, "--ram", "1M", "--stream", "never", code=1)[1]


def test_bench_streams_too(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("--ram", "1M", "--runs", 2, "--threads", 1, "--json")
    (row,) = json.loads(call(capsys, "bench", path, *words)[0])["results"]
    assert "read for each run" in row["summary"]
    (row,) = json.loads(call(capsys, "bench", path, "--stream", "always", *words[2:])[0])["results"]
    assert "weights read into memory" in row["summary"]
