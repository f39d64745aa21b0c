"""The commands and the program in docs/verify.md are run, on the models that they name."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

GUIDE = (Path(__file__).resolve().parents[1] / "docs" / "verify.md").read_text("utf-8")


def blocks(language: str) -> list[str]:
    found = re.findall(r"^```(\w*)\n(.*?)^```$", GUIDE, re.DOTALL | re.MULTILINE)
    return [text for kind, text in found if kind == language]


def commands(start: str) -> list[str]:
    lines = [line.removeprefix("$ edgert ") for block in blocks("console") for line in block.splitlines()]
    return [line for line in lines if line.startswith(start)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the guide's commands find in the folder where they are run; its conversions are done here, in order."""
    folder = tmp_path_factory.mktemp("guide")
    for command in (*commands("pull"), *commands("convert")):
        assert run(command, folder).returncode == 0
    return folder


def run(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    line = f'"{sys.executable}" -m edgert.cli.main {command}'
    return subprocess.run(line, shell=True, cwd=folder, capture_output=True, text=True, timeout=300)


@pytest.mark.model
@pytest.mark.parametrize("command", commands("verify"))
def test_commands_work(command: str, folder: Path) -> None:
    result = run(command, folder)
    assert result.returncode == 0, result.stderr
    assert "absolute" in result.stdout
    if "--" not in command:  # what is shown is what is printed; versions and the order of the two streams apart
        shown = next(block for block in blocks("console") if command in block).splitlines()
        printed = (result.stdout + result.stderr).splitlines()
        assert all(line in printed for line in shown if not line.startswith("$") and " against " not in line)


@pytest.mark.model
@pytest.mark.parametrize("program", blocks("python"))
def test_programs_work(program: str, folder: Path) -> None:
    result = subprocess.run([sys.executable, "-c", program], cwd=folder, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr


def test_there_is_something_to_run() -> None:
    assert len(commands("verify")) == 3 and len(commands("convert")) == 2 and len(blocks("python")) == 1
