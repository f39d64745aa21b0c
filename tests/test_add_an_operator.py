"""docs/add_an_operator.md is right: what it says is done, in a copy of the sources, and the tests it gives pass there.

A block's first line says where it goes: a new file, the end of one, or after a line of one.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SOURCES = ("edgert", "kernels_cpu", "kernels_gpu", "converters", "apps", "pyproject.toml")
TESTS = ("conftest.py", "reference/conftest.py", "kernels")
TIMEOUT = 300
BLOCK = re.compile(r"^```python\n# (.+?)\n(.*?)^```$", re.M | re.S)
AFTER = " after: "


def blocks(page: str) -> list[tuple[str, str]]:
    """(where, code) of each Python block of the page."""
    found = BLOCK.findall(page)
    assert len(found) == page.count("```python"), "a block does not say where it goes"
    return found


def put(root: Path, where: str, code: str) -> str:
    """Does what a block says; the name of the file it is about."""
    if where.startswith("at the end of "):
        name = where.removeprefix("at the end of ")
        path = root / name
        path.write_text(path.read_text("utf-8") + "\n\n" + code, "utf-8")
    elif AFTER in where:
        name, line = where.removeprefix("in ").split(AFTER)
        path = root / name
        text = path.read_text("utf-8")
        assert text.count(f"{line}\n") == 1, f"{name} should have one line {line!r}"
        path.write_text(text.replace(f"{line}\n", f"{line}\n{code}"), "utf-8")
    else:
        name, path = where, root / where
        assert not path.exists(), f"{name} exists"
        path.write_text(code, "utf-8")
    return name


@pytest.fixture(scope="module")
def followed(repo_root: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """(a copy of the sources after following the page, the files that the page is about)."""
    root = tmp_path_factory.mktemp("add-an-operator")
    skip = shutil.ignore_patterns("__pycache__", "*.so")
    for name in (*SOURCES, *(f"tests/{test}" for test in TESTS)):
        source, target = repo_root / name, root / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, symlinks=True, ignore=skip)
        else:
            shutil.copy(source, target)
    page = (repo_root / "docs" / "add_an_operator.md").read_text("utf-8")
    return root, [put(root, where, code) for where, code in blocks(page)]


def test_the_tests_of_the_page_pass(followed: tuple[Path, list[str]]) -> None:
    root, files = followed
    tests = [name for name in files if name.startswith("tests/")]
    assert len(tests) == 2
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *tests],
        cwd=root, env={**os.environ, "PYTHONPATH": str(root)}, capture_output=True, text=True, timeout=TIMEOUT,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "skipped" not in done.stdout


def test_the_page_keeps_the_style(followed: tuple[Path, list[str]]) -> None:
    """Formatted and without lint, as everything else."""
    pytest.importorskip("ruff")
    root, files = followed
    for words in (["check"], ["format", "--check"]):
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *words, *files], cwd=root, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, done.stdout + done.stderr
