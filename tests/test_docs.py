"""The commands and programs in docs/language_models.md and docs/larger_than_ram.md are run, on the models that they
name; links of all pages lead somewhere."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from edgert.assets.fetch import pull
from edgert.converters.convert import convert

ROOT = Path(__file__).resolve().parents[1]
GUIDES = ("language_models.md", "larger_than_ram.md")
INTERACTIVE = ("edgert chat", "pip install", "edgert pull")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the guide's commands find in the folder where they are run."""
    folder = tmp_path_factory.mktemp("guide")
    convert(pull("smollm2-135m"), folder / "smollm2.edge")
    convert(pull("minilm-l6"), folder / "minilm.edge")
    convert(pull("efficientnet-lite0"), folder / "lite0.edge")
    (folder / "coffee.png").write_bytes((pull("photos") / "coffee.png").read_bytes())
    text = (pull("austen") / "prideprejudice.txt").read_text("utf-8")
    (folder / "book.txt").write_text(text[:4000], "utf-8")
    (folder / "notes.txt").write_text(text[:300], "utf-8")
    return folder


def blocks(language: str) -> list[str]:
    texts = [(ROOT / "docs" / name).read_text("utf-8") for name in GUIDES]
    return [found for text in texts for found in re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)]


def commands() -> list[str]:
    lines = [line for block in blocks("") for line in block.splitlines() if line.startswith("edgert ")]
    return [line for line in lines if not line.startswith(INTERACTIVE) and " convert " not in line]


@pytest.mark.model
@pytest.mark.parametrize("command", commands())
def test_commands_work(command: str, folder: Path) -> None:
    quick = "--runs 1 --prompt 16 --gen 2" if command.startswith("edgert bench") else ""
    line = f'"{sys.executable}" -m edgert.cli.main {command.removeprefix("edgert ")} {quick}'
    result = subprocess.run(line, shell=True, cwd=folder, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip()


@pytest.mark.model
@pytest.mark.parametrize("program", blocks("python"))
def test_programs_work(program: str, folder: Path) -> None:
    result = subprocess.run([sys.executable, "-c", program], cwd=folder, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr


def test_what_is_said_to_exist_exists() -> None:
    """Files that README.md and the pages of docs/ link to."""
    for page in (ROOT / "README.md", *(ROOT / "docs").rglob("*.md")):
        for link in re.findall(r"\]\(([^)#:]+)\)", page.read_text("utf-8")):
            assert (page.parent / link).exists(), f"{page.name} links to {link}"
