"""generate with less memory than weights: the same text, and what was streamed; what would fit where nothing does."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "llm"))
import fakes

from edgert.cli.main import main

WORDS = ("-p", "hello there", "-n", "12", "--temp", "0", "--logit-bias", "99=-100", "-t", "1")


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fakes.language_model(tmp_path_factory.mktemp("cli") / "m.edge", width=256, inner=512, layers=4)


def said(capsys: pytest.CaptureFixture[str], path: Path, *words: object, code: int = 0) -> tuple[str, str]:
    """(stdout, stderr) of `edgert generate`."""
    capsys.readouterr()
    assert main(["generate", str(path), *WORDS, *map(str, words)]) == code
    found = capsys.readouterr()
    return found.out, found.err


def least(capsys: pytest.CaptureFixture[str], path: Path, *words: object) -> int:
    """The smallest budget that works, as the error of a smaller one names it."""
    _, error = said(capsys, path, "--ram", "1K", *words, code=1)
    assert error.count("\n") == 1 and error.startswith("error: expected a plan within 1.0 KB")
    return int(re.search(r"works is ram=(\d+)", error)[1])


def test_the_same_text_and_what_was_streamed(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text, plain = said(capsys, path, "-v")
    assert "streamed" not in plain and "mapped" in plain
    ram = least(capsys, path) + 100_000
    for words in ([], ["--checks", "always"], ["--stream", "always"]):
        found, error = said(capsys, path, "--ram", ram, "-v", *words)
        assert found == text
        assert re.search(r"[\d.]+ [KM]B of [\d.]+ [KM]B read for each token, predicted [\d.]+ tokens/s", error)
        assert re.search(r"streamed [\d.]+ [KM]B a token, [\d.]+ % of the weights were there, waited [\d.]+ s", error)
        assert re.search(r"predicted [\d.]+ tokens/s, found [\d.]+", error)
    assert said(capsys, path, "--stream", "always", "-v")[0] == text


def test_what_would_fit(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, error = said(capsys, path, "--ram", least(capsys, path) - 10_000, code=1)
    flags = re.search(r"fits (--n-ctx \d+) or (--kv int8)", error)
    for words in flags.groups():
        said(capsys, path, "--ram", least(capsys, path) - 10_000, *words.split())
    _, error = said(capsys, path, "--ram", least(capsys, path), "--stream", "never", code=1)
    assert "smallest budget that works" in error
