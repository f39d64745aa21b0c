"""The commands and programs in docs/streaming.md are run, on the models and recordings that they name."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

GUIDE = (Path(__file__).resolve().parents[1] / "docs" / "streaming.md").read_text("utf-8")
SILENT = 1
"""What the wake word app ends with where nothing was heard."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the guide's commands find in the folder where they are run; its conversions are done here, in order."""
    folder = tmp_path_factory.mktemp("guide")
    for command in (*commands("edgert pull"), *commands("edgert convert")):
        assert run(f"-m edgert.cli.main {command.removeprefix('edgert ')}", folder).returncode == 0
    return folder


def run(words: str, folder: Path) -> subprocess.CompletedProcess[str]:
    line = f'"{sys.executable}" {words}'
    return subprocess.run(line, shell=True, cwd=folder, capture_output=True, text=True, timeout=300)


def blocks(language: str) -> list[str]:
    found = re.findall(r"^```(\w*)\n(.*?)^```$", GUIDE, re.DOTALL | re.MULTILINE)
    return [text for kind, text in found if kind == language]


def commands(start: str) -> list[str]:
    return [line for block in blocks("") for line in block.splitlines() if line.startswith(start)]


@pytest.mark.model
@pytest.mark.parametrize("command", commands("python -m"))
def test_apps_work(command: str, folder: Path) -> None:
    result = run(command.removeprefix("python "), folder)
    assert result.returncode == (SILENT if "keyword_spotting" in command else 0), result.stderr
    assert result.stdout.strip()


@pytest.mark.model
@pytest.mark.parametrize("program", blocks("python"))
def test_programs_work(program: str, folder: Path) -> None:
    result = subprocess.run([sys.executable, "-c", program], cwd=folder, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr


def test_there_is_something_to_run() -> None:
    assert len(commands("edgert convert")) == len(commands("python -m")) == 2 and len(blocks("python")) == 2
