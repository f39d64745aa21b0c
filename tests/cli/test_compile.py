"""`edgert compile` writes a library that sessions take."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

import edgert
from edgert.cli.main import main
from edgert.kernels_cpu.aot import check_library
from edgert.kernels_cpu.levels import active_level
from edgert.kernels_cpu.library import library_name


def test_compile(
    default_model: Callable[[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    capsys.readouterr()
    assert main(["compile", "-o", str(tmp_path / "lib"), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    path = tmp_path / "lib" / library_name(active_level())
    assert result == {"path": str(path), "level": active_level().name, "bytes": path.stat().st_size}
    assert check_library(path.read_bytes()) == []
    assert list(path.parent.iterdir()) == [path]
    monkeypatch.setenv("EDGERT_KERNEL_FOLDER", str(path.parent))
    with edgert.load(default_model("f32"), shapes={"N": 1}) as session:
        assert session.kernels == "AOT"


def test_an_unknown_target(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compile", "--target", "z80", "-o", str(tmp_path)]) == 2
    assert "armv8.2-dotprod" in capsys.readouterr().err
